use crate::doctor::{Case, Data};
use crate::ops::Dropout;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// The scale is rounded to f32 and so is its product: half an ulp each, and one more for devices that truncate. A wrong
/// bit in the mask puts a 0 where a value should be.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, n: u64, p: f32, scale: f32| {
        let words = Data::U32(vec![0x1234_5678, 0xffff_fff0, 17, 3]);
        let inputs = vec![(Shape::new(&[n]), Data::uniform(1, n, scale)), (Shape::new(&[4]), words)];
        Case::new(name, Dropout { p, site: 5 }, inputs, Tolerance::ulps(2.0))
    };
    vec![
        case("one element", 1, 0.1, 1.0),
        case("nothing dropped", 9, 0.0, 1.0),
        case("nearly everything dropped", 3001, 0.99, 1.0),
        case("workgroup minus 1", 255, 0.2, 1.0),
        case("workgroup plus 1", 1025, 0.5, 1.0),
        case("huge values", 100, 0.2, 1e37),
        case("tiny values", 100, 0.2, 1e-30),
        case("more than 65,535 workgroups", 65_536 * 256 + 3, 0.2, 1.0),
        case("split over bindings", 5000, 0.3, 1.0).max_binding(4096),
    ]
}
