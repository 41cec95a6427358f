use crate::data::DataError;
use crate::train::RunDirError;

/// A model that can't come in or go out.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// A run directory, or the files of an export.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// A tokenizer.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What a format has no words for.
    #[error("{format} can't express this model: {reason}; {instead}")]
    Inexpressible {
        /// The format.
        format: &'static str,
        /// What it can't say.
        reason: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// A folder with files in it.
    #[error("{0} is not an empty folder; give another --out")]
    NotEmpty(String),
}
