//! Other projects' file formats: one file each.

mod error;
pub mod export;
mod float_format;
pub mod hf_config;
pub mod import;
pub mod llmc_read;
mod mistaken;
mod names;
pub mod safetensors;
mod saved;
mod tensors;
mod torch;

pub use error::InteropError;
