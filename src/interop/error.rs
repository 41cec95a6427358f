use std::io;
use std::path::Path;

use crate::data::DataError;
use crate::files::FileError;
use crate::run::RunDirError;

/// An error of importing or exporting a model.
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
    /// A model that a format can't represent.
    #[error("{format} can't represent this model: {reason}; {instead}")]
    Inexpressible {
        /// The format.
        format: &'static str,
        /// What it can't represent.
        reason: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// A folder with files in it.
    #[error("{0} is not an empty folder; give another --out")]
    NotEmpty(String),
    /// A run where an export should go.
    #[error("{0} is a run; give another --out")]
    IsRun(String),
    /// A folder that another process is writing.
    #[error("{0} is being written by another tril; wait for it or choose another --out")]
    Busy(String),
    /// A file of another program's model that can't be read.
    #[error("{path}: {source}; check the path and its permissions")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A path without a model in a known format.
    #[error("{path} can't be imported: {reason}")]
    NotAModel {
        /// The file or folder.
        path: String,
        /// What it is, and what to do.
        reason: String,
    },
    /// A pointer, a web page or another mistaken file.
    #[error("{path} {what}")]
    Mistaken {
        /// The file.
        path: String,
        /// What it is, and what to do.
        what: String,
    },
    /// A file that is broken.
    #[error("{path} is damaged: {reason}; download or create it again")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A model that computes something tril doesn't.
    #[error("{path} has {key} = {value}; tril supports only {supported}, so this model can't be imported")]
    Unsupported {
        /// The file.
        path: String,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// The supported values.
        supported: String,
    },
    /// A tensor that is missing, unknown, or has the wrong shape or values.
    #[error("{path}: tensor {tensor} {reason}")]
    Tensor {
        /// The file.
        path: String,
        /// Its name there.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A missing or unsuitable tokenizer.
    #[error("{path}: {reason}; give one with {}", fitting(*vocab_size))]
    NoTokenizer {
        /// The model, or the tokenizer's file.
        path: String,
        /// What is wrong.
        reason: String,
        /// The model's vocabulary.
        vocab_size: u64,
    },
    /// A model file without the number of heads.
    #[error("no file next to {path} says how many attention heads the model has; give --n-head")]
    NoHeads {
        /// The file.
        path: String,
    },
}

/// The kinds of tokenizers that fit a vocabulary.
fn fitting(vocab_size: u64) -> String {
    let kinds = [("gpt2", 50_257), ("byte", 256), ("PATH/tokenizer.json", 0), ("PATH/meta.pkl", 0)];
    let fitting: Vec<_> = kinds.iter().filter(|(_, size)| vocab_size >= *size).map(|(kind, _)| *kind).collect();
    fitting.iter().map(|kind| format!("--tokenizer {kind}")).collect::<Vec<_>>().join(" or ")
}

/// Adds the path to an error of the operating system.
pub(super) fn unreadable(path: &Path) -> impl Fn(io::Error) -> InteropError {
    let path = path.display().to_string();
    move |source| InteropError::Unreadable { path: path.clone(), source }
}
