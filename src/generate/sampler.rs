use crate::reference::sample;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerConfig {
    /// Logits are divided by this; 0 takes the most likely token.
    pub temperature: f32,
    /// Samples among the k most likely tokens; 0 means all.
    pub top_k: usize,
    /// Samples among the most likely tokens that together have this probability; 1 means all.
    pub top_p: f32,
    /// The same seed gives the same text.
    pub seed: u64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 0, top_p: 1.0, seed: 1 }
    }
}

/// Chooses tokens from logits on the CPU, reproducibly: the same tokens as [`super::Decoder`] on the device, except
/// when a random number falls within rounding error of the border between two tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    stream: u32,
    drawn: u32,
}

impl Sampler {
    /// Creates a sampler for one row; `stream` gives each row its own random numbers.
    pub fn new(config: SamplerConfig, stream: u32) -> Self {
        Self { config, stream, drawn: 0 }
    }

    /// Samples the next token. Ties go to the lower id. A logit that isn't finite is never chosen; without any finite
    /// one, 0 is.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let SamplerConfig { temperature, top_k, top_p, seed } = self.config;
        let logits: Vec<f64> = logits.iter().map(|&logit| logit.into()).collect();
        let settings = sample::Settings { temperature: temperature.into(), top_k, top_p: top_p.into() };
        let weights = sample::weights(&logits, settings);
        let point = sample::uniform(seed, self.stream, self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        let token = sample::draw(&weights, point).unwrap_or(0);
        u32::try_from(token).unwrap_or(u32::MAX)
    }
}
