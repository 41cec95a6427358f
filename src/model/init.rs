use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ModelConfig;

/// GPT-2's standard deviation of initial weights.
const STD: f64 = 0.02;

/// The initial values of a parameter: normal(0, 0.02) for matrices and embeddings, residual projections divided by
/// sqrt(2 n_layer), 0 for biases, 1 for layer norm weights. Each parameter has its own random stream, so that a
/// parameter's values depend on the seed and its name alone.
///
/// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3; nanoGPT.
pub fn init_param(config: &ModelConfig, name: &str, n_elem: u64, seed: u64) -> Vec<f32> {
    let n = usize::try_from(n_elem).unwrap_or(usize::MAX);
    if name.ends_with(".bias") {
        return vec![0.0; n];
    }
    if name.contains("ln_") {
        return vec![1.0; n];
    }
    let std = if name.ends_with("c_proj.weight") { STD / (2.0 * config.n_layer as f64).sqrt() } else { STD };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::from(crc32fast::hash(name.as_bytes())));
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        // Box and Muller's transform, in f64 so that it is the same on every platform to f32's precision
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        values.push((std * radius * angle.cos()) as f32);
        values.push((std * radius * angle.sin()) as f32);
    }
    values.truncate(n);
    values
}

/// The fixed table of positions (block_size, n_embd).
///
/// Source: Vaswani et al., arXiv:1706.03762, section 3.5.
pub fn sinusoidal_positions(config: &ModelConfig) -> Vec<f32> {
    let (t, c) = (config.block_size as usize, config.n_embd as usize);
    crate::reference::embedding::sinusoidal(t, c).into_iter().map(|x| x as f32).collect()
}
