//! Layer norm over the last dimension, with the biased variance that PyTorch and GPT-2 use.

/// `out = (inp - mean) rstd weight + bias`, with `rstd = 1 / sqrt(variance + eps)`; returns (out, mean, rstd).
///
/// Shapes: inp and out (n_row, n_col), weight and bias (n_col), mean and rstd (n_row).
/// Source: Ba, Kiros and Hinton 2016, "Layer Normalization", section 3.
pub fn forward(
    inp: &[f64],
    weight: &[f64],
    bias: Option<&[f64]>,
    n_row: usize,
    n_col: usize,
    eps: f64,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    assert_eq!(inp.len(), n_row * n_col, "layernorm: inp is (n_row, n_col)");
    let mut out = vec![0.0; n_row * n_col];
    let mut means = vec![0.0; n_row];
    let mut rstds = vec![0.0; n_row];
    for row in 0..n_row {
        let x = &inp[row * n_col..(row + 1) * n_col];
        let (mean, rstd) = moments(x, eps);
        for col in 0..n_col {
            let shift = bias.map_or(0.0, |bias| bias[col]);
            out[row * n_col + col] = (x[col] - mean) * rstd * weight[col] + shift;
        }
        means[row] = mean;
        rstds[row] = rstd;
    }
    (out, means, rstds)
}

/// The gradients (dinp, dweight, dbias); mean and rstd are recomputed from `inp`.
///
/// Shapes: dout, inp and dinp (n_row, n_col), weight, dweight and dbias (n_col).
/// Source: the chain rule on [`forward`].
pub fn backward(
    dout: &[f64],
    inp: &[f64],
    weight: &[f64],
    n_row: usize,
    n_col: usize,
    eps: f64,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    assert_eq!(inp.len(), n_row * n_col, "layernorm: inp is (n_row, n_col)");
    let (mean, rstd): (Vec<f64>, Vec<f64>) = inp.chunks(n_col).map(|x| moments(x, eps)).unzip();
    backward_from(dout, inp, weight, &mean, &rstd, n_row, n_col)
}

/// Like [`backward`], with the mean and rstd that [`forward`] returned.
///
/// With xhat = (inp - mean) rstd and g = dout weight, a row's gradient is
/// `dinp = rstd (g - mean(g) - xhat mean(g xhat))`: moving an input also moves the row's mean and variance.
///
/// Shapes: mean and rstd (n_row), the others as for [`backward`].
/// Source: the chain rule on [`forward`].
pub fn backward_from(
    dout: &[f64],
    inp: &[f64],
    weight: &[f64],
    mean: &[f64],
    rstd: &[f64],
    n_row: usize,
    n_col: usize,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    assert_eq!(inp.len(), n_row * n_col, "layernorm: inp is (n_row, n_col)");
    assert_eq!(dout.len(), inp.len(), "layernorm: dout and inp have the same size");
    let mut dinp = vec![0.0; n_row * n_col];
    let mut dweight = vec![0.0; n_col];
    let mut dbias = vec![0.0; n_col];
    for row in 0..n_row {
        let x = &inp[row * n_col..(row + 1) * n_col];
        let dy = &dout[row * n_col..(row + 1) * n_col];
        let (mean, rstd) = (mean[row], rstd[row]);

        let mut mean_g = 0.0;
        let mut mean_g_xhat = 0.0;
        for col in 0..n_col {
            let xhat = (x[col] - mean) * rstd;
            let g = dy[col] * weight[col];
            mean_g += g / n_col as f64;
            mean_g_xhat += g * xhat / n_col as f64;
            dweight[col] += dy[col] * xhat;
            dbias[col] += dy[col];
        }
        for col in 0..n_col {
            let xhat = (x[col] - mean) * rstd;
            let g = dy[col] * weight[col];
            dinp[row * n_col + col] = rstd * (g - mean_g - xhat * mean_g_xhat);
        }
    }
    (dinp, dweight, dbias)
}

/// Mean and rstd of one row, in two passes: mean of squares minus squared mean would cancel on rows far from zero.
fn moments(x: &[f64], eps: f64) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    (mean, 1.0 / (variance + eps).sqrt())
}
