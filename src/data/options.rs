//! How a text becomes a dataset.

use super::{DataError, Mode};

/// How a text becomes a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Stream or documents.
    pub mode: Mode,
    /// The share held out, 0 <= f < 1: the last characters of a stream (as nanoGPT does), or that share of the
    /// documents, chosen by a fixed shuffle. 0 means no validation.
    pub val_fraction: f64,
    /// T, the length of a row.
    pub block_size: usize,
    /// Whether several documents share a row if they fit, to save padding; ignored for streams.
    pub pack: bool,
    /// Whether attention stays within a document: batches then have [`Batch::firsts`](super::Batch::firsts). In a stream, a document begins
    /// with each start token, or with each end-of-text token if there is no other.
    pub document_mask: bool,
}

impl Options {
    /// Stream mode with a tenth held out and no document mask.
    pub fn stream(block_size: usize) -> Options {
        Options { mode: Mode::Stream, val_fraction: 0.1, block_size, pack: false, document_mask: false }
    }
}

/// The use of a dataset, which decides how short a split may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Training,
    Evaluation,
}

/// Checks that both parts of a stream hold at least one window.
pub(super) fn check_lengths(train: usize, val: usize, options: &Options, purpose: Use) -> Result<(), DataError> {
    let block_size = options.block_size;
    match purpose {
        Use::Evaluation if val < 2 => Err(DataError::ShortEvaluation { tokens: val }),
        Use::Training if train <= block_size => Err(DataError::ShortTraining { tokens: train, block_size }),
        Use::Training if options.val_fraction > 0.0 && val <= block_size => {
            Err(DataError::ShortValidation { tokens: val, block_size })
        }
        _ => Ok(()),
    }
}
