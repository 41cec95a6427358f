//! How fast a device is, as measured on it, and where a program's time goes.

mod peaks;
mod profile;

pub use peaks::{Peaks, matmul_peak};
pub use profile::{Profile, Row, Spans};
