//! Cross-entropy of logits against target tokens, some of which may be ignored.

use super::{IGNORE, index};

/// `losses[row] = lse[row] - logits[row][target]`, 0 where the target is [`IGNORE`]; returns
/// (scale * sum of losses, losses, lse).
///
/// `lse` is the log of the sum of exponentials, computed for ignored rows too. With scale = 1 / (number of real
/// targets), the total is the mean that training minimises.
///
/// Shapes: logits (n_row, vocab), targets, losses and lse (n_row).
/// Units: nats.
/// Source: the negative log-likelihood of a softmax; Bishop 2006, "Pattern Recognition and Machine Learning", 4.3.4.
pub fn forward(logits: &[f64], targets: &[f64], scale: f64, n_row: usize, vocab: usize) -> (f64, Vec<f64>, Vec<f64>) {
    assert_eq!(logits.len(), n_row * vocab, "cross_entropy: logits are (n_row, vocab)");
    assert_eq!(targets.len(), n_row, "cross_entropy: one target a row");
    let mut losses = vec![0.0; n_row];
    let mut lse = vec![0.0; n_row];
    for row in 0..n_row {
        let x = &logits[row * vocab..(row + 1) * vocab];
        lse[row] = log_sum_exp(x);
        if targets[row] != f64::from(IGNORE) {
            losses[row] = lse[row] - x[index(targets[row])];
        }
    }
    (scale * losses.iter().sum::<f64>(), losses, lse)
}

/// `dlogits = (softmax(logits) - onehot(target)) scale`, and 0 in ignored rows.
///
/// Shapes: logits and the result (n_row, vocab), targets (n_row).
/// Source: the chain rule on [`forward`].
pub fn backward(logits: &[f64], targets: &[f64], scale: f64, n_row: usize, vocab: usize) -> Vec<f64> {
    assert_eq!(logits.len(), n_row * vocab, "cross_entropy: logits are (n_row, vocab)");
    assert_eq!(targets.len(), n_row, "cross_entropy: one target a row");
    let mut dlogits = vec![0.0; n_row * vocab];
    for row in 0..n_row {
        if targets[row] == f64::from(IGNORE) {
            continue;
        }
        let x = &logits[row * vocab..(row + 1) * vocab];
        let lse = log_sum_exp(x);
        let target = index(targets[row]);
        assert!(target < vocab, "cross_entropy: target {target} is outside the vocabulary");
        for col in 0..vocab {
            let onehot = if col == target { 1.0 } else { 0.0 };
            dlogits[row * vocab + col] = ((x[col] - lse).exp() - onehot) * scale;
        }
    }
    dlogits
}

/// The largest logit is subtracted first, so that exp can't overflow.
fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}
