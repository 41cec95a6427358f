//! The scheduler: packs dispatches into command buffers and submits them. This is the whole run loop.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::completion_marks::Marks;
use super::{ExecError, Program, Spent};
use crate::gpu::{Compiling, Gpu};
use crate::graph::Phase;
use crate::plan::{Plan, n_within};
use crate::tensor::Role;

/// One dispatch, ready to be encoded.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) phase: Phase,
    pipeline: Arc<crate::gpu::Pipeline>,
    group: wgpu::BindGroup,
    groups: [u32; 3],
    pub(super) work: u64,
}

impl Call {
    /// The identity of its kernel.
    fn kernel(&self) -> *const crate::gpu::Pipeline {
        Arc::as_ptr(&self.pipeline)
    }

    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.groups[0], self.groups[1], self.groups[2]);
    }
}

/// Commands that follow a command buffer's mark.
pub(super) type Tail<'a> = Box<dyn FnOnce(&mut wgpu::CommandEncoder, &mut Marks) + 'a>;

/// Command buffers that the host waited for.
#[derive(Default)]
struct Measured {
    work: u64,
    largest: u64,
    ns: u64,
}

/// Creates pipelines and bind groups for every step of a plan.
pub(super) fn calls(gpu: &Gpu, plan: &Plan, buffers: &[wgpu::Buffer]) -> Vec<Call> {
    let uniform = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("params"),
        size: plan.uniform.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue.write_buffer(&uniform, 0, &plan.uniform);
    gpu.compile(plan.steps.iter().map(|step| &step.dispatch));
    plan.steps
        .iter()
        .map(|step| {
            let dispatch = &step.dispatch;
            let pipeline = gpu.pipeline(dispatch);
            let tensors = dispatch.bind.iter().map(|range| {
                let place = plan.places[range.tensor.0];
                let offset = place.offset_bytes + plan.spec(range.tensor).bytes_of(range.start);
                (&buffers[place.buffer], offset, plan.spec(range.tensor).bytes_of(range.len))
            });
            let params = (&uniform, step.uniform_offset, u64::from(dispatch.kernel.params_bytes).next_multiple_of(16));
            let entries: Vec<wgpu::BindGroupEntry<'_>> = tensors
                .chain([params])
                .zip(0u32..)
                .map(|((buffer, offset, size), binding)| wgpu::BindGroupEntry {
                    binding,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer,
                        offset,
                        size: std::num::NonZeroU64::new(size),
                    }),
                })
                .collect();
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&step.label),
                layout: &pipeline.layout,
                entries: &entries,
            });
            Call { phase: step.phase, pipeline, group, groups: dispatch.groups, work: step.work() }
        })
        .collect()
}

impl Program {
    /// Begins a step: the next command buffer starts by clearing gradients and metrics, unless their first writers
    /// store.
    pub fn begin_step(&self) {
        self.state().clears = true;
    }

    /// Records every dispatch of a phase, in order, into command buffers of one compute pass each, and submits them.
    /// The device's [`Pace`](crate::plan::Pace) sets their size. Returns without waiting for the device, except while
    /// its speed is measured (at first, then less and less often) or dispatches are timed.
    ///
    /// # Errors
    ///
    /// Any failure that the device has reported so far.
    pub fn run(&self, phase: Phase) -> Result<(), ExecError> {
        self.run_then(phase, None).map(|_| ())
    }

    /// The same with extra commands at the end of the last command buffer. Returns the last submission.
    pub(super) fn run_then(
        &self,
        phase: Phase,
        mut tail: Option<Tail<'_>>,
    ) -> Result<Option<wgpu::SubmissionIndex>, ExecError> {
        let first = self.calls.partition_point(|c| c.phase < phase);
        let mut rest = &self.calls[first..self.calls.partition_point(|c| c.phase <= phase)];
        if self.state().timer.is_some() {
            self.run_timed(first, rest)?;
            rest = &[];
        }
        let (probes, is_first) = (self.probes(), self.state().n_run == 1);
        let (of, mut ran) = (rest.len() as u64, HashSet::new());
        let (mut last, mut measured) = (None, Measured::default());
        while !rest.is_empty() || tail.is_some() {
            let (budget, is_ramping) = self.gpu.with_pace(|pace| (pace.budget(), pace.is_ramping()));
            let n = n_within(rest.iter().map(|c| c.work), budget).min(rest.len());
            let (part, later) = rest.split_at(n);
            rest = later;
            let ramps = is_ramping && !rest.is_empty();
            let measures = (ramps || probes) && !part.is_empty();
            if measures && measured.work == 0 {
                self.gpu.wait()?;
            }
            let (started, spent) = (Instant::now(), Spent::begin());
            let tail = if rest.is_empty() { tail.take() } else { None };
            if is_first {
                let compiles = part.iter().chain(rest).any(|call| !ran.contains(&call.kernel()));
                ran.extend(part.iter().map(Call::kernel));
                self.gpu.tell(Compiling::FirstRun { compiles, done: of - rest.len() as u64, of });
            }
            let submission = self.submit(part, tail);
            self.note(&spent, part.len());
            if measures {
                self.gpu.wait_for(submission.clone())?;
                let work: u64 = part.iter().map(|c| c.work).sum();
                let ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                measured =
                    Measured { work: measured.work + work, largest: measured.largest.max(work), ns: measured.ns + ns };
                if ramps {
                    self.gpu.with_pace(|pace| pace.measured(work, work, ns));
                }
            }
            last = Some(submission);
        }
        if probes {
            self.gpu.with_pace(|pace| pace.measured(measured.work, measured.largest, measured.ns));
        }
        self.gpu.check()?;
        Ok(last)
    }

    /// Whether to wait for every command buffer of this run: the 1st, 2nd, 3rd, 5th, 9th, 17th and so on. The first
    /// ones compile kernels, so later measurements find the device faster.
    fn probes(&self) -> bool {
        let mut state = self.state();
        state.n_run += 1;
        state.n_run == 1 || (state.n_run - 1).is_power_of_two()
    }

    /// Submits one command buffer: the clears of a new step, the dispatches in one pass, the mark, then `tail`.
    pub(super) fn submit(&self, part: &[Call], tail: Option<Tail<'_>>) -> wgpu::SubmissionIndex {
        self.submit_with(tail, |encoder| {
            if !part.is_empty() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                part.iter().for_each(|call| call.encode(&mut pass));
            }
        })
    }

    pub(super) fn submit_with(
        &self,
        tail: Option<Tail<'_>>,
        commands: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> wgpu::SubmissionIndex {
        let mut encoder = self.encoder("run");
        let mut state = self.state();
        if std::mem::take(&mut state.clears) && !self.plan.graph.stores_first {
            for (buffer, plan) in self.buffers.iter().zip(&self.plan.buffers) {
                if matches!(plan.role, Role::Grad | Role::Metric) {
                    encoder.clear_buffer(buffer, 0, None);
                }
            }
        }
        commands(&mut encoder);
        state.marks.leave(&mut encoder);
        if let Some(tail) = tail {
            tail(&mut encoder, &mut state.marks);
        }
        drop(state);
        self.gpu.queue.submit([encoder.finish()])
    }

    /// Adds a submitted command buffer to the host's cost.
    pub(super) fn note(&self, spent: &Spent, n_dispatch: usize) {
        let mut state = self.state();
        state.host.time += spent.so_far();
        state.host.n_dispatch += n_dispatch as u64;
        state.host.n_submit += 1;
    }

    pub(super) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }
}
