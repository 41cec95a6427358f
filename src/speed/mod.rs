//! The measured speed of a device, and profiles of a program.

mod peaks;
mod profile;
mod rates;
mod sprint;

pub use peaks::{Peaks, matmul_peak};
pub use profile::{Profile, Row, Spans};
pub use rates::{Rates, TimedStep};
pub use sprint::Sprint;
