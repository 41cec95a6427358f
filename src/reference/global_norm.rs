//! The norm over all gradients at once, and what follows from it for the step.

/// Keeps the division sane at a norm near 0; PyTorch's number.
const EPS: f64 = 1e-6;

/// `[norm, coef, finite, n_bad]`: the 2-norm of all gradients, what to multiply them by so that it is at most
/// `max_norm`, 1 or 0 for "all elements are finite", and how many are not.
///
/// `max_norm` 0 turns clipping off (coef 1). With any element not finite, norm and coef are 0: the step must change
/// nothing.
///
/// Shapes: grads is every gradient of the model, end to end.
/// Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", section 3.2, over all tensors
/// together as `torch.nn.utils.clip_grad_norm_` does.
pub fn forward(grads: &[f64], max_norm: f64) -> [f64; 4] {
    let n_bad = grads.iter().filter(|grad| !grad.is_finite()).count();
    if n_bad > 0 {
        return [0.0, 0.0, 0.0, n_bad as f64];
    }
    let norm = grads.iter().map(|grad| grad * grad).sum::<f64>().sqrt();
    let coef = if max_norm == 0.0 { 1.0 } else { (max_norm / (norm + EPS)).min(1.0) };
    [norm, coef, 1.0, 0.0]
}

/// What loss and norm say about a step: with a loss that isn't finite nothing is, and with one of them above its limit the
/// gradients count for nothing, and the third is -1. A limit of 0 is none.
pub fn gate(norm: [f64; 4], loss: f64, limits: [f64; 2]) -> [f64; 4] {
    let is_above = |value: f64, limit: f64| limit > 0.0 && value > limit;
    match norm {
        [.., n_bad] if !loss.is_finite() => [0.0, 0.0, 0.0, n_bad],
        [length, _, 1.0, n_bad] if is_above(loss, limits[0]) || is_above(length, limits[1]) => {
            [length, 0.0, -1.0, n_bad]
        }
        other => other,
    }
}
