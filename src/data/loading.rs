//! What loading a text reports while it works.

use super::DataError;

/// What is being done, and how far it is. Reports come many times a second.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Loading<'a> {
    /// A file or standard input is being read.
    Reading {
        /// The file's path, or "standard input".
        name: &'a str,
        /// Units: bytes read of all files so far, compressed where they are.
        bytes: u64,
        /// Units: bytes of all files; unknown where some of them come from a pipe.
        total: Option<u64>,
    },
    /// A tokenizer is being learned from a text.
    LearningTokenizer {
        /// Units: bytes of the text that it has seen.
        bytes: u64,
        /// Units: bytes that it is going to see.
        total: u64,
    },
    /// The text is becoming tokens.
    Encoding {
        /// Units: bytes of the text that are done.
        bytes: u64,
        /// Units: bytes of the text; unknown where nobody has read it yet.
        total: Option<u64>,
    },
}

/// Hears what is being done, and ends it by an error.
pub type Watch<'a> = &'a dyn Fn(Loading<'_>) -> Result<(), DataError>;
