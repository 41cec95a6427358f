//! The host half of each op: shape rule, dispatches, cost, backward rule and CPU reference.
//!
//! An op is a struct that implements [`Op`]; its stem names the shader, reference, golden, test and bench.

mod adamw;
mod attention;
mod column_sum;
mod cross_entropy;
mod dropout;
mod embedding;
mod gelu;
mod global_norm;
mod layernorm;
mod matmul;
mod residual;
mod sample;
mod tunable;

pub use adamw::{Adamw, AdamwCorrections};
pub use attention::decode::{AttentionDecode, AttentionPrefill, cache_shape};
pub use attention::{
    Attention, AttentionBackward, FlashAttention, FlashAttentionBackward, FlashProbe, document_places, document_spans,
};
pub use column_sum::ColumnSum;
pub use cross_entropy::{CrossEntropy, CrossEntropyBackward, ProjectionCrossEntropy};
pub use dropout::Dropout;
pub use embedding::decode::EmbeddingDecode;
pub use embedding::{Embedding, EmbeddingBackward, EmbeddingBackwardPosition, sorted_positions};
pub use gelu::{Gelu, GeluBackward};
pub use global_norm::GlobalNorm;
pub use layernorm::{Layernorm, LayernormBackward, LayernormBackwardParams, ResidualLayernorm};
pub use matmul::{Epilogue, Fused, Matmul, Matvec, Probe};
pub use residual::Residual;
pub use sample::Sample;
pub use tunable::Task;

use std::any::Any;
use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::Arc;

use crate::kernel::{Caps, Choice, Dispatch, Family, KernelDef, Range, Ro, Rw, Variant};
use crate::tensor::{DType, Shape, TensorId, TensorSpec};

/// An output according to the shape rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutSpec {
    /// The argument's name: `out`, `mean`, `dinp`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// Its element type.
    pub dtype: DType,
    /// Whether only the op's own dispatches use it: not compared, not read by other ops. Scratch comes after the real
    /// outputs.
    pub scratch: bool,
}

impl OutSpec {
    /// Describes an f32 output.
    pub fn f32(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, dtype: DType::F32, scratch: false }
    }

    /// Describes an f32 tensor that only the op's own dispatches use.
    pub fn scratch(name: &'static str, shape: Shape) -> Self {
        Self { scratch: true, ..Self::f32(name, shape) }
    }
}

/// Inputs whose shapes or types an op rejects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op} at {label}: {what}: expected {expected}, got {got}")]
pub struct ShapeError {
    /// The op's stem.
    pub op: &'static str,
    /// The node's label, filled in by the graph.
    pub label: String,
    /// The input or setting at fault.
    pub what: String,
    /// The value the op expects.
    pub expected: String,
    /// The value it got.
    pub got: String,
}

impl ShapeError {
    /// Makes an op's error; the graph adds the node's label.
    pub fn new(op: &'static str, what: &str, expected: impl ToString, got: impl ToString) -> Self {
        Self { op, label: String::new(), what: what.into(), expected: expected.to_string(), got: got.to_string() }
    }

    /// Fails if `got` differs from `expected`.
    ///
    /// # Errors
    ///
    /// This error, naming `what`.
    pub fn check<T: PartialEq + Debug>(op: &'static str, what: &str, expected: T, got: T) -> Result<(), Self> {
        if expected == got { Ok(()) } else { Err(Self::new(op, what, format!("{expected:?}"), format!("{got:?}"))) }
    }
}

/// The tensors of one node, as passed to an op's methods.
#[derive(Debug, Clone, Copy)]
pub struct Io<'a> {
    /// The node's inputs.
    pub inputs: &'a [TensorId],
    /// The node's outputs, scratch last.
    pub outputs: &'a [TensorId],
    /// Whether each output is added to rather than stored.
    pub accumulate: &'a [bool],
    /// All tensors of the graph.
    pub specs: &'a [TensorSpec],
}

impl Io<'_> {
    /// Shape of an input.
    pub fn shape_in(&self, i: usize) -> Shape {
        self.specs[self.inputs[i].0].shape
    }

    /// Shape of an output.
    pub fn shape_out(&self, i: usize) -> Shape {
        self.specs[self.outputs[i].0].shape
    }

    /// The whole of an input.
    pub fn input(&self, i: usize) -> Ro {
        Ro(self.whole(self.inputs[i]))
    }

    /// The whole of an output.
    pub fn output(&self, i: usize) -> Rw {
        Rw(self.whole(self.outputs[i]))
    }

    /// Whether an output is added to.
    pub fn adds(&self, i: usize) -> bool {
        self.accumulate[i]
    }

    /// Bytes of all inputs and real outputs, each counted once: the minimum traffic of an op.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().chain(self.outputs).map(|t| self.specs[t.0].bytes()).sum()
    }

    fn whole(&self, tensor: TensorId) -> Range {
        Range { tensor, start: 0, len: self.specs[tensor.0].shape.numel() }
    }
}

/// The information that an op chooses its dispatches by.
#[derive(Debug, Clone, Copy)]
pub struct LowerCtx<'a> {
    /// The device's limits.
    pub caps: &'a Caps,
    /// Pinned or tuned variants.
    pub choice: &'a Choice,
    /// A list that collects the tunable tasks, if they are wanted.
    pub noted: Option<&'a RefCell<Vec<Task>>>,
}

impl LowerCtx<'_> {
    /// The variant to use for a kernel.
    pub fn variant(&self, kernel: &'static KernelDef) -> &'static Variant {
        self.choice.variant(kernel, self.caps)
    }

    /// Whether to fuse ops into the products before them. A software device gains nothing by it: it loses memory to
    /// more kernels.
    pub fn fuses(&self) -> bool {
        matmul::Strided::family(self) == Family::Tiled
    }

    /// Maximum elements in one binding.
    pub fn max_binding_elems(&self) -> u64 {
        self.caps.max_binding_bytes / DType::F32.bytes()
    }

    /// Splits `n_row` rows of `n_col` elements into ranges of rows (start, count) that fit one binding and start at an
    /// aligned offset: a single range if everything fits.
    pub fn row_ranges(&self, n_row: u64, n_col: u64) -> Vec<(u64, u64)> {
        self.row_ranges_of(n_row, n_col, Cost::default())
    }

    /// The same for rows with this total cost: a range is also limited to the work of one dispatch
    /// ([`Caps::max_dispatch_work`]), so that none keeps a slow device busy for long. Use it for an axis whose ranges
    /// are independent, so that splitting doesn't change the result.
    pub fn row_ranges_of(&self, n_row: u64, n_col: u64, cost: Cost) -> Vec<(u64, u64)> {
        // a multiple of 64 rows of 4-byte elements starts at a multiple of 256 bytes, the largest alignment of any
        // device, whatever the row length, so tensors of different widths can be split at the same rows
        const ALIGNED_ROWS: u64 = 64;
        let n_part = cost.work().div_ceil(self.caps.max_dispatch_work.max(1)).max(1);
        let most = (self.max_binding_elems() / n_col.max(1)).min(n_row.div_ceil(n_part));
        if n_row <= most {
            return vec![(0, n_row)];
        }
        // the plan's check reports a row too long for any binding; one with too much work stays whole
        let step = (most / ALIGNED_ROWS).max(1) * ALIGNED_ROWS;
        (0..n_row).step_by(to_usize(step)).map(|r| (r, step.min(n_row - r))).collect()
    }
}

/// The minimum work of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations (a multiply-add is two).
    pub flops: u64,
    /// Bytes read and written, each tensor once.
    pub bytes: u64,
}

impl Cost {
    /// Both as one number, used to fill command buffers and split dispatches. Every kind of device does at least four
    /// floating-point operations in the time that it moves a byte.
    pub fn work(self) -> u64 {
        const FLOPS_PER_BYTE: u64 = 4;
        self.flops.max(self.bytes.saturating_mul(FLOPS_PER_BYTE))
    }

    /// The fraction `part` / `whole` of it.
    pub(crate) fn share(self, part: u128, whole: u128) -> Self {
        let of = |n: u64| u64::try_from(u128::from(n) * part / whole.max(1)).unwrap_or(u64::MAX);
        Self { flops: of(self.flops), bytes: of(self.bytes) }
    }
}

/// How to recompute the outputs of a node from tensors that are kept anyway.
#[derive(Debug)]
pub struct Rerun {
    /// The op to rerun: cheap compared to a matmul, and it gives the same bits.
    pub op: Box<dyn Op>,
    /// Its inputs: inputs or outputs of the node.
    pub inputs: Vec<TensorId>,
    /// The node's outputs that its real outputs equal.
    pub outputs: Vec<TensorId>,
}

/// The destination of a backward rule's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dest {
    /// Into the gradient of the op's input with this index: the first writer stores, later writers add.
    Grad(usize),
    /// Into a new tensor.
    Fresh,
}

/// The interface between a backward rule and the graph's tape.
pub trait Backward {
    /// The number of inputs; optional ones come last.
    fn n_input(&self) -> usize;
    /// An input of the op.
    fn input(&self, i: usize) -> TensorId;
    /// An output of the op.
    fn output(&self, i: usize) -> TensorId;
    /// The gradient of an output; `None` where the loss doesn't depend on it.
    fn dout(&self, i: usize) -> Option<TensorId>;
    /// Whether an input's gradient is needed; false for an input that the node lacks (an optional bias).
    fn wants(&self, i: usize) -> bool;
    /// Spec of a tensor.
    fn spec(&self, tensor: TensorId) -> &TensorSpec;
    /// Appends a backward op. `dest` has one entry per real output of the op.
    ///
    /// # Errors
    ///
    /// The op's [`ShapeError`].
    fn apply(&mut self, op: Box<dyn Op>, inputs: &[TensorId], dest: &[Dest]) -> Result<Vec<TensorId>, ShapeError>;
    /// Declares an existing tensor to be the gradient of an input, without a copy.
    ///
    /// # Errors
    ///
    /// An addition that this makes necessary is impossible.
    fn pass(&mut self, input: usize, gradient: TensorId) -> Result<(), ShapeError>;
}

/// The host half of an op.
pub trait Op: Any + Debug + Send + Sync {
    /// The stem: names the shader, reference, golden, test and bench.
    fn name(&self) -> &'static str;

    /// The shape and type rule, including tensors saved for backward and scratch.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] naming the input at fault.
    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError>;

    /// Returns the kernel calls, chosen for the device.
    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch>;

    /// Computes the real outputs (no scratch) in f64. Integer inputs arrive as exact f64. For an op that works in
    /// place, the old values and shapes of its outputs follow those of its inputs.
    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>>;

    /// The minimum work.
    fn cost(&self, io: &Io<'_>) -> Cost;

    /// Floating-point operations of the op's matrix products alone, not counting masked elements: what MFU counts.
    fn product_flops(&self, _io: &Io<'_>) -> u64 {
        0
    }

    /// Whether an output can be added to instead of stored.
    fn accumulates(&self, _output: usize) -> bool {
        false
    }

    /// Whether the real outputs are existing tensors that the op reads and updates.
    fn in_place(&self) -> bool {
        false
    }

    /// How to recompute the outputs instead of keeping them for the backward pass; `None` if that isn't cheap.
    fn rerun(&self, _io: &Io<'_>) -> Option<Rerun> {
        None
    }

    /// The work of this op that can be fused into a product it reads, if any.
    fn epilogue(&self) -> Option<Epilogue> {
        None
    }

    /// The rest of the op after that fusion: an op on the product and the remaining inputs.
    fn rest(&self) -> Option<Arc<dyn Op>> {
        None
    }

    /// The backward rule. `None` is an error at graph build if the op is on the path to the loss.
    fn backward(&self, _tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        None
    }
}

/// Converts a size for a kernel's `params`. Sizes beyond u32 are rejected when the graph is built, before any op is
/// lowered.
fn to_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("the graph let a size beyond u32 through: {n}"))
}

/// Converts a size for the CPU reference, whose tensors exist in memory.
fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or_else(|_| panic!("a tensor larger than memory: {n}"))
}
