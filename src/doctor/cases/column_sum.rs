use crate::doctor::{Case, Data};
use crate::ops::ColumnSum;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// A running f32 sum of as many terms as there are rows; uniform values have a root mean square of scale / sqrt(3).
pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, n_row: u64, n_col: u64, scale: f32| {
        let inputs = vec![(Shape::new(&[n_row, n_col]), Data::uniform(1, n_row * n_col, scale))];
        let n_term = usize::try_from(n_row).unwrap_or(usize::MAX);
        Case::new(name, ColumnSum, inputs, Tolerance::sum(n_term, f64::from(scale) / 3.0_f64.sqrt()))
    };
    vec![
        case("one element", 1, 1, 1.0),
        case("one row", 1, 129, 1.0),
        case("one column", 257, 1, 1.0),
        case("chunk minus 1, workgroup minus 1", 31, 63, 1.0),
        case("chunk plus 1, workgroup plus 1", 33, 65, 1.0),
        case("several chunks", 100, 9, 1.0),
        case("more than 65,535 rows", 65_537, 3, 1.0),
        case("more than 65,535 workgroups", 65, 65_536 * 3, 1.0),
        case("huge values", 50, 7, 1e36),
        case("tiny values", 50, 7, 1e-30),
        case("split over bindings, at the ends of chunks", 1000, 16, 1.0).max_binding(4096 * 4),
        case("split over bindings, inside chunks", 9000, 5, 1.0).max_binding(300 * 5 * 4),
    ]
}
