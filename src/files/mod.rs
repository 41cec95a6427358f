//! Files that survive a crash: written beside their place, synced and renamed; claimed by one process; removed when a command
//! is interrupted. The formats that more than one part of the program reads.

pub mod atomic;
pub mod claim;
mod error;
pub mod shell;
pub(crate) mod tensor_file;
pub mod unfinished;
pub(crate) mod whole_file;

pub use error::FileError;
pub(crate) use error::io_error;
