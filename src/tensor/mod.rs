//! Descriptions of tensors: shape, element type and role in the program. No data and no device.

mod param;
mod shape;
mod spec;

pub use param::{Init, Layout, ParamGroup, ParamSpec};
pub use shape::{Shape, ShapeOverflow};
pub use spec::{DType, Role, TensorId, TensorSpec};
