//! Attention one position at a time, against cached keys and values.

use super::{Dims, Setting, forward};
use crate::reference::index;

/// Sizes of a cache (B, NH, 2, block, 4 ceil(HS / 4)): each head's keys, then its values, padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Rows (B), channels (C), heads (NH), and the number of new positions (T).
    pub dims: Dims,
    /// The capacity in positions.
    pub block: usize,
}

impl Cache {
    fn head_size(&self) -> usize {
        self.dims.c / self.dims.n_head
    }

    /// The element of a key (`kind` 0) or value (1).
    fn at(&self, row: usize, head: usize, kind: usize, position: usize, x: usize) -> usize {
        let padded = self.head_size().next_multiple_of(4);
        (((row * self.dims.n_head + head) * 2 + kind) * self.block + position) * padded + x
    }

    /// Stores the keys and values of one position of qkv (B, T, 3C) in the cache.
    fn put(&self, cache: &mut [f64], qkv: &[f64], row: usize, from: usize, position: usize) {
        let Dims { t, c, n_head, .. } = self.dims;
        let padded = self.head_size().next_multiple_of(4);
        for head in 0..n_head {
            for kind in 0..2 {
                for x in 0..padded {
                    let source = (row * t + from) * 3 * c + (1 + kind) * c + head * self.head_size() + x;
                    cache[self.at(row, head, kind, position, x)] = if x < self.head_size() { qkv[source] } else { 0.0 };
                }
            }
        }
    }
}

/// The cache after a prompt: holds row b's first `fed[b]` positions of qkv.
///
/// Shapes: qkv (B, T, 3C), fed (B), cache as in [`Cache`].
pub fn prefill(qkv: &[f64], fed: &[f64], cache: &[f64], sizes: Cache) -> Vec<f64> {
    let mut cache = cache.to_vec();
    for (row, &n) in fed.iter().enumerate() {
        (0..index(n)).for_each(|position| sizes.put(&mut cache, qkv, row, position, position));
    }
    cache
}

/// Causal attention of one new position per row: the last row of [`forward`] over the cached positions and the new one.
/// Returns (out, cache), where the cache includes the new position.
///
/// Shapes: qkv (B, 3C); cursor (B, 4), whose second column is the number of cached positions; out (B, C).
/// Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.
pub fn decode(qkv: &[f64], cursor: &[f64], cache: &[f64], sizes: Cache) -> (Vec<f64>, Vec<f64>) {
    let mut cache = cache.to_vec();
    let Dims { b, c, n_head, .. } = sizes.dims;
    let hs = sizes.head_size();
    let mut out = vec![];
    for row in 0..b {
        let last = index(cursor[4 * row + 1]).min(sizes.block - 1);
        sizes.put(&mut cache, qkv, row, 0, last);
        let t = last + 1;
        // the sequence as `forward` expects it; only the last position's query matters
        let mut whole = vec![0.0; t * 3 * c];
        whole[last * 3 * c..last * 3 * c + c].copy_from_slice(&qkv[row * 3 * c..row * 3 * c + c]);
        for position in 0..t {
            for col in 0..c {
                for kind in 0..2 {
                    whole[position * 3 * c + (1 + kind) * c + col] =
                        cache[sizes.at(row, col / hs, kind, position, col % hs)];
                }
            }
        }
        let (all, _) =
            forward(&whole, &Setting { rng: &[0.0; 4], site: 0, p: 0.0, spans: None }, Dims { b: 1, t, c, n_head });
        out.extend_from_slice(&all[last * c..]);
    }
    (out, cache)
}
