//! The CPU reference: every op again, in f64 and in plain loops that follow its formula.
//!
//! A kernel is right when it agrees with the function here; the function here is right because it agrees with goldens
//! made by PyTorch and with finite differences of itself. So these loops stay as close to the formula as possible and
//! are never optimised. Token ids, targets and random words arrive as f64 too, so that an op has one kind of input;
//! every u32 is exact in f64.

pub mod adamw;
pub mod attention;
pub mod column_sum;
pub mod compare;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gelu;
pub mod global_norm;
pub mod layernorm;
pub mod matmul;
pub mod residual;
pub mod sample;

/// The target that means "no loss here": padding, or a token that need not be predicted.
///
/// It is the largest u32, so that no vocabulary contains it; as f64 it is 4294967295.0.
pub const IGNORE: u32 = u32::MAX;

/// The integer in an f64. A fraction means that a caller mixed up its tensors, so it panics.
fn word(value: f64) -> u32 {
    assert!(
        value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value),
        "{value} is not a whole number that fits u32"
    );
    value as u32
}

/// Like [`word`], as an index.
fn index(value: f64) -> usize {
    word(value) as usize
}
