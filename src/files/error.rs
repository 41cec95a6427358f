use std::io;
use std::path::Path;

/// A file that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// An error of the operating system.
    #[error("{path}: {source}; check the path, its permissions and the disk space")]
    Io {
        /// The file or folder.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file whose content is wrong.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// Adds the path to an error of the operating system.
pub(crate) fn io_error(path: &Path) -> impl Fn(io::Error) -> FileError {
    let path = path.display().to_string();
    move |source| FileError::Io { path: path.clone(), source }
}
