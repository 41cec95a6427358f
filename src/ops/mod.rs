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

/// What the shape rule says of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutSpec {
    /// The argument's name: `out`, `mean`, `dinp`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// Its element type.
    pub dtype: DType,
    /// Only for the op's own dispatches: not compared, not read by other ops. Scratch comes after the real outputs.
    pub scratch: bool,
}

impl OutSpec {
    /// An f32 output.
    pub fn f32(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, dtype: DType::F32, scratch: false }
    }

    /// An f32 tensor that only the op's own dispatches use.
    pub fn scratch(name: &'static str, shape: Shape) -> Self {
        Self { scratch: true, ..Self::f32(name, shape) }
    }
}

/// Inputs whose shapes or types an op can't take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op} at {label}: {what}: expected {expected}, got {got}")]
pub struct ShapeError {
    /// The op's stem.
    pub op: &'static str,
    /// The node's label; the graph fills it.
    pub label: String,
    /// Which input or setting.
    pub what: String,
    /// What the op needs.
    pub expected: String,
    /// What it was given.
    pub got: String,
}

impl ShapeError {
    /// An error of an op; the graph adds the node's label.
    pub fn new(op: &'static str, what: &str, expected: impl ToString, got: impl ToString) -> Self {
        Self { op, label: String::new(), what: what.into(), expected: expected.to_string(), got: got.to_string() }
    }

    /// Fails where `got` differs from `expected`.
    ///
    /// # Errors
    ///
    /// This error, naming `what`.
    pub fn check<T: PartialEq + Debug>(op: &'static str, what: &str, expected: T, got: T) -> Result<(), Self> {
        if expected == got { Ok(()) } else { Err(Self::new(op, what, format!("{expected:?}"), format!("{got:?}"))) }
    }
}

/// The tensors of one node, as an op's methods see them.
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

    /// Bytes of all inputs and real outputs once each: the least traffic an op can cause.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().chain(self.outputs).map(|t| self.specs[t.0].bytes()).sum()
    }

    fn whole(&self, tensor: TensorId) -> Range {
        Range { tensor, start: 0, len: self.specs[tensor.0].shape.numel() }
    }
}

/// What an op may ask of the device when it chooses its dispatches.
#[derive(Debug, Clone, Copy)]
pub struct LowerCtx<'a> {
    /// The device's limits.
    pub caps: &'a Caps,
    /// Pinned or tuned variants.
    pub choice: &'a Choice,
    /// Where the tasks that can be tuned are noted, where somebody wants to know them.
    pub noted: Option<&'a RefCell<Vec<Task>>>,
}

impl LowerCtx<'_> {
    /// The variant of a kernel to use.
    pub fn variant(&self, kernel: &'static KernelDef) -> &'static Variant {
        self.choice.variant(kernel, self.caps)
    }

    /// Whether products do what follows them. A software device gains nothing by that: it loses memory to more kernels.
    pub fn fuses(&self) -> bool {
        matmul::Strided::family(self) == Family::Tiled
    }

    /// The most elements that one binding may hold.
    pub fn max_binding_elems(&self) -> u64 {
        self.caps.max_binding_bytes / DType::F32.bytes()
    }

    /// Splits `n_row` rows of `n_col` elements into ranges of rows (start, count) that one binding can hold and that
    /// start at an aligned offset: one range where everything fits.
    pub fn row_ranges(&self, n_row: u64, n_col: u64) -> Vec<(u64, u64)> {
        self.row_ranges_of(n_row, n_col, Cost::default())
    }

    /// The same for rows that cost this much in all: a range is no more work than one dispatch should have
    /// ([`Caps::max_dispatch_work`]), so that none keeps a slow device busy for long. For an axis whose ranges are
    /// independent of each other: then splitting changes no result.
    pub fn row_ranges_of(&self, n_row: u64, n_col: u64, cost: Cost) -> Vec<(u64, u64)> {
        // a multiple of 64 rows of 4-byte elements starts at a multiple of 256 bytes, the largest alignment there is,
        // whatever the rows' length: so tensors of other widths can be cut at the same rows
        const ALIGNED_ROWS: u64 = 64;
        let n_part = cost.work().div_ceil(self.caps.max_dispatch_work.max(1)).max(1);
        let most = (self.max_binding_elems() / n_col.max(1)).min(n_row.div_ceil(n_part));
        if n_row <= most {
            return vec![(0, n_row)];
        }
        // a row too long for any binding is reported by the plan's check; one of too much work is left as it is
        let step = (most / ALIGNED_ROWS).max(1) * ALIGNED_ROWS;
        (0..n_row).step_by(to_usize(step)).map(|r| (r, step.min(n_row - r))).collect()
    }
}

/// The work of a node: what it costs at the least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations (a multiply-add is two).
    pub flops: u64,
    /// Bytes read and written, each tensor once.
    pub bytes: u64,
}

impl Cost {
    /// Both in one number, by which command buffers are filled and dispatches split. Devices of every kind do at least four
    /// floating-point operations in the time that a byte takes.
    pub fn work(self) -> u64 {
        const FLOPS_PER_BYTE: u64 = 4;
        self.flops.max(self.bytes.saturating_mul(FLOPS_PER_BYTE))
    }

    /// `part` of `whole` of it.
    pub(crate) fn share(self, part: u128, whole: u128) -> Self {
        let of = |n: u64| u64::try_from(u128::from(n) * part / whole.max(1)).unwrap_or(u64::MAX);
        Self { flops: of(self.flops), bytes: of(self.bytes) }
    }
}

/// How the outputs of a node can be made again from tensors that are kept anyway.
#[derive(Debug)]
pub struct Rerun {
    /// The op, cheap against a matmul, that gives the same bits.
    pub op: Box<dyn Op>,
    /// What it reads: inputs or outputs of the node.
    pub inputs: Vec<TensorId>,
    /// The node's outputs that its real outputs equal.
    pub outputs: Vec<TensorId>,
}

/// Where a backward rule puts a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dest {
    /// Into the gradient of the op's input of this index: the first writer stores, later writers add.
    Grad(usize),
    /// Into a new tensor.
    Fresh,
}

/// What a backward rule sees and does; the graph's tape implements it.
pub trait Backward {
    /// How many inputs the op has: optional ones come last.
    fn n_input(&self) -> usize;
    /// The op's input.
    fn input(&self, i: usize) -> TensorId;
    /// The op's output.
    fn output(&self, i: usize) -> TensorId;
    /// The gradient of an output; `None` where the loss doesn't depend on it.
    fn dout(&self, i: usize) -> Option<TensorId>;
    /// Whether the gradient of an input is needed; an input that the node lacks (an optional bias) needs none.
    fn wants(&self, i: usize) -> bool;
    /// Spec of a tensor.
    fn spec(&self, tensor: TensorId) -> &TensorSpec;
    /// Appends a backward op. `dest` has one entry per real output of the op.
    ///
    /// # Errors
    ///
    /// The op's [`ShapeError`].
    fn apply(&mut self, op: Box<dyn Op>, inputs: &[TensorId], dest: &[Dest]) -> Result<Vec<TensorId>, ShapeError>;
    /// Says that the gradient of an input equals an existing tensor, without a copy.
    ///
    /// # Errors
    ///
    /// Where an addition that this makes necessary doesn't fit.
    fn pass(&mut self, input: usize, gradient: TensorId) -> Result<(), ShapeError>;
}

/// The host half of an op.
pub trait Op: Any + Debug + Send + Sync {
    /// The stem: names the shader, reference, golden, test and bench.
    fn name(&self) -> &'static str;

    /// Shape and type rule, including tensors saved for backward and scratch.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] naming the input that doesn't fit.
    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError>;

    /// The kernel calls, chosen for the device.
    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch>;

    /// The real outputs (no scratch) in f64. Integer inputs come as exact f64. An op that works in place gets the old
    /// values of its outputs after its inputs, and their shapes too.
    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>>;

    /// The least work.
    fn cost(&self, io: &Io<'_>) -> Cost;

    /// Floating-point operations of its matrix products alone, without what a mask hides: what MFU counts.
    fn product_flops(&self, _io: &Io<'_>) -> u64 {
        0
    }

    /// Whether an output may be added to instead of stored.
    fn accumulates(&self, _output: usize) -> bool {
        false
    }

    /// Whether the real outputs are existing tensors that the op reads and updates.
    fn in_place(&self) -> bool {
        false
    }

    /// How to make the outputs again instead of keeping them for the backward pass; `None` where that isn't cheap.
    fn rerun(&self, _io: &Io<'_>) -> Option<Rerun> {
        None
    }

    /// What a product's kernel can do of this op's work where the op reads the product; `None` where that is nothing.
    fn epilogue(&self) -> Option<Epilogue> {
        None
    }

    /// What is left of the op once a product has done that: an op on the product and the rest of the inputs.
    fn rest(&self) -> Option<Arc<dyn Op>> {
        None
    }

    /// The backward rule; `None` is an error at graph build if the op lies on the way to the loss.
    fn backward(&self, _tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        None
    }
}

/// A size for a kernel's `params`. Sizes beyond u32 are rejected when the graph is built, before any op is lowered.
fn to_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("the graph let a size beyond u32 through: {n}"))
}

/// A size for the CPU reference, whose tensors exist in memory.
fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or_else(|_| panic!("a tensor larger than memory: {n}"))
}
