//! AdamW: Adam with weight decay applied to the parameter itself, not through the gradient.

/// The settings that are the same for all tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the square root.
    pub eps: f64,
    /// The fraction of a parameter removed per unit of learning rate.
    pub weight_decay: f64,
}

/// Updates a tensor and its two moments in place.
///
/// `c1 = 1 - beta1^t` and `c2 = 1 - beta2^t` undo the bias of moments that began at 0, with t counted from 1. The
/// gradient is multiplied by `clip_coef` first. The order is PyTorch's: decay, then the step.
///
/// Shapes: param, grad, m and v are equal, of any rank.
/// Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
#[expect(clippy::too_many_arguments, reason = "the formula has this many symbols, and one call site in each test")]
pub fn step(
    param: &mut [f64],
    grad: &[f64],
    m: &mut [f64],
    v: &mut [f64],
    c1: f64,
    c2: f64,
    clip_coef: f64,
    decay: bool,
    hyper: &Hyper,
) {
    let n = param.len();
    assert!(grad.len() == n && m.len() == n && v.len() == n, "adamw: param, grad and both moments have the same size");
    for i in 0..n {
        let g = grad[i] * clip_coef;
        m[i] = hyper.beta1 * m[i] + (1.0 - hyper.beta1) * g;
        v[i] = hyper.beta2 * v[i] + (1.0 - hyper.beta2) * g * g;
        if decay {
            param[i] -= hyper.lr * hyper.weight_decay * param[i];
        }
        param[i] -= hyper.lr / c1 * m[i] / (v[i].sqrt() / c2.sqrt() + hyper.eps);
    }
}
