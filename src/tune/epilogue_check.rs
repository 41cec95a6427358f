//! Checks of a product's epilogue, element by element.

use crate::doctor::cases::gelu::forward_tolerance;
use crate::ops::{Epilogue, Probe};
use crate::reference::compare::{Mismatch, Tolerance, compare_f64};
use crate::reference::gelu;

/// The third input of a product for a check: uniform in [-1, 1), or in [0, 1) for GELU's derivative, which is at least
/// 0.5 there and can be divided by.
pub(super) fn third_input(product: &Probe, uniform: Vec<f32>) -> Vec<f32> {
    if product.then() == Some(Epilogue::GeluGradient) { uniform.into_iter().map(f32::abs).collect() } else { uniform }
}

/// The product without its epilogue, computed from the final out, the existing values that were added to (or nothing),
/// and the third input.
pub(super) fn undone(product: &Probe, out: &[f32], before: &[f32], other: &[f32]) -> Vec<f64> {
    let at = |values: &[f32], i: usize| values.get(i).map_or(0.0, |&x| f64::from(x));
    let out = out.iter().map(|&x| f64::from(x)).enumerate();
    match product.then() {
        Some(Epilogue::GeluGradient) => {
            let other: Vec<f64> = other.iter().map(|&x| x.into()).collect();
            let slopes = gelu::backward(&vec![1.0; other.len()], &other);
            out.map(|(i, x)| x / slopes.get(i).unwrap_or(&1.0) - at(before, i)).collect()
        }
        Some(Epilogue::Residual) => out.map(|(i, x)| x - at(other, i) - at(before, i)).collect(),
        None | Some(Epilogue::Gelu | Epilogue::GeluKeepInput | Epilogue::ColumnSums) => {
            out.map(|(i, x)| x - at(before, i)).collect()
        }
    }
}

/// The error of multiplying an element by GELU's derivative and dividing by it again: 16 roundings of the product, and
/// 10 of the magnitude of the derivative's terms, doubled by the division.
pub(super) fn slope_tolerance() -> Tolerance {
    Tolerance::ulps(20.0)
}

/// The index of the last element of the second output.
pub(super) fn last_of_second(product: &Probe) -> usize {
    let [batch, m, n, _] = product.sides();
    if product.then() == Some(Epilogue::ColumnSums) { batch * n - 1 } else { product.out_at(batch - 1, m - 1, n - 1) }
}

/// Checks the second output, if there is one, given the existing values that were added to, or nothing.
pub(super) fn check_second(
    product: &Probe,
    second: &[f32],
    out: &[f32],
    b: &[f32],
    before: &[f32],
) -> Result<(), Mismatch> {
    let [batch, m, n, k] = product.sides();
    let (got, want, tolerance) = match product.then() {
        Some(Epilogue::GeluKeepInput) => {
            let places = (0..batch * m * n).map(|i| product.out_at(i / (m * n), i / n % m, i % n));
            let [got, inp] = [second, out].map(|v| places.clone().map(|at| f64::from(v[at])).collect::<Vec<_>>());
            let largest = inp.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            let want = gelu::forward(&inp);
            (got, want, forward_tolerance(largest))
        }
        Some(Epilogue::ColumnSums) => {
            let sum = |i: usize| {
                let terms = (0..k).map(|row| f64::from(b[product.b_at(i / n, row, i % n)]));
                terms.sum::<f64>() + before.get(i).map_or(0.0, |&x| f64::from(x))
            };
            let want = (0..batch * n).map(sum).collect();
            (second.iter().map(|&x| x.into()).collect(), want, Tolerance::sum(k + 1, 1.0))
        }
        _ => return Ok(()),
    };
    compare_f64(&got, &want, tolerance).map(|_| ())
}
