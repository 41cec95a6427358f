//! Progress reports while a text is loaded.

use super::DataError;

/// The current stage and its progress, reported many times a second.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Loading<'a> {
    /// A file or standard input is being read.
    Reading {
        /// The file's path, or "standard input".
        name: &'a str,
        /// Units: bytes of all files read so far, compressed sizes for compressed files.
        bytes: u64,
        /// Units: bytes of all files; unknown if some are pipes.
        total: Option<u64>,
    },
    /// A tokenizer is being learned from a text.
    LearningTokenizer {
        /// Units: bytes of the text processed so far.
        bytes: u64,
        /// Units: bytes to be processed.
        total: u64,
    },
    /// The text is being encoded.
    Encoding {
        /// Units: bytes of the text encoded so far.
        bytes: u64,
        /// Units: bytes of the text; unknown if it hasn't been read before.
        total: Option<u64>,
    },
}

/// Receives progress reports; its error ends the work.
pub type Watch<'a> = &'a dyn Fn(Loading<'_>) -> Result<(), DataError>;
