//! The next token from its logits: temperature, top-k, top-p, and a random number that depends on seed, stream and
//! count.

use super::dropout;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Logits are divided by this; 0 takes the most likely token.
    pub temperature: f64,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most likely tokens that together have this probability; 1 keeps all.
    pub top_p: f64,
}

/// The weights of the tokens that may be chosen, scaled so that the most likely one has 1, and 0 elsewhere; all 0 if no
/// logit is finite. Of equal logits the lower id is more likely. At least one token stays, whatever the settings.
///
/// Shapes: logits and the result (V).
/// Source: Fan et al. 2018, "Hierarchical Neural Story Generation", section 5.4 (top-k); Holtzman et al. 2020, "The
/// Curious Case of Neural Text Degeneration", section 3.1 (top-p).
pub fn weights(logits: &[f64], settings: Settings) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).filter(|&i| logits[i].is_finite()).collect();
    // adding 0 turns minus zero into zero
    order.sort_by(|&a, &b| (logits[b] + 0.0).total_cmp(&(logits[a] + 0.0)).then(a.cmp(&b)));
    let mut kept = vec![0.0; logits.len()];
    let Some(&best) = order.first() else { return kept };
    if settings.temperature <= 0.0 {
        kept[best] = 1.0;
        return kept;
    }
    if settings.top_k > 0 {
        order.truncate(settings.top_k);
    }
    let weight = |i: usize| ((logits[i] - logits[best]) / settings.temperature).exp();
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let mut sum = 0.0;
    for i in order {
        kept[i] = weight(i);
        sum += kept[i];
        if sum >= settings.top_p * total {
            break;
        }
    }
    kept
}

/// A number in [0, 1) with 24 bits: number `drawn` of a stream.
pub fn uniform(seed: u64, stream: u32, drawn: u32) -> f64 {
    let words = [seed as u32, (seed >> 32) as u32, stream, drawn];
    f64::from(dropout::key(&words, 0) >> 8) / f64::from(1u32 << 24)
}

/// The token at `point`, in [0, 1), of the weights laid end to end in order of ids; `None` if all are 0.
pub fn draw(weights: &[f64], point: f64) -> Option<usize> {
    let goal = point * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let past = weights.iter().position(|w| {
        sum += w;
        sum > goal
    });
    // if rounding leaves the goal just beyond the sum
    past.or_else(|| weights.iter().rposition(|&w| w > 0.0))
}
