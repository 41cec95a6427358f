use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ModelConfig;

/// GPT-2's standard deviation of initial weights.
const STD: f64 = 0.02;

/// The initial values of a parameter, without end: normal(0, 0.02) for matrices and embeddings, residual projections
/// divided by sqrt(2 n_layer), 0 for biases, 1 for layer norm weights. Each parameter has its own random stream, so that a
/// parameter's values depend on the seed and its name alone.
///
/// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3; nanoGPT.
pub fn init_values(config: &ModelConfig, name: &str, seed: u64) -> impl Iterator<Item = f32> + use<> {
    let constant = if name.ends_with(".bias") {
        Some(0.0)
    } else if name.contains("ln_") {
        Some(1.0)
    } else {
        None
    };
    let std = if name.ends_with("c_proj.weight") { STD / (2.0 * config.n_layer as f64).sqrt() } else { STD };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::from(crc32fast::hash(name.as_bytes())));
    let mut second = None;
    std::iter::repeat_with(move || {
        if let Some(value) = constant.or_else(|| second.take()) {
            return value;
        }
        // Box and Muller's transform, in f64 so that it is the same on every platform to f32's precision
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        second = Some((std * radius * angle.sin()) as f32);
        (std * radius * angle.cos()) as f32
    })
}

/// The fixed table of positions (block_size, n_embd).
///
/// Source: Vaswani et al., arXiv:1706.03762, section 3.5.
pub fn sinusoidal_positions(config: &ModelConfig) -> Vec<f32> {
    let (t, c) = (config.block_size as usize, config.n_embd as usize);
    crate::reference::embedding::sinusoidal(t, c).into_iter().map(|x| x as f32).collect()
}
