//! Token embedding, plus a position embedding where the model has one.

pub mod decode;

use super::index;

/// `out[row] = wte[ids[row]] + wpe[row % t]`.
///
/// Shapes: ids (B, T), wte (V, C), wpe (at least T, C), out (B, T, C).
/// Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", section 3.1.
pub fn forward(ids: &[f64], wte: &[f64], wpe: Option<&[f64]>, t: usize, c: usize) -> Vec<f64> {
    let mut out = vec![0.0; ids.len() * c];
    for (row, &id) in ids.iter().enumerate() {
        for col in 0..c {
            let position = wpe.map_or(0.0, |wpe| wpe[row % t * c + col]);
            out[row * c + col] = wte[index(id) * c + col] + position;
        }
    }
    out
}

/// The gradients (dwte, dwpe): every row of `dout` goes to its token and to its position.
///
/// Shapes: dout (B, T, C), ids (B, T), dwte (V, C), dwpe (T, C), which is summed over the batch.
/// Source: the chain rule on [`forward`].
pub fn backward(dout: &[f64], ids: &[f64], vocab_size: usize, t: usize, c: usize) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(dout.len(), ids.len() * c, "embedding: dout is (B, T, C)");
    let mut dwte = vec![0.0; vocab_size * c];
    let mut dwpe = vec![0.0; t * c];
    for (row, &id) in ids.iter().enumerate() {
        for col in 0..c {
            dwte[index(id) * c + col] += dout[row * c + col];
            dwpe[row % t * c + col] += dout[row * c + col];
        }
    }
    (dwte, dwpe)
}

/// The fixed position table: `sin(pos / 10000^(2i/C))` in column 2i, the cosine of the same angle in column 2i + 1.
///
/// Shapes: the result is (T, C); an odd C ends with a sine.
/// Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
pub fn sinusoidal(t: usize, c: usize) -> Vec<f64> {
    let mut table = vec![0.0; t * c];
    for pos in 0..t {
        for col in 0..c {
            let pair = (col / 2) as f64;
            let angle = pos as f64 / 10_000_f64.powf(2.0 * pair / c as f64);
            table[pos * c + col] = if col % 2 == 0 { angle.sin() } else { angle.cos() };
        }
    }
    table
}
