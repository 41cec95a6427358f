//! Residual add: the sum of a branch and the residual stream.

/// `out = a + b`.
///
/// Shapes: a, b and out are equal, of any rank.
/// Source: He et al. 2015, "Deep Residual Learning for Image Recognition", section 3.1.
pub fn forward(a: &[f64], b: &[f64]) -> Vec<f64> {
    assert_eq!(a.len(), b.len(), "residual adds tensors of the same size");
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}
