//! The case table of each op: awkward sizes, huge and tiny values, splits.

/// AdamW's cases and error model.
pub mod adamw;
/// Attention's cases and error model.
pub mod attention;
mod column_sum;
/// Cross-entropy's cases and error model.
pub mod cross_entropy;
mod dropout;
mod embedding;
/// GELU's cases and error model.
pub mod gelu;
/// Global norm's cases and error model.
pub mod global_norm;
/// Layer norm's cases and error model.
pub mod layernorm;
mod matmul;
mod residual;
mod sample;

use super::Case;

/// The cases of every stem, with the stem's name.
pub fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("adamw", adamw::cases()),
        ("attention", attention::cases()),
        ("column_sum", column_sum::cases()),
        ("cross_entropy", cross_entropy::cases()),
        ("dropout", dropout::cases()),
        ("embedding", embedding::cases()),
        ("gelu", gelu::cases()),
        ("global_norm", global_norm::cases()),
        ("layernorm", layernorm::cases()),
        ("matmul", matmul::cases()),
        ("residual", residual::cases()),
        ("sample", sample::cases()),
    ]
}
