//! Training: optimizer steps on the device, and the runs made of them.

mod checkpoint;
mod evaluator;
mod event;
pub mod evidence;
pub mod memory;
mod profiling;
mod session;
mod session_config;
mod step_result;
mod trainer;
mod write_batch;

pub use crate::graph::AdamwConfig;
pub use checkpoint::{CheckpointError, save, save_model};
pub use evaluator::Evaluator;
pub use event::{Doing, Event, Repaired, RunError, Summary};
pub use session::{Session, SessionError};
pub use session_config::SessionConfig;
pub use step_result::StepResult;
pub use trainer::Run;
pub(crate) use write_batch::{batch_words, loss_scale};
