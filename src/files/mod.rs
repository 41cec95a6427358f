//! Files that survive a crash: written next to their target, synced and renamed; claimed by one process; removed when a
//! command is interrupted. Also formats that several parts of the program read.

pub mod atomic;
pub mod claim;
mod error;
pub(crate) mod pointer;
pub mod shell;
pub(crate) mod tensor_file;
pub mod unfinished;
pub(crate) mod whole_file;

pub use error::FileError;
pub(crate) use error::io_error;
