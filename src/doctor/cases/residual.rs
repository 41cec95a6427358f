use crate::doctor::{Case, Data};
use crate::ops::Residual;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// One f32 addition is within half an ulp; one ulp allows for devices that truncate.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, n: u64, scale: f32| {
        let shape = Shape::new(&[n]);
        let inputs = vec![(shape, Data::uniform(1, n, scale)), (shape, Data::uniform(2, n, scale))];
        Case::new(name, Residual, inputs, Tolerance::ulps(1.0))
    };
    vec![
        case("one element", 1, 1.0),
        case("not a multiple of 4", 7, 1.0),
        case("workgroup minus 1", 255, 1.0),
        case("workgroup plus 1", 1025, 1.0),
        case("several whole workgroups", 4096, 1.0),
        case("huge values", 100, 1e37),
        case("tiny values", 100, 1e-30),
        case("more than 65,535 workgroups", 65_536 * 256 + 3, 1.0),
        case("split over bindings", 5000, 1.0).max_binding(4096),
    ]
}
