//! Matrix product, either operand transposed, with an optional bias: every linear layer and both its gradients.

/// Sizes of a product and the memory layout of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of out.
    pub m: usize,
    /// Columns of out.
    pub n: usize,
    /// Terms in each sum.
    pub k: usize,
    /// A is stored (K, M) instead of (M, K).
    pub trans_a: bool,
    /// B is stored (N, K) instead of (K, N).
    pub trans_b: bool,
}

/// `out = op(A) op(B) + bias`.
///
/// Shapes: a (M, K) or (K, M), b (K, N) or (N, K), bias (N), out (M, N).
/// Source: the definition of the matrix product.
pub fn forward(a: &[f64], b: &[f64], bias: Option<&[f64]>, dims: Dims) -> Vec<f64> {
    let Dims { m, n, k, trans_a, trans_b } = dims;
    assert_eq!(a.len(), m * k, "matmul: a holds M*K elements");
    assert_eq!(b.len(), k * n, "matmul: b holds K*N elements");
    let mut out = vec![0.0; m * n];
    for row in 0..m {
        for col in 0..n {
            let mut sum = bias.map_or(0.0, |bias| bias[col]);
            for i in 0..k {
                let left = if trans_a { a[i * m + row] } else { a[row * k + i] };
                let right = if trans_b { b[col * k + i] } else { b[i * n + col] };
                sum += left * right;
            }
            out[row * n + col] = sum;
        }
    }
    out
}
