use std::fmt;

use super::Shape;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floating point.
    F32,
    /// 32-bit unsigned integer: token ids, positions, random keys.
    U32,
}

impl DType {
    /// Size of one element, bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 | Self::U32 => 4,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::U32 => "u32",
        })
    }
}

/// A tensor's role in the program, which decides where it lives and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A trained tensor, in the parameter slabs.
    Param,
    /// A fixed tensor, written once by the host (a sinusoidal position table).
    Const,
    /// The gradient of a parameter; in the gradient slabs, cleared when a step begins.
    Grad,
    /// The optimizer's state per element of a parameter; in a slab as long as the parameters'.
    OptimizerState,
    /// Carried from step to step on the device (an optimizer's counts).
    State,
    /// Cleared when a step begins, added to by each micro-batch, read back (loss, gradient norm).
    Metric,
    /// Written by the host before each micro-batch or step.
    Input,
    /// Computed and consumed inside a micro-batch; shares its buffer with tensors of disjoint lifetimes.
    Activation,
    /// Computed inside a micro-batch and still readable after it (logits).
    Output,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Param => "parameters",
            Self::Const => "constants",
            Self::Grad => "gradients",
            Self::OptimizerState => "moments",
            Self::State => "state",
            Self::Metric => "metrics",
            Self::Input => "inputs",
            Self::Activation => "activations",
            Self::Output => "outputs",
        })
    }
}

/// The index of a tensor in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// The description of a tensor, known before any device is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, unique in the graph; for a parameter, GPT-2's name.
    pub name: String,
    /// Its axes.
    pub shape: Shape,
    /// Its element type.
    pub dtype: DType,
    /// Its role, which decides where it lives and how long.
    pub role: Role,
}

impl TensorSpec {
    /// Makes a spec from its parts.
    pub fn new(name: impl Into<String>, shape: Shape, dtype: DType, role: Role) -> Self {
        Self { name: name.into(), shape, dtype, role }
    }

    /// Size of all elements, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes_of(self.shape.numel())
    }

    /// Size of `n_elem` elements, bytes.
    pub fn bytes_of(&self, n_elem: u64) -> u64 {
        n_elem.saturating_mul(self.dtype.bytes())
    }
}
