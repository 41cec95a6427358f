use std::io;
use std::path::Path;

use crate::data::DataError;
use crate::files::FileError;
use crate::run::RunDirError;

/// A model that can't come in or go out.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// A run directory, or the files of an export.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// A file that can't be written.
    #[error(transparent)]
    File(#[from] FileError),
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
    /// A run in the place of an export.
    #[error("{0} is a run; give another --out")]
    IsRun(String),
    /// A folder that another process is making.
    #[error("{0} is being written by another tril; wait for it or choose another --out")]
    Busy(String),
    /// A file of a foreign model that can't be read.
    #[error("{path}: {source}; check the path and its permissions")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Something that isn't a model of a format that is known.
    #[error("{path} can't be imported: {reason}")]
    NotAModel {
        /// The file or folder.
        path: String,
        /// What it is, and what to do.
        reason: String,
    },
    /// A pointer, a page or another thing in the place of a file.
    #[error("{path} {what}")]
    Mistaken {
        /// The file.
        path: String,
        /// What it is, and what to do.
        what: String,
    },
    /// A file that is broken.
    #[error("{path} is damaged: {reason}; get it again")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A model that computes something else than tril does.
    #[error("{path} has {key} = {value}; tril's models have {supported}, so this one can't be imported")]
    Unsupported {
        /// The file.
        path: String,
        /// The setting.
        key: String,
        /// What it is.
        value: String,
        /// What it may be.
        supported: String,
    },
    /// A tensor that is missing, unknown, or not what it should be.
    #[error("{path}: tensor {tensor} {reason}")]
    Tensor {
        /// The file.
        path: String,
        /// Its name there.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No tokenizer that fits the model.
    #[error("{path}: {reason}; give one with {}", fitting(*vocab_size))]
    NoTokenizer {
        /// The model, or the tokenizer's file.
        path: String,
        /// Why not.
        reason: String,
        /// Ids that the model has.
        vocab_size: u64,
    },
    /// A model file that doesn't say how many heads there are.
    #[error("nothing beside {path} says how many attention heads the model has; give --n-head")]
    NoHeads {
        /// The file.
        path: String,
    },
}

/// The kinds of tokenizers that a model has room for.
fn fitting(vocab_size: u64) -> String {
    let kinds = [("gpt2", 50_257), ("byte", 256), ("PATH/tokenizer.json", 0), ("PATH/meta.pkl", 0)];
    let fitting: Vec<_> = kinds.iter().filter(|(_, size)| vocab_size >= *size).map(|(kind, _)| *kind).collect();
    fitting.iter().map(|kind| format!("--tokenizer {kind}")).collect::<Vec<_>>().join(" or ")
}

/// Makes an error of the operating system one about a file.
pub(super) fn unreadable(path: &Path) -> impl Fn(io::Error) -> InteropError {
    let path = path.display().to_string();
    move |source| InteropError::Unreadable { path: path.clone(), source }
}
