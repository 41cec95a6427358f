//! Dropout whose mask is a function of (seed, step, micro-batch, site, element). The backward pass recomputes the mask
//! instead of storing it, and it doesn't depend on the order in which a GPU runs its threads.

use super::word;

/// Added before hashing so that an element or word of zero isn't a fixed point: 2^32 divided by the golden ratio.
const GOLDEN_RATIO: u32 = 0x9e37_79b9;

/// A 32-bit integer hash in which every input bit flips each output bit about half the time.
///
/// Source: Chris Wellons, "Prospecting for Hash Functions", 2018 (lowbias32).
pub fn hash(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The key of one dropout site in one micro-batch: the words that identify it, hashed into one.
///
/// Shapes: rng is [seed_lo, seed_hi, step, micro].
pub fn key(rng: &[u32; 4], site: u32) -> u32 {
    // The word that changes most often comes first and passes through most rounds.
    rng.iter().rev().fold(hash(site), |key, word| hash((key ^ word).wrapping_add(GOLDEN_RATIO)))
}

/// Whether an element survives: its hash is a uniform u32, and the lowest `threshold` of them are dropped.
pub fn keep(key: u32, elem: u32, threshold: u32) -> bool {
    hash(key ^ hash(elem.wrapping_add(GOLDEN_RATIO))) >= threshold
}

/// How many of the 2^32 hash values mean "dropped" at probability `p`: 0 drops nothing.
pub fn threshold(p: f64) -> u32 {
    // A float-to-integer cast in Rust rounds towards zero and saturates at the ends of u32, as needed here.
    (p * 4_294_967_296.0) as u32
}

/// The factor for survivors, which preserves the expected value of every element.
pub fn scale(p: f64) -> f64 {
    1.0 / (1.0 - p)
}

/// `out[i] = inp[i] scale(p)` where element i survives, else 0. The backward pass is this same function on `dout`.
///
/// Shapes: inp and out are equal, of any rank, with `i` the flat index; rng (4).
/// Source: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 4,
/// with the scale applied in training ("inverted").
pub fn forward(inp: &[f64], rng: &[f64], site: u32, p: f64) -> Vec<f64> {
    let factors = Factors::new(rng, site, p);
    (0u32..).zip(inp).map(|(elem, &x)| factors.apply(elem, x)).collect()
}

/// The values that are the same for all elements of a dropout site.
pub(super) struct Factors {
    key: u32,
    threshold: u32,
    scale: f64,
}

impl Factors {
    pub(super) fn new(rng: &[f64], site: u32, p: f64) -> Self {
        assert_eq!(rng.len(), 4, "rng is [seed_lo, seed_hi, step, micro]");
        let words = [word(rng[0]), word(rng[1]), word(rng[2]), word(rng[3])];
        Factors { key: key(&words, site), threshold: threshold(p), scale: scale(p) }
    }

    /// Selects instead of multiplying: a dropped element is always 0, whereas multiplying NaN by 0 gives NaN.
    pub(super) fn apply(&self, elem: u32, x: f64) -> f64 {
        if keep(self.key, elem, self.threshold) { x * self.scale } else { 0.0 }
    }
}
