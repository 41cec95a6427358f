//! The case table of each op: awkward sizes, huge and tiny values, splits.

/// AdamW.
pub mod adamw;
/// Cross-entropy.
pub mod cross_entropy;
mod embedding;
/// GELU.
pub mod gelu;
/// Global norm.
pub mod global_norm;
/// Layer norm.
pub mod layernorm;
mod residual;

use super::Case;

/// The cases of every stem, with the stem's name.
pub fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("adamw", adamw::cases()),
        ("cross_entropy", cross_entropy::cases()),
        ("embedding", embedding::cases()),
        ("gelu", gelu::cases()),
        ("global_norm", global_norm::cases()),
        ("layernorm", layernorm::cases()),
        ("residual", residual::cases()),
    ]
}
