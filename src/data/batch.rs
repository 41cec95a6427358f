//! One micro-batch of tokens and targets.

pub use crate::reference::IGNORE;

/// Inputs and the tokens that should follow them.
///
/// Shapes: `tokens`, `targets` and, if not empty, `firsts` (B, T), row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Input ids; padding is 0.
    pub tokens: Vec<u32>,
    /// For each input the id that follows it, or [`IGNORE`].
    pub targets: Vec<u32>,
    /// For rows of several documents that must not attend to each other: for each position the first position of its
    /// document (B, T). Empty if each row is one text.
    pub firsts: Vec<u32>,
    /// B, rows.
    pub b: usize,
    /// T, positions in a row.
    pub t: usize,
}

impl Batch {
    /// Returns a batch of padding: token 0 everywhere, no targets.
    pub fn padding(b: usize, t: usize) -> Batch {
        Batch { tokens: vec![0; b * t], targets: vec![IGNORE; b * t], firsts: vec![], b, t }
    }

    /// Returns the number of targets that count in the loss.
    pub fn n_targets(&self) -> u64 {
        self.targets.iter().map(|&id| u64::from(id != IGNORE)).sum()
    }

    /// Writes the piece `ids` into a row, from column `at` on: all but the last are inputs, all but the first are
    /// targets.
    pub(crate) fn put(&mut self, row: usize, at: usize, ids: &[u32]) {
        let n = ids.len() - 1;
        let start = row * self.t + at;
        self.tokens[start..start + n].copy_from_slice(&ids[..n]);
        self.targets[start..start + n].copy_from_slice(&ids[1..]);
    }
}
