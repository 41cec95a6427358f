//! Model configurations, their graphs and initial weights. Knows no device.

mod cached;
mod config;
mod gpt;
mod gpt2;
mod init;
mod net;

pub use cached::{CachedGpt, CachedIo};
pub use config::{ConfigError, ModelConfig, Positions};
pub use gpt::{BatchShape, Gpt, Memory, Purpose, ReadBack};
pub use init::init_values;
pub use net::{Constant, GptInputs, Table};
