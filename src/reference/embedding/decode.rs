//! The embedding of one new token per row, at that row's own position.

use crate::reference::index;

/// `out[row] = wte[token] + wpe[length]`; a token outside the table counts as a row of zeros.
///
/// Shapes: cursor (B, 4) with columns token, length, ..; wte (V, C), wpe (T, C), out (B, C).
pub fn forward(cursor: &[f64], wte: &[f64], wpe: &[f64], c: usize) -> Vec<f64> {
    let (n_token, n_position) = (wte.len() / c, wpe.len() / c);
    let mut out = vec![];
    for at in cursor.chunks(4) {
        let (token, position) = (index(at[0]), index(at[1]).min(n_position - 1));
        for col in 0..c {
            let value = if token < n_token { wte[token * c + col] } else { 0.0 };
            out.push(value + wpe[position * c + col]);
        }
    }
    out
}
