//! Other projects' file formats: one file each.

mod error;
pub mod export;
mod gguf;
mod hf_write;
mod llmc_write;

pub use error::InteropError;
