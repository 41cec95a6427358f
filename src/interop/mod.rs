//! Other projects' file formats: one file each.

mod error;
pub mod export;
mod float_format;
mod gguf;
pub mod hf_config;
mod hf_write;
pub mod import;
pub mod llmc_read;
mod llmc_write;
mod mistaken;
mod names;
pub mod safetensors;
mod tensors;
mod torch;

pub use error::InteropError;
