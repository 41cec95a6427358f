//! Model configurations made into graphs, and their initial weights. Knows no device.

mod cached;
mod config;
mod gpt;
mod init;
mod layers;

pub use cached::{CachedGpt, CachedIo};
pub use config::{ConfigError, ModelConfig, Positions};
pub use gpt::{Gpt, GptInputs, Keep, Memory, Purpose, Rows};
pub use init::{init_values, sinusoidal_positions};
