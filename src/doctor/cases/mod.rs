//! The case table of each op: awkward sizes, huge and tiny values, splits.

/// GELU.
pub mod gelu;
mod residual;

use super::Case;

/// The cases of every stem, with the stem's name.
pub fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("gelu", gelu::cases()),
        ("residual", residual::cases()),
    ]
}
