//! Token embedding, plus a position embedding where the model has one.

pub mod decode;

use super::index;

/// The position of each of `n_row` rows: its index in a row of `t`, or in its document if `spans` is given.
///
/// Shapes: spans (B, T, 2): the first position of each position's document, and the one after its last.
pub fn positions(n_row: usize, t: usize, spans: Option<&[f64]>) -> Vec<usize> {
    (0..n_row).map(|row| row % t - spans.map_or(0, |spans| index(spans[2 * row]))).collect()
}

/// `out[row] = wte[ids[row]] + wpe[positions[row]]`, the second term only if the model has position embeddings.
///
/// Shapes: ids and positions (B, T), wte (V, C), wpe (at least T, C), out (B, T, C).
/// Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", section 3.1.
pub fn forward(ids: &[f64], wte: &[f64], position: Option<(&[f64], &[usize])>, c: usize) -> Vec<f64> {
    let mut out = vec![0.0; ids.len() * c];
    for (row, &id) in ids.iter().enumerate() {
        for col in 0..c {
            let place = position.map_or(0.0, |(wpe, positions)| wpe[positions[row] * c + col]);
            out[row * c + col] = wte[index(id) * c + col] + place;
        }
    }
    out
}

/// The sizes of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Rows of wte (V).
    pub vocab_size: usize,
    /// Rows of wpe.
    pub n_position: usize,
    /// Channels (C).
    pub c: usize,
}

/// The gradients (dwte, dwpe): every row of `dout` is added to the rows of its token and its position.
///
/// Shapes: dout (B, T, C), ids and positions (B, T), dwte (V, C), dwpe (n_position, C).
/// Source: the chain rule on [`forward`].
pub fn backward(dout: &[f64], ids: &[f64], positions: &[usize], tables: Tables) -> (Vec<f64>, Vec<f64>) {
    let Tables { vocab_size, n_position, c } = tables;
    assert_eq!(dout.len(), ids.len() * c, "embedding: dout is (B, T, C)");
    let mut dwte = vec![0.0; vocab_size * c];
    let mut dwpe = vec![0.0; n_position * c];
    for (row, &id) in ids.iter().enumerate() {
        for col in 0..c {
            dwte[index(id) * c + col] += dout[row * c + col];
            dwpe[positions[row] * c + col] += dout[row * c + col];
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
