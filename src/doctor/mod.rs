//! Each op on a device against its CPU reference: what the GPU tests and `tril doctor` run.

pub mod cases;
mod verify;

pub use verify::{Case, Data, Failure, Report, verify};
