//! The tokenizer of token files.

use std::error::Error;

use crate::data::tokens::tokenizer_beside;
use crate::data::{Source, Tokenizer};

/// Fails if the tokenizer next to token files isn't the run's own: their ids would mean something else.
///
/// # Errors
///
/// Also if a tokenizer file next to them can't be read.
pub(super) fn check_beside(source: &Source, own: &Tokenizer) -> Result<(), Box<dyn Error>> {
    let Source::Tokens { train, val, .. } = source else { return Ok(()) };
    let files: Vec<_> = train.iter().chain(val).cloned().collect();
    match tokenizer_beside(&files)? {
        Some((path, other)) if other.to_json()? != own.to_json()? => Err(format!(
            "{} is not the run's tokenizer, so the ids of the files next to it mean something else; give text, or files \
             made with the run's tokenizer",
            path.display()
        )
        .into()),
        _ => Ok(()),
    }
}
