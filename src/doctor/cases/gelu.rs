use crate::doctor::{Case, Data};
use crate::ops::{Gelu, GeluBackward};
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// The unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;

/// Forward, for inputs up to `scale`: x s(z), z = 1.6 (x + 0.0447 x^3). Rounding z five times and multiplying by
/// log2(e) inside exp moves the argument of exp by up to 6 U |z|, which is the relative error of a sigmoid near 0;
/// eight more roundings follow. Beyond |z| = 88 the result is flushed to 0, where it is less than 16 * 1.2e-38. The
/// rest of the absolute part is the reference's own error: 1 + tanh in f64 cancels to within 2^-53, on inputs down to
/// -10.
pub fn forward_tolerance(scale: f64) -> Tolerance {
    let z = (1.6 * (scale + 0.0447 * scale.powi(3))).min(88.0);
    Tolerance { abs: 1.2e-16 * scale.min(10.0) + 2e-37, rel: U * (6.0 * z + 16.0) }
}

/// Backward, for |dout| up to `height`: the derivative is a sum of two terms of opposite sign where x < 0, each with
/// the relative error above; |term| (6 |z| + 8) U is at most 5 U there (at z = -2) and both terms are at most 1.2.
pub fn backward_tolerance(height: f64) -> Tolerance {
    Tolerance { abs: 10.0 * U * height + 2e-37, rel: 16.0 * U }
}

pub(super) fn cases() -> Vec<Case> {
    let forward = |name: &str, n: u64, scale: f32| {
        let inputs = vec![(Shape::new(&[n]), Data::uniform(1, n, scale))];
        Case::new(name, Gelu, inputs, forward_tolerance(scale.into()))
    };
    let backward = |name: &str, n: u64, scale: f32, height: f32| {
        let shape = Shape::new(&[n]);
        let inputs = vec![(shape, Data::uniform(1, n, height)), (shape, Data::uniform(2, n, scale))];
        Case::new(format!("backward, {name}"), GeluBackward, inputs, backward_tolerance(height.into()))
    };
    vec![
        forward("one element", 1, 1.0),
        forward("not a multiple of 4", 7, 4.0),
        forward("workgroup minus 1", 255, 4.0),
        forward("workgroup plus 1", 1025, 4.0),
        forward("vec4 workgroup plus 1", 1028, 8.0),
        forward("huge values", 100, 1e30),
        forward("tiny values", 101, 1e-30),
        forward("more than 65,535 workgroups", 65_536 * 64 * 4 + 4, 4.0),
        forward("split over bindings", 5000, 4.0).max_binding(4096),
        forward("split by work", 5000, 4.0).max_work(50_000),
        forward("split over bindings, not a multiple of 4", 5001, 4.0).max_binding(4096),
        backward("one element", 1, 1.0, 1.0),
        backward("not a multiple of 4", 7, 4.0, 1.0),
        backward("workgroup plus 1", 1025, 4.0, 1.0),
        backward("vec4 workgroup plus 1", 1028, 8.0, 1.0),
        backward("huge values", 100, 1e30, 1.0),
        backward("tiny values", 101, 1e-30, 1.0),
        backward("huge gradients", 99, 4.0, 1e37),
        backward("tiny gradients", 100, 4.0, 1e-25),
        backward("split over bindings", 5000, 4.0, 1.0).max_binding(4096),
    ]
}
