//! Causal multi-head self-attention: scale, mask, softmax, dropout and the weighted sum of values.

pub mod decode;

use super::dropout::Factors;

/// Sizes of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Sequences in the batch (B).
    pub b: usize,
    /// Positions in a sequence (T).
    pub t: usize,
    /// Channels over all heads (C).
    pub c: usize,
    /// Heads (NH), each of C / NH channels.
    pub n_head: usize,
}

/// The parameters of attention other than its input and sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting<'a> {
    /// The dropout key (4 words).
    pub rng: &'a [f64],
    /// The index of this dropout site in the model.
    pub site: u32,
    /// Probability that a weight is dropped.
    pub p: f64,
    /// The start and end of each position's document (B, T, 2), where rows hold several documents.
    pub spans: Option<&'a [f64]>,
}

/// `out = dropout(softmax(q k^T / sqrt(HS) + causal mask)) v` in each head; returns (out, att).
///
/// `att` holds the probabilities before dropout, exactly 0 above the diagonal and between documents. Dropout numbers
/// its elements by the flat index into att.
///
/// Shapes: qkv (B, T, 3C) in column blocks q, k, v whose heads are contiguous; out (B, T, C); att (B, NH, T, T).
/// Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.
pub fn forward(qkv: &[f64], setting: &Setting<'_>, dims: Dims) -> (Vec<f64>, Vec<f64>) {
    let at = Layout::new(qkv, setting.spans, dims);
    let drop = Factors::new(setting.rng, setting.site, setting.p);
    let Dims { b, t, c, n_head } = dims;
    let mut out = vec![0.0; b * t * c];
    let mut att = vec![0.0; b * n_head * t * t];
    for batch in 0..b {
        for head in 0..n_head {
            for i in 0..t {
                // Only positions of i's document up to i take part: the others stay an exact 0.
                let scores = at.scores(qkv, batch, i, head);
                // Softmax is unchanged by a shift; without this one exp overflows at scores of a few hundred.
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
                for (j, score) in (at.first(batch, i)..).zip(&scores) {
                    let elem = at.att(batch, head, i, j);
                    att[elem] = (score - max).exp() / sum;
                    let weight = drop.apply(elem as u32, att[elem]);
                    for x in 0..at.head_size {
                        out[at.out(batch, i, head, x)] += weight * qkv[at.v(batch, j, head, x)];
                    }
                }
            }
        }
    }
    (out, att)
}

/// The logarithm of the sum of the exponentials of each row's scores.
///
/// Shapes: qkv (B, T, 3C), spans as in [`Setting`]; the result (B, NH, T).
pub fn log_sums(qkv: &[f64], spans: Option<&[f64]>, dims: Dims) -> Vec<f64> {
    let at = Layout::new(qkv, spans, dims);
    let mut sums = vec![];
    for batch in 0..dims.b {
        for head in 0..dims.n_head {
            for i in 0..dims.t {
                let scores = at.scores(qkv, batch, i, head);
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                sums.push(max + scores.iter().map(|score| (score - max).exp()).sum::<f64>().ln());
            }
        }
    }
    sums
}

/// The gradient with respect to `qkv`; the probabilities and the dropout mask are recomputed.
///
/// For a row of scores s with probabilities a, softmax gives `ds_j = a_j (da_j - sum_k a_k da_k)`.
///
/// Shapes: dout (B, T, C), qkv and the result (B, T, 3C).
/// Source: the chain rule on [`forward`].
pub fn backward(dout: &[f64], qkv: &[f64], setting: &Setting<'_>, dims: Dims) -> Vec<f64> {
    let at = Layout::new(qkv, setting.spans, dims);
    let drop = Factors::new(setting.rng, setting.site, setting.p);
    let Dims { b, t, c, n_head } = dims;
    assert_eq!(dout.len(), b * t * c, "attention: dout is (B, T, C)");
    let (_, att) = forward(qkv, setting, dims);
    let mut dqkv = vec![0.0; qkv.len()];
    for batch in 0..b {
        for head in 0..n_head {
            for i in 0..t {
                let mut datt = vec![0.0; i + 1];
                let mut mean = 0.0;
                for j in at.first(batch, i)..=i {
                    let elem = at.att(batch, head, i, j);
                    let weight = drop.apply(elem as u32, att[elem]);
                    let mut dweight = 0.0;
                    for x in 0..at.head_size {
                        let dy = dout[at.out(batch, i, head, x)];
                        dweight += dy * qkv[at.v(batch, j, head, x)];
                        dqkv[at.v(batch, j, head, x)] += dy * weight;
                    }
                    datt[j] = drop.apply(elem as u32, dweight);
                    mean += att[elem] * datt[j];
                }
                for j in at.first(batch, i)..=i {
                    let dscore = att[at.att(batch, head, i, j)] * (datt[j] - mean) * at.scale;
                    for x in 0..at.head_size {
                        dqkv[at.q(batch, i, head, x)] += dscore * qkv[at.k(batch, j, head, x)];
                        dqkv[at.k(batch, j, head, x)] += dscore * qkv[at.q(batch, i, head, x)];
                    }
                }
            }
        }
    }
    dqkv
}

/// The location of each element, so that the loops above read like the formula.
struct Layout<'a> {
    spans: Option<&'a [f64]>,
    dims: Dims,
    head_size: usize,
    scale: f64,
}

impl<'a> Layout<'a> {
    fn new(qkv: &[f64], spans: Option<&'a [f64]>, dims: Dims) -> Self {
        let Dims { b, t, c, n_head } = dims;
        assert_eq!(c % n_head, 0, "attention: the heads divide the channels");
        assert_eq!(qkv.len(), b * t * 3 * c, "attention: qkv is (B, T, 3C)");
        let head_size = c / n_head;
        assert!(spans.is_none_or(|spans| spans.len() == b * t * 2), "attention: spans is (B, T, 2)");
        Layout { spans, dims, head_size, scale: 1.0 / (head_size as f64).sqrt() }
    }

    /// The first position in the document of position i.
    fn first(&self, batch: usize, i: usize) -> usize {
        self.spans.map_or(0, |spans| super::index(spans[(batch * self.dims.t + i) * 2]))
    }

    /// The scaled scores of position i against the positions of its document up to i.
    fn scores(&self, qkv: &[f64], batch: usize, i: usize, head: usize) -> Vec<f64> {
        let score = |j| -> f64 {
            (0..self.head_size).map(|x| qkv[self.q(batch, i, head, x)] * qkv[self.k(batch, j, head, x)]).sum()
        };
        (self.first(batch, i)..=i).map(|j| score(j) * self.scale).collect()
    }

    fn q(&self, batch: usize, i: usize, head: usize, x: usize) -> usize {
        (batch * self.dims.t + i) * 3 * self.dims.c + head * self.head_size + x
    }

    fn k(&self, batch: usize, i: usize, head: usize, x: usize) -> usize {
        self.q(batch, i, head, x) + self.dims.c
    }

    fn v(&self, batch: usize, i: usize, head: usize, x: usize) -> usize {
        self.q(batch, i, head, x) + 2 * self.dims.c
    }

    fn out(&self, batch: usize, i: usize, head: usize, x: usize) -> usize {
        (batch * self.dims.t + i) * self.dims.c + head * self.head_size + x
    }

    fn att(&self, batch: usize, head: usize, i: usize, j: usize) -> usize {
        ((batch * self.dims.n_head + head) * self.dims.t + i) * self.dims.t + j
    }
}
