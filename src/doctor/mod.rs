//! Each op and a whole model on a device against the CPU reference: what the GPU tests and `tril doctor` run.

pub mod cases;
mod interpret;
mod model;
mod verify;

pub use interpret::{Interpreted, interpret};
pub use model::{ModelFailure, check_model, self_check};
pub use verify::{Case, Data, Failure, Report, verify};
