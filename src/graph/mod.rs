//! The computation as a graph: an ordered list of ops over named tensors, built once at start-up.

mod builder;
mod fuse;
mod optimizer;
mod recompute;
mod slabs;
mod tape;

pub use builder::GraphBuilder;
pub use optimizer::{AdamwConfig, Optimizer, Signals, SlabTensors, Training};
pub use recompute::Recompute;
pub use slabs::{SLAB_ALIGN_ELEMS, SLAB_DTYPE, Slab, SlabMember};

use std::collections::HashSet;
use std::sync::Arc;

use crate::ops::{Io, Op, ShapeError};
use crate::tensor::{ParamGroup, Role, TensorId, TensorSpec};

/// When a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Once per micro-batch: forward and backward.
    MicroBatch,
    /// Once per optimizer step, after all micro-batches.
    Update,
}

/// One op applied to tensors.
#[derive(Debug)]
pub struct Node {
    /// The node's place in the model, for messages: `h.3.ln_1`, `d h.3.ln_1`.
    pub label: String,
    /// The op.
    pub op: Arc<dyn Op>,
    /// The tensors it reads.
    pub inputs: Vec<TensorId>,
    /// The tensors it writes; scratch last.
    pub outputs: Vec<TensorId>,
    /// Whether each output is added to.
    pub accumulate: Vec<bool>,
    /// When it runs.
    pub phase: Phase,
}

/// A graph that can't be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An op rejected its input tensors.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The loss depends on an op that has no backward rule.
    #[error("{op} at {label} is on the path to the loss but has no backward rule")]
    NotDifferentiable {
        /// The op's stem.
        op: &'static str,
        /// The node's label.
        label: String,
    },
    /// A tensor has more elements than a kernel can index.
    #[error("{name} {shape} has more than 2^32 - 1 elements; use a smaller --batch-size, --block-size or model")]
    TooLarge {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: String,
    },
    /// Two tensors have the same name.
    #[error("two tensors are named {0}")]
    DuplicateName(String),
}

/// An ordered list of nodes and the tensors that connect them.
#[derive(Debug, Default)]
pub struct Graph {
    /// The tensors; a [`TensorId`] is an index here.
    pub tensors: Vec<TensorSpec>,
    /// The nodes in execution order; `Phase::Update` comes last.
    pub nodes: Vec<Node>,
    /// The parameters in order of declaration, and how the optimizer treats them.
    pub params: Vec<(TensorId, ParamGroup)>,
    /// Contiguous storage of parameters, gradients and moments.
    pub slabs: Vec<Slab>,
    /// The number of forward nodes, which come first.
    pub n_forward: usize,
    /// Whether the first writer of every gradient and metric stores, so that none has to be cleared when a step begins.
    pub stores_first: bool,
}

impl Graph {
    /// Makes the first writer of every gradient and metric store instead of add, for steps of one micro-batch. Results
    /// don't change.
    pub(crate) fn store_first(&mut self) {
        let mut written = HashSet::new();
        for node in &mut self.nodes {
            for (output, add) in node.outputs.iter().zip(&mut node.accumulate) {
                let is_summed = matches!(self.tensors[output.0].role, Role::Grad | Role::Metric);
                if is_summed && written.insert(*output) {
                    *add = false;
                }
            }
        }
        self.stores_first = true;
    }

    /// The spec of a tensor.
    pub fn spec(&self, tensor: TensorId) -> &TensorSpec {
        &self.tensors[tensor.0]
    }

    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().position(|t| t.name == name).map(TensorId)
    }

    /// The tensors of a node as its op sees them.
    pub fn io<'a>(&'a self, node: &'a Node) -> Io<'a> {
        Io { inputs: &node.inputs, outputs: &node.outputs, accumulate: &node.accumulate, specs: &self.tensors }
    }
}
