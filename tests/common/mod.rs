//! What the CPU tests and the GPU tests share; each includes this file by path.

pub mod foreign;
pub mod golden;
