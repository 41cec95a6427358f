//! Training: one optimizer step after another on the device, learning-rate schedules, runs that can be resumed.

pub mod checkpoint;
mod config;
mod evaluator;
pub mod fit;
mod inputs;
mod profiling;
mod run;
mod run_dir;
mod schedule;
mod session;
mod session_config;
mod tensor_file;

pub use config::{DataConfig, RunConfig, TomlError, TrainConfig};
pub use evaluator::Evaluator;
pub use run::{Event, Run, RunError, Summary};
pub use run_dir::{RunDir, RunDirError};
pub use schedule::{Schedule, ScheduleKind};
pub use session::{Moment, Session, SessionError, StepResult};
pub use session_config::{AdamwConfig, SessionConfig};
