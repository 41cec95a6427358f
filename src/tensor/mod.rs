//! What a tensor is: its shape, its element type, its part in the program. No data and no device.

mod shape;
mod spec;

pub use shape::{Shape, ShapeOverflow};
pub use spec::{DType, Role, TensorId, TensorSpec};
