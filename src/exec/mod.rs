//! A plan made real on one device: buffers, bind groups, command buffers, readback.

mod readback;
mod record;
mod transfer;

pub use readback::Readback;

use std::sync::Arc;

use crate::gpu::{Gpu, GpuError};
use crate::plan::{Plan, PlanError, share};
use crate::tensor::{Role, TensorId};

/// What goes wrong when a plan is made real or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The graph.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// No tensor of that name.
    #[error("there is no tensor called {0}; `Program::names` lists them")]
    NoTensor(String),
    /// Data of the wrong size.
    #[error("{name} has {expected} elements, got {got}")]
    Length {
        /// The tensor.
        name: String,
        /// Its elements.
        expected: u64,
        /// What was given.
        got: u64,
    },
    /// A tensor whose memory others share.
    #[error("{0} is an activation: its memory is shared with others, so its values are gone after the step")]
    NotKept(String),
    /// A token outside the vocabulary.
    #[error("token {id} is outside the vocabulary of {vocab_size}")]
    Token {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: u64,
    },
    /// Two programs that can't share their parameters.
    #[error("the programs' parameters have different layouts, so they can't be shared")]
    Layout,
}

/// A [`Plan`] with its pipelines, buffers and bind groups on one device. Running it allocates nothing on the device.
#[derive(Debug)]
pub struct Program {
    gpu: Arc<Gpu>,
    plan: Plan,
    buffers: Vec<wgpu::Buffer>,
    calls: Vec<record::Call>,
}

impl Program {
    /// Allocates buffers and makes pipelines and bind groups.
    ///
    /// # Errors
    ///
    /// Out of memory, or whatever wgpu dislikes.
    pub fn new(gpu: &Arc<Gpu>, plan: Plan) -> Result<Self, ExecError> {
        Self::build(gpu, plan, None)
    }

    /// The same with the parameters and constants of another program: what one trains, the other evaluates. State of the
    /// same name and size is shared too. Activations lie in the other's slots where those are large enough: the programs
    /// of a device run one after the other.
    ///
    /// # Errors
    ///
    /// As [`Program::new`], and [`ExecError::Layout`] where the parameters differ.
    pub fn sharing(other: &Program, plan: Plan) -> Result<Self, ExecError> {
        Self::build(&other.gpu, plan, Some(other))
    }

    fn build(gpu: &Arc<Gpu>, plan: Plan, shared: Option<&Program>) -> Result<Self, ExecError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let mut buffers = vec![];
        let found = shared.map(|other| share(&plan.buffers, &other.plan.buffers));
        for (i, buffer) in plan.buffers.iter().enumerate() {
            if let (Some(other), Some(found)) = (shared, &found) {
                if let Some(at) = found[i] {
                    buffers.push(other.buffers[at].clone());
                    continue;
                }
                if matches!(buffer.role, Role::Param | Role::Const) {
                    return Err(ExecError::Layout);
                }
            }
            // one scope a buffer, so that the one that doesn't fit stops the rest
            buffers.push(gpu.scoped(|| {
                gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(&buffer.label),
                    size: buffer.bytes,
                    usage,
                    mapped_at_creation: false,
                })
            })?);
        }
        let calls = gpu.scoped(|| record::calls(gpu, &plan, &buffers))?;
        gpu.check()?;
        Ok(Self { gpu: gpu.clone(), plan, buffers, calls })
    }

    /// Whether the two work on the same parameters.
    pub fn shares_params(&self, other: &Program) -> bool {
        let params = |p: &Program| -> Vec<wgpu::Buffer> {
            let named = p.buffers.iter().zip(&p.plan.buffers);
            named.filter(|(_, plan)| plan.role == Role::Param).map(|(buffer, _)| buffer.clone()).collect()
        };
        params(self) == params(other)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plan.graph.tensors.iter().map(|t| t.name.as_str())
    }

    /// The tensor of that name.
    ///
    /// # Errors
    ///
    /// [`ExecError::NoTensor`].
    pub fn find(&self, name: &str) -> Result<TensorId, ExecError> {
        self.plan.graph.find(name).ok_or_else(|| ExecError::NoTensor(name.into()))
    }
}
