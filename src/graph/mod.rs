//! What is computed: an ordered list of ops over named tensors, built once at start-up.

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
    /// Where in the model, for messages: `h.3.ln_1`, `d h.3.ln_1`.
    pub label: String,
    /// The op.
    pub op: Arc<dyn Op>,
    /// Read.
    pub inputs: Vec<TensorId>,
    /// Written; scratch last.
    pub outputs: Vec<TensorId>,
    /// Whether each output is added to.
    pub accumulate: Vec<bool>,
    /// When it runs.
    pub phase: Phase,
}

/// A graph that can't be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An op was given tensors that it can't take.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The loss depends on an op that has no backward rule.
    #[error("{op} at {label} lies on the way to the loss but has no backward rule")]
    NotDifferentiable {
        /// The op's stem.
        op: &'static str,
        /// Its place in the model.
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
    /// Two tensors of one name.
    #[error("two tensors are called {0}")]
    DuplicateName(String),
}

/// An ordered list of nodes, and the tensors that they connect.
#[derive(Debug, Default)]
pub struct Graph {
    /// The tensors; a [`TensorId`] is an index here.
    pub tensors: Vec<TensorSpec>,
    /// The nodes in execution order; `Phase::Update` comes last.
    pub nodes: Vec<Node>,
    /// The parameters in order of declaration, and how the optimizer treats them.
    pub params: Vec<(TensorId, ParamGroup)>,
    /// Contiguous homes of parameters, gradients and moments.
    pub slabs: Vec<Slab>,
    /// Forward nodes come first; this is how many.
    pub n_forward: usize,
    /// Whether the first writer of every gradient and metric stores, so that none of them is cleared when a step begins.
    pub stores_first: bool,
}

impl Graph {
    /// Lets the first writer of every gradient and metric store, for steps of one micro-batch: the numbers stay the same.
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
