//! A check of every element of a matrix product in the time it takes to read it.

use crate::ops::{Epilogue, Probe};
use crate::reference::compare::{Mismatch, Tolerance, compare_f64};

/// The expected row sums of a product under random signs: a wrong element changes its row's sum, and errors can't
/// cancel under signs that the kernel doesn't know, except by chance.
///
/// Source: Freivalds 1977, "Probabilistic machines can use less running time".
#[derive(Debug)]
pub(super) struct RowSums {
    signs: Vec<f64>,
    /// Row sums of A B and the bias, without the old values of out.
    want: Vec<f64>,
    tolerance: Tolerance,
}

impl RowSums {
    /// Expects operands that are uniform in [-1, 1).
    pub(super) fn new(product: &Probe, a: &[f32], b: &[f32], bias: Option<&[f32]>) -> Self {
        let [batch, m, n, k] = product.sides();
        // a fixed sequence without a pattern that a kernel could share
        let mut state = 0x9e37_79b9_u32;
        let mut sign = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if state & 1 == 0 { 1.0 } else { -1.0 }
        };
        let signs: Vec<f64> = (0..n).map(&mut sign).collect();
        let added: f64 = bias.map_or(0.0, |bias| bias.iter().zip(&signs).map(|(x, s)| s * f64::from(*x)).sum());
        let mut want = Vec::with_capacity(batch * m);
        for z in 0..batch {
            let column = |i| move |(c, s): (usize, &f64)| s * f64::from(b[product.b_at(z, i, c)]);
            let terms: Vec<f64> = (0..k).map(|i| signs.iter().enumerate().map(column(i)).sum()).collect();
            let term = |r| move |(i, t): (usize, &f64)| t * f64::from(a[product.a_at(z, r, i)]);
            want.extend((0..m).map(|r| terms.iter().enumerate().map(term(r)).sum::<f64>() + added));
        }
        // errors of n elements with signs add up like a random walk; bias and the old value are two more terms, an
        // element is about as large as the root of its number of terms, and dividing by GELU's derivative errs too
        let terms = Tolerance::sum(k + 2, 1.0);
        let slope = product.then() == Some(Epilogue::GeluGradient);
        let one = if slope { terms.plus(super::epilogue_check::slope_tolerance()) } else { terms };
        let abs = (n as f64).sqrt() * (one.abs + one.rel * (k as f64).sqrt());
        Self { signs, want, tolerance: Tolerance { abs, rel: 0.0 } }
    }

    /// Compares the row sums of a product without its epilogue, in the layout of out.
    pub(super) fn check(&self, product: &Probe, alone: &[f64]) -> Result<(), Mismatch> {
        let [_, m, ..] = product.sides();
        let row = |r: usize| {
            let element = |(c, s): (usize, &f64)| s * alone[product.out_at(r / m, r % m, c)];
            self.signs.iter().enumerate().map(element).sum::<f64>()
        };
        let got: Vec<f64> = (0..self.want.len()).map(row).collect();
        compare_f64(&got, &self.want, self.tolerance).map(|_| ())
    }
}
