//! GELU in the tanh form that GPT-2 was trained with.

use std::f64::consts::PI;

/// The paper's coefficient of the cubic term in the tanh approximation.
const CUBIC: f64 = 0.044715;

/// `out = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
///
/// Shapes: inp and out are equal, of any rank.
/// Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
pub fn forward(inp: &[f64]) -> Vec<f64> {
    inp.iter().map(|&x| 0.5 * x * (1.0 + inner(x).tanh())).collect()
}

/// The gradient of the loss with respect to `inp`.
///
/// Shapes: dout, inp and the result are equal, of any rank.
/// Source: the product and chain rules on [`forward`]; tanh' = 1 - tanh^2.
pub fn backward(dout: &[f64], inp: &[f64]) -> Vec<f64> {
    assert_eq!(dout.len(), inp.len(), "gelu: dout and inp have the same size");
    dout.iter()
        .zip(inp)
        .map(|(&dout, &x)| {
            let tanh = inner(x).tanh();
            let dinner = (2.0 / PI).sqrt() * (1.0 + 3.0 * CUBIC * x * x);
            dout * (0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * dinner)
        })
        .collect()
}

fn inner(x: f64) -> f64 {
    (2.0 / PI).sqrt() * (x + CUBIC * x * x * x)
}
