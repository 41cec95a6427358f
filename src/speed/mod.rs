//! How fast a device is, as measured on it, and where a program's time goes.

mod peaks;
mod profile;
mod rates;
mod sprint;

pub use peaks::{Peaks, matmul_peak};
pub use profile::{Profile, Row, Spans};
pub use rates::{Rates, TimedStep};
pub use sprint::Sprint;
