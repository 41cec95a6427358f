//! How well a tokenizer fits a text.

use std::ops::Range;

use super::permutation::wide;
use super::{DataError, Tokenizer};

/// How well a tokenizer fits a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Tokens of the text.
    pub n_token: u64,
    /// How many of them are the unknown token.
    pub n_unknown: u64,
    /// The text of the unknown token; `None` if the tokenizer has none.
    pub unknown: Option<String>,
    /// The part of the text that became no token.
    pub lost: Lost,
    /// Names of special tokens that were read as plain text, with their counts.
    pub names: Vec<(String, u64)>,
}

/// The part of a text that became no token, not counting white space. Known for tokenizers that drop what they don't
/// know. Units: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// What was dropped, at least: within a word, a token's span may include dropped bytes before it.
    pub n_byte: u64,
    /// All of the text.
    pub of: u64,
}

impl Lost {
    /// The loss in a text from byte `from` on, of which these spans became tokens.
    pub(super) fn between(text: &str, from: usize, tokens: impl Iterator<Item = (usize, usize)>) -> Self {
        let count = |range: Range<usize>| {
            let bytes = text.as_bytes().get(range).unwrap_or_default();
            wide(bytes.iter().filter(|byte| !byte.is_ascii_whitespace()).count())
        };
        let (mut n_byte, mut done) = (0, from);
        for (start, end) in tokens {
            n_byte += if start > done { count(done..start) } else { 0 };
            done = done.max(end);
        }
        Self { n_byte: n_byte + count(done..text.len()), of: count(from..text.len()) }
    }

    /// Adds the loss of another part.
    pub(super) fn add(&mut self, other: Lost) {
        self.n_byte += other.n_byte;
        self.of += other.of;
    }

    /// Units: percent of the bytes.
    pub fn percent(self) -> f64 {
        // Counts of bytes are far below 2^53.
        100.0 * self.n_byte as f64 / self.of.max(1) as f64
    }

    /// Whether the loss is large enough for a warning.
    pub fn is_notable(self) -> bool {
        self.percent() >= MIN_PERCENT
    }

    /// Fails if almost nothing of the text is left to learn.
    ///
    /// # Errors
    ///
    /// [`DataError::Dropped`].
    pub(super) fn check(self) -> Result<(), DataError> {
        if self.percent() > MAX_PERCENT { Err(DataError::Dropped { percent: self.percent() }) } else { Ok(()) }
    }
}

/// The limits for a warning and for an error.
const MIN_PERCENT: f64 = 1.0;
const MAX_PERCENT: f64 = 90.0;

impl Findings {
    /// No findings yet, for a tokenizer.
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let unknown = tokenizer.unknown_id().and_then(|id| tokenizer.name_of(id));
        Self { unknown, ..Self::default() }
    }

    /// Counts the tokens of a part of the text. `unknown` is the id of the unknown token.
    pub(super) fn count(&mut self, ids: &[u32], unknown: Option<u32>) {
        self.n_token += wide(ids.len());
        if let Some(unknown) = unknown {
            self.n_unknown += wide(ids.iter().filter(|&&id| id == unknown).count());
        }
    }

    /// Units: percent of the tokens that are unknown.
    pub fn unknown_percent(&self) -> f64 {
        // counts of tokens are far below 2^53
        100.0 * self.n_unknown as f64 / self.n_token.max(1) as f64
    }

    /// Whether enough is unknown for a warning.
    pub fn is_notable(&self) -> bool {
        self.unknown_percent() >= MIN_PERCENT
    }

    /// Fails if almost nothing of the text is left to learn.
    ///
    /// # Errors
    ///
    /// [`DataError::Unknown`].
    pub fn check(&self) -> Result<(), DataError> {
        match &self.unknown {
            Some(name) if self.unknown_percent() > MAX_PERCENT => {
                Err(DataError::Unknown { name: name.clone(), percent: self.unknown_percent() })
            }
            _ => Ok(()),
        }
    }
}
