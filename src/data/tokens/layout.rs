//! Where the tokens of a file are.

use super::width::Width;

/// The layout of a token file: little-endian tokens, one after the other, up to its end.
///
/// Source: nanoGPT's `prepare.py` (nothing but 16-bit tokens), llm.c's `data_common.py` (a header, and 16 or 32 bits),
/// NumPy's `numpy.lib.format` (a header that names the type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Units: bytes before the first token.
    pub start: u64,
    /// The width of a token.
    pub width: Width,
    /// Tokens in the file; at least one.
    pub n_token: u64,
}
