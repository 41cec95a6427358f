//! A plan instantiated on one device: buffers, bind groups, command buffers, readback.

mod completion_marks;
mod readback;
mod record;
mod step_nodes;
mod timer;
mod transfer;

pub use readback::Readback;
pub use timer::{TimedDispatch, Timings};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::gpu::{Gpu, GpuError};
use crate::plan::{Plan, PlanError, share};
use crate::tensor::{Role, TensorId};

/// Why a plan can't be instantiated or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The plan is invalid for the device.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The graph is invalid.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// No tensor has that name.
    #[error("no tensor is named {0}; `Program::names` lists them")]
    NoTensor(String),
    /// The data has the wrong number of elements.
    #[error("{name} has {expected} elements, got {got}")]
    Length {
        /// The tensor.
        name: String,
        /// Its number of elements.
        expected: u64,
        /// The number of elements given.
        got: u64,
    },
    /// The tensor shares its memory with others.
    #[error("{0} is an activation: its memory is shared with others, so its values are gone after the step")]
    NotKept(String),
    /// A token is outside the vocabulary.
    #[error("token {id} is outside the vocabulary of {vocab_size}")]
    Token {
        /// The token id.
        id: u32,
        /// Number of tokens in the vocabulary.
        vocab_size: u64,
    },
    /// The driver reports work as done that the device hasn't done.
    #[error(
        "{device} reported {missing} of {of} command buffers as done that did not run to the end; continue from the last checkpoint with --resume, and update the driver if it happens again"
    )]
    Unfinished {
        /// The device.
        device: String,
        /// Command buffers without their mark.
        missing: usize,
        /// Command buffers checked.
        of: usize,
    },
    /// The programs' parameters have different layouts.
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
    state: Mutex<State>,
}

/// The state that changes while a program runs.
#[derive(Debug)]
struct State {
    /// Whether the next command buffer begins a step.
    clears: bool,
    marks: completion_marks::Marks,
    host: HostTime,
    /// Phases run so far.
    n_run: u64,
    timer: Option<timer::Timer>,
}

/// The host's cost of encoding and submitting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostTime {
    /// The submitting thread's CPU time: by the wall clock, a driver may make a submission wait for the one before it.
    pub time: Duration,
    /// Number of dispatches.
    pub n_dispatch: u64,
    /// Number of command buffers.
    pub n_submit: u64,
}

/// A span of this thread's CPU time.
#[derive(Debug)]
struct Spent(Option<cpu_time::ThreadTime>, Instant);

impl Spent {
    fn begin() -> Self {
        Self(cpu_time::ThreadTime::try_now().ok(), Instant::now())
    }

    /// Elapsed CPU time, or wall time if the system doesn't count a thread's CPU time.
    fn so_far(&self) -> Duration {
        self.0.and_then(|t| t.try_elapsed().ok()).unwrap_or_else(|| self.1.elapsed())
    }
}

impl HostTime {
    /// The cost since an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            time: self.time.saturating_sub(earlier.time),
            n_dispatch: self.n_dispatch.saturating_sub(earlier.n_dispatch),
            n_submit: self.n_submit.saturating_sub(earlier.n_submit),
        }
    }

    /// Microseconds per dispatch, submissions included; 0 if there were none.
    pub fn us_per_dispatch(self) -> f64 {
        self.time.as_secs_f64() * 1e6 / (self.n_dispatch.max(1)) as f64
    }
}

impl Program {
    /// Allocates buffers and creates pipelines and bind groups.
    ///
    /// # Errors
    ///
    /// Out of memory, or any error that wgpu reports.
    pub fn new(gpu: &Arc<Gpu>, plan: Plan) -> Result<Self, ExecError> {
        Self::build(gpu, plan, None)
    }

    /// Like [`Program::new`], but shares the parameters and constants of another program, so that one can train what
    /// the other evaluates. State with the same name and size is shared too. Activations use the other's slots if those
    /// are large enough: the programs of a device run one after the other.
    ///
    /// # Errors
    ///
    /// As [`Program::new`], and [`ExecError::Layout`] if the parameters differ.
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
            // one error scope per buffer, so that the first that doesn't fit stops the rest
            buffers.push(gpu.scoped(|| {
                gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(&buffer.label),
                    size: buffer.bytes,
                    usage,
                    mapped_at_creation: false,
                })
            })?);
        }
        let (calls, marks) = gpu.scoped(|| (record::calls(gpu, &plan, &buffers), completion_marks::Marks::new(gpu)))?;
        let state = State { clears: false, marks, host: HostTime::default(), n_run: 0, timer: None };
        gpu.check()?;
        Ok(Self { gpu: gpu.clone(), plan, buffers, calls, state: Mutex::new(state) })
    }

    /// Whether both programs use the same parameters.
    pub fn shares_params(&self, other: &Program) -> bool {
        let params = |p: &Program| -> Vec<wgpu::Buffer> {
            let named = p.buffers.iter().zip(&p.plan.buffers);
            named.filter(|(_, plan)| plan.role == Role::Param).map(|(buffer, _)| buffer.clone()).collect()
        };
        params(self) == params(other)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host's cost so far of encoding and submitting this program.
    pub fn host_time(&self) -> HostTime {
        self.state().host
    }

    /// Overwrites the marks of the command buffers submitted so far, imitating a driver that drops them: for tests.
    pub fn forge_marks(&self) {
        self.state().marks.forge(&self.gpu);
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

    /// Returns the tensor with that name.
    ///
    /// # Errors
    ///
    /// [`ExecError::NoTensor`].
    pub fn find(&self, name: &str) -> Result<TensorId, ExecError> {
        self.plan.graph.find(name).ok_or_else(|| ExecError::NoTensor(name.into()))
    }
}
