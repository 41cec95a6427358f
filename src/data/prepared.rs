//! A text's splits, encoded in advance.

use std::sync::Arc;

use super::options::Options;
use super::split::Split;
use super::{Findings, Tokenizer};

/// Splits, and what they were made from.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub tokenizer: Tokenizer,
    pub options: Options,
    pub splits: Splits,
}

/// Both splits of an encoded text, and how well the tokenizer fits it.
#[derive(Clone, Debug)]
pub(super) struct Splits {
    pub train: Arc<Split>,
    pub val: Arc<Split>,
    pub findings: Findings,
}
