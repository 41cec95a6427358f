//! Comparison of a result with its expected value. No other code decides that, so NaN has to be caught in one place
//! only.

use thiserror::Error;

/// The unit roundoff of f32: the maximum relative error of one rounding.
const U: f64 = 1.0 / 16_777_216.0;

/// Standard deviations of accumulated rounding that a tolerance covers. If each rounding erred by as much as `U`, a sum
/// would exceed it about once in 16,000. Roundings are uniform below `U`, so one deviation is at most `U / sqrt(3)` and
/// this is about 7 of them: no test will ever exceed it.
const LAMBDA: f64 = 4.0;

/// How far a value may be from the expected one: `|got - want| <= abs + rel |want|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The part that doesn't depend on the value.
    pub abs: f64,
    /// The part in proportion to the value.
    pub rel: f64,
}

impl Tolerance {
    /// Accepts equal values only; for copies, masks and integers.
    pub fn exact() -> Self {
        Tolerance { abs: 0.0, rel: 0.0 }
    }

    /// A few roundings of a single value, counted in units in the last place of f32 (2^-23 of the value).
    ///
    /// Also allows for one value in the denormal range, which GPUs may flush to 0.
    pub fn ulps(n: f64) -> Self {
        Tolerance { abs: f64::from(f32::MIN_POSITIVE), rel: n * 2.0 * U }
    }

    /// An f32 sum of `n_terms` products, each about `magnitude` in size (root mean square, or the largest to be safe),
    /// compared with the exact sum of the same f32 inputs.
    ///
    /// Model: partial sum k is its share of the result plus a random walk, `S_k = (k/n) want + sqrt(k) magnitude`.
    /// Making term k errs by `U magnitude` and adding it by `U |S_k|`, independently (Higham and Mary 2019, "A New
    /// Approach to Probabilistic Rounding Error Analysis"), so the variance of the sum's error is
    /// `U^2 (n magnitude^2 + sum of S_k^2) = U^2 (n magnitude^2 + n^2 magnitude^2 / 2 + n want^2 / 3)`.
    /// The roots of the parts are added, which is never less than the root of their sum, and four standard deviations
    /// are allowed. One more rounding of the result is added to `rel`, and one flushed denormal to `abs`. Any other
    /// order of adding (tiles, trees, fused multiply-add) is expected to err no more than this running sum.
    pub fn sum(n_terms: usize, magnitude: f64) -> Self {
        let n = n_terms as f64;
        Tolerance {
            abs: LAMBDA * U * magnitude * (n.sqrt() + n / 2.0_f64.sqrt()) + f64::from(f32::MIN_POSITIVE),
            rel: LAMBDA * U * (n / 3.0).sqrt() + U,
        }
    }

    /// The sum of both tolerances, for a value that went through two processes.
    pub fn plus(self, other: Tolerance) -> Self {
        Tolerance { abs: self.abs + other.abs, rel: self.rel + other.rel }
    }

    /// The allowed distance from this `want`; meaningless for an infinite one, which must match exactly.
    pub fn allowed(&self, want: f64) -> f64 {
        self.abs + self.rel * want.abs()
    }
}

/// How closely a passing result agreed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// Elements compared.
    pub n_elem: usize,
    /// The largest `|got - want|`.
    pub max_abs: f64,
    /// The largest `|got - want| / |want|` over elements where want isn't 0.
    pub max_rel: f64,
    /// The largest fraction of its tolerance that any element used, from 0 to 1.
    pub max_used: f64,
    /// Normalised mean squared error: the sum of squared errors over the sum of squared expected values.
    pub nmse: f64,
}

/// The first reason found for rejecting a result.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum Mismatch {
    /// Both sides are empty.
    #[error("nothing to compare: both sides are empty")]
    Empty,
    /// The sides have different lengths.
    #[error("{got} elements where {want} were expected")]
    Length {
        /// Elements of the result.
        got: usize,
        /// Elements expected.
        want: usize,
    },
    /// An element is too far off, or is NaN or infinite on either side.
    #[error("element {index} is {got:e}, expected {want:e}, allowed {allowed:e}")]
    Value {
        /// Which element.
        index: usize,
        /// Its value.
        got: f64,
        /// The expected value.
        want: f64,
        /// The allowed distance.
        allowed: f64,
    },
    /// A corrupted element was accepted, so this tolerance can't detect errors.
    #[error(
        "element {index} changed from {got:e} to {changed:e} still passes for {want:e}, allowed {allowed:e}: the tolerance is too wide"
    )]
    Blind {
        /// Which element.
        index: usize,
        /// Its value.
        got: f64,
        /// The corrupted value.
        changed: f64,
        /// The expected value.
        want: f64,
        /// The allowed distance.
        allowed: f64,
    },
}

/// Compares an f32 result with f64 expectations, element by element.
///
/// NaN on either side fails, and so does an infinity unless the other side is the same infinity.
///
/// # Errors
///
/// The first [`Mismatch`] in order of elements.
pub fn compare(got: &[f32], want: &[f64], tolerance: Tolerance) -> Result<Stats, Mismatch> {
    compare_iter(got.iter().map(|&got| f64::from(got)), want, tolerance)
}

/// Like [`compare`], for results in f64.
///
/// # Errors
///
/// The first [`Mismatch`] in order of elements.
pub fn compare_f64(got: &[f64], want: &[f64], tolerance: Tolerance) -> Result<Stats, Mismatch> {
    compare_iter(got.iter().copied(), want, tolerance)
}

/// Accepts a result only if the comparison would notice one wrong element in it.
///
/// Changes the finite element with the largest expected value by 1 % of it (by 1 if all are 0), the smallest fault that
/// a kernel could plausibly have. A tolerance that allows it is not testing anything. Pass what [`compare`] just
/// accepted.
///
/// # Errors
///
/// [`Mismatch::Blind`] if the changed result passes; otherwise whatever [`compare`] returns for the unchanged one.
pub fn canary(got: &[f32], want: &[f64], tolerance: Tolerance) -> Result<(), Mismatch> {
    compare(got, want, tolerance)?;

    let size = |i: usize| {
        if want[i].is_finite() { want[i].abs() } else { -1.0 }
    };
    let index = (0..want.len()).fold(0, |best, i| if size(i) > size(best) { i } else { best });
    let step = (want[index].abs() / 100.0) as f32;
    let mut changed = got.to_vec();
    changed[index] = if !want[index].is_finite() {
        0.0
    } else if step < f32::MIN_POSITIVE {
        1.0
    } else {
        got[index] + step
    };

    match compare(&changed, want, tolerance) {
        Err(_) => Ok(()),
        Ok(_) => Err(Mismatch::Blind {
            index,
            got: f64::from(got[index]),
            changed: f64::from(changed[index]),
            want: want[index],
            allowed: tolerance.allowed(want[index]),
        }),
    }
}

fn compare_iter(
    got: impl ExactSizeIterator<Item = f64>,
    want: &[f64],
    tolerance: Tolerance,
) -> Result<Stats, Mismatch> {
    if got.len() != want.len() {
        return Err(Mismatch::Length { got: got.len(), want: want.len() });
    }
    if want.is_empty() {
        return Err(Mismatch::Empty);
    }
    let mut stats = Stats { n_elem: want.len(), max_abs: 0.0, max_rel: 0.0, max_used: 0.0, nmse: 0.0 };
    let mut square_error = 0.0;
    let mut square_want = 0.0;
    for (index, (got, &want)) in got.zip(want).enumerate() {
        // Infinities of the same sign, whose difference would be NaN.
        if got == want && want.is_infinite() {
            continue;
        }
        let error = (got - want).abs();
        let allowed = tolerance.allowed(want);
        // Phrased this way round because every comparison with NaN is false. An infinite side would make the allowance
        // infinite too, and that would accept anything, so it is rejected here.
        let close = got.is_finite() && allowed.is_finite() && error <= allowed;
        if !close {
            return Err(Mismatch::Value { index, got, want, allowed });
        }
        stats.max_abs = stats.max_abs.max(error);
        if want != 0.0 {
            stats.max_rel = stats.max_rel.max(error / want.abs());
        }
        if error > 0.0 {
            stats.max_used = stats.max_used.max(error / allowed);
        }
        square_error += error * error;
        square_want += want * want;
    }
    if square_error > 0.0 {
        stats.nmse = square_error / square_want;
    }
    Ok(stats)
}
