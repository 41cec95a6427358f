//! Training: one optimizer step after another on the device, learning-rate schedules, runs that can be resumed.

pub mod blackbox;
pub mod checkpoint;
mod config;
mod evaluator;
mod event;
pub mod fit;
mod imported;
mod inputs;
mod kept;
mod metrics;
mod profiling;
mod run;
mod run_dir;
mod schedule;
mod session;
mod session_config;
pub mod spikes;
pub(crate) mod tensor_file;
mod toml_error;
mod toml_value;
mod weights;

pub use config::{DataConfig, OnNonfinite, RunConfig, TrainConfig};
pub use evaluator::Evaluator;
pub use event::{Event, Mended, RunError, Summary};
pub use imported::WeightSource;
pub use run::Run;
pub use run_dir::{RunDir, RunDirError};
pub(crate) use run_dir::{io_error, sync_dir};
pub use schedule::{Schedule, ScheduleKind};
pub use session::{Moment, Session, SessionError, StepResult};
pub use session_config::{AdamwConfig, SessionConfig};
pub use toml_error::TomlError;
pub use weights::Weights;
