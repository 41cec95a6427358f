//! The CPU reference against goldens and finite differences.

mod gradients;
pub mod manifest;
mod model;
mod ops;

use tril::reference::compare::{Tolerance, compare_f64};

/// f64 against f64: rounding differs only by the order of sums, some hundred times 1e-16 of the largest term.
const SHARE: f64 = 1e-11;

/// Compares relative to the largest expected value, since sums may cancel from that height.
fn check(label: &str, got: &[f64], want: &[f64]) {
    check_from_height(label, got, want, 0.0);
}

/// [`check`] for results that may be far smaller than the terms of their sums, which are about `height`.
fn check_from_height(label: &str, got: &[f64], want: &[f64], height: f64) {
    let sizes = want.iter().filter(|x| x.is_finite()).map(|x| x.abs());
    let tolerance = Tolerance { abs: SHARE * sizes.fold(height, f64::max), rel: SHARE };
    if let Err(mismatch) = compare_f64(got, want, tolerance) {
        panic!("{label}: {mismatch}");
    }
}
