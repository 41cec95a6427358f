//! What becomes of a text that whoever chose the tokenizer should know.

use super::order::wide;
use super::{DataError, Tokenizer};

/// How well a tokenizer fits a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Tokens of the text.
    pub n_token: u64,
    /// Those of them that stand for whatever the tokenizer doesn't know.
    pub n_unknown: u64,
    /// How that token is written; `None` where the tokenizer has none.
    pub unknown: Option<String>,
    /// Names of special tokens that were read as plain text, and how often.
    pub names: Vec<(String, u64)>,
}

impl Findings {
    /// Of a text of which nothing was read yet.
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let unknown = tokenizer.unknown_id().and_then(|id| tokenizer.name_of(id));
        Self { unknown, ..Self::default() }
    }

    /// Counts the tokens of a part of the text. `unknown` is the one that stands for what the tokenizer doesn't know.
    pub(super) fn count(&mut self, ids: &[u32], unknown: Option<u32>) {
        self.n_token += wide(ids.len());
        if let Some(unknown) = unknown {
            self.n_unknown += wide(ids.iter().filter(|&&id| id == unknown).count());
        }
    }

    /// Units: percent of the tokens that are unknown.
    pub fn unknown_percent(&self) -> f64 {
        // Counts of tokens are far below 2^53.
        100.0 * self.n_unknown as f64 / self.n_token.max(1) as f64
    }

    /// Whether so much is unknown that it should be said.
    pub fn is_notable(&self) -> bool {
        const LEAST_PERCENT: f64 = 1.0;
        self.unknown_percent() >= LEAST_PERCENT
    }

    /// Fails where next to nothing of the text is left to learn.
    ///
    /// # Errors
    ///
    /// [`DataError::Unknown`].
    pub fn check(&self) -> Result<(), DataError> {
        const MOST_PERCENT: f64 = 90.0;
        match &self.unknown {
            Some(name) if self.unknown_percent() > MOST_PERCENT => {
                Err(DataError::Unknown { name: name.clone(), percent: self.unknown_percent() })
            }
            _ => Ok(()),
        }
    }
}
