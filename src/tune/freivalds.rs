//! A check of every element of a matrix probe in the time that reading it takes.

use crate::ops::Probe;
use crate::reference::compare::{Mismatch, Tolerance, compare_f64};

/// What the rows of a probe must be when each is summed with signs drawn at random: a wrong element changes its row's
/// sum, and no wrong elements are known to cancel under signs that they can't know.
///
/// Source: Freivalds 1977, "Probabilistic machines can use less running time".
#[derive(Debug)]
pub(super) struct RowSums {
    signs: Vec<f64>,
    /// Of A B and the bias, without what was in out before.
    want: Vec<f64>,
    tolerance: Tolerance,
}

impl RowSums {
    /// For operands that are uniform in [-1, 1).
    pub(super) fn new(probe: &Probe, a: &[f32], b: &[f32], bias: Option<&[f32]>) -> Self {
        let [m, n, k] = probe.mnk();
        // a fixed sequence without a pattern that a kernel could share
        let mut state = 0x9e37_79b9_u32;
        let mut sign = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if state & 1 == 0 { 1.0 } else { -1.0 }
        };
        let signs: Vec<f64> = (0..n).map(&mut sign).collect();
        let term = |i| signs.iter().enumerate().map(|(c, s)| s * f64::from(b[probe.b_at(i, c)])).sum::<f64>();
        let terms: Vec<f64> = (0..k).map(term).collect();
        let added: f64 = bias.map_or(0.0, |bias| bias.iter().zip(&signs).map(|(x, s)| s * f64::from(*x)).sum());
        let row = |r| {
            let products = terms.iter().enumerate().map(|(i, t)| t * f64::from(a[probe.a_at(r, i)]));
            products.sum::<f64>() + added
        };
        let want = (0..m).map(row).collect();
        // errors of n elements with signs add up like a random walk; bias and the old value are two more terms, and an
        // element is about as large as the root of its terms
        let one = Tolerance::sum(k + 2, 1.0);
        let abs = (n as f64).sqrt() * (one.abs + one.rel * (k as f64).sqrt());
        Self { signs, want, tolerance: Tolerance { abs, rel: 0.0 } }
    }

    /// Compares what is in out with what was there before and should have been added, or was 0.
    pub(super) fn check(&self, probe: &Probe, out: &[f32], before: &[f32]) -> Result<(), Mismatch> {
        let row = |r| {
            let element = |(c, s): (usize, &f64)| {
                let at = probe.out_at(r, c);
                s * (f64::from(out[at]) - before.get(at).map_or(0.0, |&x| f64::from(x)))
            };
            self.signs.iter().enumerate().map(element).sum::<f64>()
        };
        let got: Vec<f64> = (0..self.want.len()).map(row).collect();
        compare_f64(&got, &self.want, self.tolerance).map(|_| ())
    }
}
