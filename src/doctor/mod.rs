//! Checks of each op and of a whole model on a device against the CPU reference, run by the GPU tests and `tril
//! doctor`.

pub mod cases;
mod interpret;
mod model;
mod verify;

pub use interpret::{Interpreted, interpret};
pub use model::{ModelFailure, check_model, self_check};
pub use verify::{Case, Data, Failure, Report, verify};
