//! What a tensor is: its shape, its element type, its part in the program. No data and no device.

mod param;
mod shape;
mod spec;

pub use param::{Init, Layout, ParamGroup, ParamSpec};
pub use shape::{Shape, ShapeOverflow};
pub use spec::{DType, Role, TensorId, TensorSpec};
