//! The norm over all gradients at once, and the clip coefficient and finite flag that follow from it.

/// Keeps the quotient finite at a norm near 0; PyTorch's value.
const EPS: f64 = 1e-6;

/// Returns `[norm, coef, finite, n_bad]`: the 2-norm of all gradients, the factor that brings it to at most `max_norm`,
/// 1 if all elements are finite and 0 if not, and the count of non-finite elements.
///
/// `max_norm` 0 turns clipping off (coef 1). If any element is not finite, norm and coef are 0, so that the step
/// changes nothing.
///
/// Shapes: grads is every gradient of the model, concatenated.
/// Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", section 3.2, over all
/// tensors together as `torch.nn.utils.clip_grad_norm_` does.
pub fn forward(grads: &[f64], max_norm: f64) -> [f64; 4] {
    let n_bad = grads.iter().filter(|grad| !grad.is_finite()).count();
    if n_bad > 0 {
        return [0.0, 0.0, 0.0, n_bad as f64];
    }
    let norm = grads.iter().map(|grad| grad * grad).sum::<f64>().sqrt();
    let coef = if max_norm == 0.0 { 1.0 } else { (max_norm / (norm + EPS)).min(1.0) };
    [norm, coef, 1.0, 0.0]
}

/// Applies the loss and its limits to a norm: if the loss isn't finite, norm, coef and flag are 0; if loss or norm
/// exceeds its limit, coef is 0 and the flag -1. A limit of 0 means no limit.
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
