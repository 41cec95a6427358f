//! Which tokenizer goes with token files.

use std::error::Error;

use crate::data::tokens::tokenizer_beside;
use crate::data::{Source, Tokenizer};

/// Fails where another tokenizer than a run's own lies beside token files: their ids mean something else then.
///
/// # Errors
///
/// Also a file beside them that gives no tokenizer.
pub(super) fn check_beside(source: &Source, own: &Tokenizer) -> Result<(), Box<dyn Error>> {
    let Source::Tokens { train, val, .. } = source else { return Ok(()) };
    let files: Vec<_> = train.iter().chain(val).cloned().collect();
    match tokenizer_beside(&files)? {
        Some((path, other)) if other.to_json()? != own.to_json()? => Err(format!(
            "{} is not the run's tokenizer, so the ids of the files beside it mean something else; give text, or files of the run's own tokenizer",
            path.display()
        )
        .into()),
        _ => Ok(()),
    }
}
