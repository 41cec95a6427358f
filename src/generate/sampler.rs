use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerConfig {
    /// Logits are divided by this; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the k likeliest tokens; 0 means all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability; 1 means all.
    pub top_p: f32,
    /// Same seed, same text.
    pub seed: u64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 0, top_p: 1.0, seed: 1 }
    }
}

/// Chooses tokens from logits, reproducibly.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler of one row; `row` gives each row its own random stream.
    pub fn new(config: SamplerConfig, row: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        rng.set_stream(row);
        Self { config, rng }
    }

    /// The next token. Ties go to the lower id. A logit that isn't finite is never chosen while there is one that is.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let mut order: Vec<usize> = (0..logits.len()).filter(|&i| logits[i].is_finite()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let Some(&best) = order.first() else { return 0 };
        if self.config.temperature <= 0.0 {
            return id(best);
        }
        if self.config.top_k > 0 {
            order.truncate(self.config.top_k);
        }
        let weight = |i: usize| (f64::from(logits[i] - logits[best]) / f64::from(self.config.temperature)).exp();
        let weights: Vec<f64> = order.iter().map(|&i| weight(i)).collect();
        let total: f64 = weights.iter().sum();
        let mut kept = 0.0;
        let mut n = weights.len();
        for (i, w) in weights.iter().enumerate() {
            kept += w;
            // at least one token stays, whatever the probability asked for
            if kept >= f64::from(self.config.top_p) * total {
                n = i + 1;
                break;
            }
        }
        let mut left = self.rng.random::<f64>() * weights[..n].iter().sum::<f64>();
        for (i, w) in order.iter().zip(&weights[..n]) {
            left -= w;
            if left <= 0.0 {
                return id(*i);
            }
        }
        id(order[n - 1])
    }
}

fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
