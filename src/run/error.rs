use std::io;
use std::path::Path;

use crate::files::FileError;
use crate::files::shell::quoted;

/// A run directory that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// An error of the operating system.
    #[error("{path}: {source}; check the path, its permissions and the disk space")]
    Io {
        /// The file or folder.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A new run in the directory of another.
    #[error("{0} already holds a run; resume it with tril train --resume {quoted}, or choose another --out", quoted = quoted(Path::new(.0)))]
    Exists(String),
    /// A new run in a folder of other files.
    #[error("{0} is not empty; choose another --out")]
    NotEmpty(String),
    /// A new run where another process is about to begin one.
    #[error("another process is starting a run in {0}; choose another --out")]
    Taken(String),
    /// A new run that can't be written.
    #[error("can't write a run to {path}: {source}; choose another --out")]
    Uncreatable {
        /// The directory.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A run that doesn't exist.
    #[error("{0} does not exist; give the directory that `tril train` wrote with --out")]
    Missing(String),
    /// Not a run directory.
    #[error("{path} is not a tril run: {reason}; give the directory that `tril train` wrote with --out")]
    Foreign {
        /// The directory.
        path: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A folder without evidence of a step.
    #[error("{path} holds no evidence of a step ({reason}); give a folder in RUN/nonfinite")]
    NoEvidence {
        /// The folder.
        path: String,
        /// What is missing.
        reason: String,
    },
    /// A file of evidence that is damaged.
    #[error("{path} is damaged: {reason}; restore it, or look at another folder of RUN/nonfinite")]
    DamagedEvidence {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A config with a changed number of heads, which fits the weights but gives another model.
    #[error("{path} was saved with n_head = {saved}, but config.toml says {config}; restore config.toml")]
    Heads {
        /// The file.
        path: String,
        /// The saved number of heads.
        saved: String,
        /// The config's number of heads.
        config: u64,
    },
    /// A run without a complete checkpoint.
    #[error("{path} {reason}")]
    NoCheckpoint {
        /// The run.
        path: String,
        /// What it has instead, and what to do.
        reason: String,
    },
    /// Settings that were changed during a run.
    #[error("{path} was changed after the run was started: {what}; restore it, or start a new run with --out")]
    Changed {
        /// The config.
        path: String,
        /// The settings that differ.
        what: String,
    },
    /// A tokenizer that replaced a run's own.
    #[error("{path} is not the tokenizer that the run was started with (its checksum differs); restore that one{copy}")]
    OtherTokenizer {
        /// The tokenizer.
        path: String,
        /// Where to find a copy of the right one, or empty.
        copy: String,
    },
    /// A run that has lost a file which can't be replaced.
    #[error("{path} {reason}, and {remedy}")]
    Lost {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// Why it can't be replaced, and what to do.
        remedy: String,
    },
    /// A run whose best model can't be used.
    #[error("{path} {reason}; {remedy}")]
    NoModel {
        /// The model.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// What is intact, and how to continue with it.
        remedy: String,
    },
    /// A run that another process is training.
    #[error("{0} is being trained by another process; wait until it ends, or stop it with Ctrl-C")]
    Busy(String),
    /// A file that is damaged.
    #[error("{path} is damaged: {reason}; restore it, or start a new run with --out")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl From<FileError> for RunDirError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source } => Self::Io { path, source },
            FileError::Damaged { path, reason } => Self::Damaged { path, reason },
        }
    }
}
