use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::tensor::{Init, ParamSpec};

/// An endless iterator over the initial values of a parameter. Each parameter has its own random stream, so that its
/// values depend only on the seed and its name.
pub fn init_values(param: &ParamSpec, seed: u64) -> impl Iterator<Item = f32> + use<> {
    let (constant, std) = match param.init {
        Init::Zeros => (Some(0.0), 0.0),
        Init::Ones => (Some(1.0), 0.0),
        Init::Normal { std } => (None, std),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::from(crc32fast::hash(param.name.as_bytes())));
    let mut second = None;
    std::iter::repeat_with(move || {
        if let Some(value) = constant.or_else(|| second.take()) {
            return value;
        }
        // Box-Muller transform, in f64 so that it is the same on every platform to f32's precision
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        second = Some((std * radius * angle.sin()) as f32);
        (std * radius * angle.cos()) as f32
    })
}
