//! Column sums: the gradient of a bias that was added to every row.

/// `out[col] = sum over rows of inp[row][col]`.
///
/// Shapes: inp (n_row, n_col), out (n_col).
/// Source: the chain rule on `out[row][col] = x[row][col] + bias[col]`.
pub fn forward(inp: &[f64], n_row: usize, n_col: usize) -> Vec<f64> {
    assert_eq!(inp.len(), n_row * n_col, "column_sum: inp is (n_row, n_col)");
    let mut out = vec![0.0; n_col];
    for row in 0..n_row {
        for col in 0..n_col {
            out[col] += inp[row * n_col + col];
        }
    }
    out
}
