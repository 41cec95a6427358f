//! A run on disk: its settings, layout, lock, checkpoints, weights and metrics. Independent of any device.

mod changes;
pub mod checkpoint;
mod claim;
mod from_weights;
mod layout;
pub(crate) mod metrics;
mod open;
pub mod prepare;
mod restore;
pub(crate) mod saved_settings;
mod schedule;
mod settings;
pub mod spikes;
mod toml_error;
mod toml_value;
mod weights;

pub use changes::FixedSetting;
pub use claim::RunClaim;
pub use from_weights::WeightSource;
pub(crate) use layout::set_aside;
pub use layout::{RunDir, RunDirError};
pub use open::OpenRun;
pub use schedule::{Schedule, ScheduleKind};
pub use settings::{DataConfig, OnNonfinite, RunConfig, TrainConfig};
pub use toml_error::TomlError;
pub use weights::Weights;
pub(crate) use weights::reason;
