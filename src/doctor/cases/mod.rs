//! The case table of each op: awkward sizes, huge and tiny values, splits.

mod attention;
mod column_sum;
mod dropout;
mod matmul;
mod residual;

use super::Case;

/// The cases of every stem, with the stem's name.
pub fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("attention", attention::cases()),
        ("column_sum", column_sum::cases()),
        ("dropout", dropout::cases()),
        ("matmul", matmul::cases()),
        ("residual", residual::cases()),
    ]
}
