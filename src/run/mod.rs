//! A run on disk: its settings, layout, lock, checkpoints, weights and metrics. Independent of any device.

mod changes;
pub mod checkpoint;
mod claim;
mod dir;
mod error;
mod from_weights;
pub(crate) mod metrics;
mod open;
pub mod prepare;
mod restore;
mod saved_files;
pub(crate) mod saved_settings;
mod schedule;
mod settings;
pub mod spikes;
mod toml_error;
mod toml_value;
mod weights;

pub use changes::FixedSetting;
pub use claim::RunClaim;
pub use dir::RunDir;
pub(crate) use dir::{METRICS, MODEL};
pub use error::RunDirError;
pub use from_weights::WeightSource;
pub use open::OpenRun;
pub use schedule::{Schedule, ScheduleKind};
pub use settings::{DataConfig, OnNonfinite, RunConfig, TrainConfig};
pub use toml_error::TomlError;
pub use weights::Weights;
pub(crate) use weights::reason;
