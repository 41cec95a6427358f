//! Seeded choices that are the same on every machine and need no history.
//!
//! Everything is made from u64 arithmetic on ChaCha8 output, so neither the platform's word size nor a later
//! version of the `rand` crate can change the order of the data.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The use of a stream of random numbers, so that equal seeds don't make different choices agree.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Windows = 1,
    Epoch = 2,
    Split = 3,
    Stories = 4,
}

/// The random numbers of one purpose, seed and index.
pub(crate) fn rng(purpose: Purpose, seed: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16..24].copy_from_slice(&(purpose as u64).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A uniform random number in `0..n`; `n` is at least 1.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    // numbers above the last whole multiple of n are redrawn, so that no remainder is favoured
    let surplus = (u64::MAX % n + 1) % n;
    loop {
        let x = rng.next_u64();
        if x <= u64::MAX - surplus {
            return x % n;
        }
    }
}

/// Converts a count to u64; lossless, since no platform of Rust has a wider usize.
pub(crate) fn wide(n: usize) -> u64 {
    u64::try_from(n).expect("a usize fits into a u64")
}

/// Converts an index below a usize count back to usize.
pub(crate) fn narrow(n: u64) -> usize {
    usize::try_from(n).expect("an index below a usize count")
}

/// Rounds of the Feistel network. Four make a pseudorandom permutation of a good round function
/// (Luby and Rackoff 1988, "How to construct pseudorandom permutations"); the rest is margin for small halves.
const ROUNDS: usize = 8;

/// A seeded permutation of `0..n` that computes any element without the others.
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// Creates the permutation of `0..n` for a purpose, seed and index.
    pub(crate) fn new(purpose: Purpose, seed: u64, index: u64, n: u64) -> Permutation {
        let mut rng = rng(purpose, seed, index);
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Permutation { n, half_bits: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| rng.next_u64()) }
    }

    /// The element at place `i`; `i` is below `n`.
    pub(crate) fn at(&self, i: u64) -> u64 {
        debug_assert!(i < self.n);
        // The network permutes the next power of four; walking on from a value outside 0..n comes back inside,
        // because i itself lies on the same cycle.
        let mut x = i;
        loop {
            x = self.network(x);
            if x < self.n {
                return x;
            }
        }
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// Source: the finalizer of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_takes_each_element_once() {
        for n in [1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097] {
            for seed in 0..5 {
                let p = Permutation::new(Purpose::Epoch, seed, 9, n);
                let mut seen: Vec<u64> = (0..n).map(|i| p.at(i)).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..n).collect::<Vec<_>>(), "n {n} seed {seed}");
            }
        }
    }

    #[test]
    fn permutations_of_other_seeds_epochs_and_purposes_differ() {
        let order = |purpose, seed, index| {
            let p = Permutation::new(purpose, seed, index, 50);
            (0..50).map(|i| p.at(i)).collect::<Vec<_>>()
        };
        let base = order(Purpose::Epoch, 1, 1);
        assert_eq!(base, order(Purpose::Epoch, 1, 1));
        assert_ne!(base, order(Purpose::Epoch, 2, 1));
        assert_ne!(base, order(Purpose::Epoch, 1, 2));
        assert_ne!(base, order(Purpose::Split, 1, 1));
    }

    #[test]
    fn each_element_comes_first_about_equally_often() {
        // 6,000 permutations of 6: 1,000 expected, standard deviation sqrt(6000 * 5/36) < 29; 6 deviations allowed.
        let mut first = [0u32; 6];
        for seed in 0..6000 {
            first[narrow(Permutation::new(Purpose::Epoch, seed, 0, 6).at(0))] += 1;
        }
        for count in first {
            assert!(count.abs_diff(1000) < 6 * 29, "{first:?}");
        }
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut rng = rng(Purpose::Windows, 3, 4);
        let mut seen = [false; 7];
        for _ in 0..200 {
            seen[narrow(below(&mut rng, 7))] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(below(&mut rng, 1), 0);
    }
}
