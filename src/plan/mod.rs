//! Order and memory: turns a graph into dispatches, buffers and offsets for one device, and checks them against its
//! limits. A plan is plain data, built on the CPU.

mod check;
mod pace;
mod place;
mod show;
mod slots;

pub use check::PlanError;
pub use pace::{Pace, n_within};
pub use place::{BufferPlan, Place, share};
pub use slots::{Interval, Slots, assign, most_alive};

use std::collections::BTreeMap;

use crate::graph::{Graph, Phase};
use crate::kernel::{Caps, Choice, Dispatch};
use crate::ops::{Cost, LowerCtx};
use crate::tensor::{Role, TensorId, TensorSpec};

/// One dispatch of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Index into the graph's nodes.
    pub node: usize,
    /// The node's label.
    pub label: String,
    /// The op's stem.
    pub op: &'static str,
    /// When it runs.
    pub phase: Phase,
    /// The kernel call.
    pub dispatch: Dispatch,
    /// Offset of its `params` in the uniform buffer, bytes.
    pub uniform_offset: u64,
    /// Its share of the node's cost, in proportion to its invocations.
    pub cost: Cost,
}

impl Step {
    /// Its work when command buffers are filled: its cost, plus that of a small kernel for being a dispatch.
    pub fn work(&self) -> u64 {
        const DISPATCH_WORK: u64 = 1_000_000;
        self.cost.work().saturating_add(DISPATCH_WORK)
    }
}

/// Everything that a device needs to run a graph.
#[derive(Debug)]
pub struct Plan {
    /// The graph as the device runs it.
    pub graph: Graph,
    /// The dispatches in order.
    pub steps: Vec<Step>,
    /// The buffers.
    pub buffers: Vec<BufferPlan>,
    /// The place of each tensor.
    pub places: Vec<Place>,
    /// The contents of the uniform buffer.
    pub uniform: Vec<u8>,
    /// The minimum work of a micro-batch and of an update.
    pub cost: BTreeMap<Phase, Cost>,
    /// The device that the plan is for.
    pub caps: Caps,
    /// How its kernels were chosen; plans that share its buffers are made with the same.
    pub choice: Choice,
}

impl Plan {
    /// Makes the plan of a graph for a device. For a GPU, it fuses ops into the products before them ([`Graph::fuse`]).
    ///
    /// # Errors
    ///
    /// [`PlanError`] if the device's limits don't allow it; the message says which flag makes it fit.
    pub fn new(graph: Graph, caps: &Caps, choice: &Choice) -> Result<Self, PlanError> {
        Self::with_guards(graph, caps, choice, 0)
    }

    /// The same with `guard_bytes` of room (a multiple of 256) before and after every tensor outside the slabs and
    /// slots, to detect out-of-bounds writes.
    ///
    /// # Errors
    ///
    /// As [`Plan::new`].
    pub fn with_guards(graph: Graph, caps: &Caps, choice: &Choice, guard_bytes: u64) -> Result<Self, PlanError> {
        let ctx = LowerCtx { caps, choice, noted: None };
        let mut graph = graph;
        if ctx.fuses() {
            graph.fuse();
        }
        let mut steps = vec![];
        let mut uniform = vec![];
        let mut cost: BTreeMap<Phase, Cost> = BTreeMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let io = graph.io(node);
            let c = node.op.cost(&io);
            let total = cost.entry(node.phase).or_default();
            total.flops += c.flops;
            total.bytes += c.bytes;
            let dispatches = node.op.lower(&io, &ctx);
            let weight: u128 = dispatches.iter().map(Dispatch::weight).sum();
            for dispatch in dispatches {
                let align = usize::try_from(caps.uniform_align).unwrap_or(256);
                uniform.resize(uniform.len().next_multiple_of(align), 0);
                let uniform_offset = uniform.len() as u64;
                let cost = c.share(dispatch.weight(), weight);
                uniform.extend_from_slice(&dispatch.params);
                steps.push(Step {
                    node: index,
                    label: node.label.clone(),
                    op: node.op.name(),
                    phase: node.phase,
                    dispatch,
                    uniform_offset,
                    cost,
                });
            }
        }
        // some drivers round up a uniform binding's size, so leave room after the last one
        uniform.resize(uniform.len().next_multiple_of(256) + 256, 0);
        let (buffers, places) = place::place(&graph, &steps, guard_bytes);
        let plan = Self { graph, steps, buffers, places, uniform, cost, caps: caps.clone(), choice: choice.clone() };
        check::check(&plan)?;
        Ok(plan)
    }

    /// The spec of a tensor.
    pub fn spec(&self, tensor: TensorId) -> &TensorSpec {
        self.graph.spec(tensor)
    }

    /// Bytes of device memory by role.
    pub fn bytes_by_role(&self) -> BTreeMap<Role, u64> {
        let mut by_role = BTreeMap::new();
        for buffer in &self.buffers {
            *by_role.entry(buffer.role).or_insert(0) += buffer.bytes;
        }
        by_role
    }

    /// Maximum bytes of activations alive at once: no sharing of slots takes less.
    pub fn least_activation_bytes(&self) -> u64 {
        most_alive(&place::lifetimes(&self.graph, &self.steps))
    }

    /// Total bytes of device memory.
    pub fn total_bytes(&self) -> u64 {
        self.buffers.iter().map(|b| b.bytes).sum::<u64>() + self.uniform.len() as u64
    }

    /// Estimates the host memory that the compiled kernels of a process take, bytes: a multiple of the size of their
    /// source, as measured on llvmpipe with its cache filled.
    pub fn kernel_bytes(plans: &[Plan]) -> u64 {
        // the second is for straight-line code
        const BYTES_PER_SOURCE_BYTE: [u64; 2] = [96, 160];
        let mut kernels: BTreeMap<_, u64> = BTreeMap::new();
        for step in plans.iter().flat_map(|plan| &plan.steps) {
            let d = &step.dispatch;
            let bytes = || {
                let source = d.kernel.specialised(&d.modes, d.variant).len() as u64;
                source * BYTES_PER_SOURCE_BYTE[usize::from(d.variant.vector_loads)]
            };
            kernels.entry((d.kernel.name, d.variant.name, &d.modes)).or_insert_with(bytes);
        }
        kernels.values().sum()
    }

    /// The largest binding: its bytes and its tensor.
    pub fn largest_binding(&self) -> (u64, &str) {
        let bound = self.steps.iter().flat_map(|s| &s.dispatch.bind);
        let largest = bound
            .max_by_key(|r| self.spec(r.tensor).bytes_of(r.len))
            .map(|r| (self.spec(r.tensor).bytes_of(r.len), self.spec(r.tensor).name.as_str()));
        largest.unwrap_or((0, ""))
    }

    /// The number of dispatches of a phase.
    pub fn n_dispatch(&self, phase: Phase) -> usize {
        self.steps.iter().filter(|s| s.phase == phase).count()
    }
}
