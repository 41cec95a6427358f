//! The scheduler: dispatches into command buffers, command buffers to the queue. This is the whole run loop.

use std::sync::Arc;
use std::time::Instant;

use super::{ExecError, Program, Spent};
use crate::gpu::Gpu;
use crate::graph::Phase;
use crate::plan::{Plan, n_within};
use crate::tensor::{DType, Role};

/// One dispatch, ready to be encoded.
#[derive(Debug)]
pub(super) struct Call {
    phase: Phase,
    pipeline: Arc<crate::gpu::Pipeline>,
    group: wgpu::BindGroup,
    groups: [u32; 3],
    pub(super) work: u64,
}

impl Call {
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.groups[0], self.groups[1], self.groups[2]);
    }
}

/// Pipelines and bind groups of every step of a plan.
pub(super) fn calls(gpu: &Gpu, plan: &Plan, buffers: &[wgpu::Buffer]) -> Vec<Call> {
    let uniform = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("params"),
        size: plan.uniform.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue.write_buffer(&uniform, 0, &plan.uniform);
    plan.steps
        .iter()
        .map(|step| {
            let dispatch = &step.dispatch;
            let pipeline = gpu.pipeline(dispatch);
            let tensors = dispatch.bind.iter().map(|range| {
                let place = plan.places[range.tensor.0];
                let offset = place.offset_bytes + range.start * DType::BYTES;
                (&buffers[place.buffer], offset, range.len * DType::BYTES)
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
    /// Begins a step: gradients and metrics are cleared at the start of the next command buffer.
    pub fn begin_step(&self) {
        self.state().clears = true;
    }

    /// Records every dispatch of a phase, in order, into command buffers of one compute pass each, and submits them. Their
    /// size follows the device's [`Pace`](crate::plan::Pace). Returns without waiting for the device, except while it is not
    /// yet known how fast that is, or while dispatches are timed.
    ///
    /// # Errors
    ///
    /// Any failure that the device has reported so far.
    pub fn run(&self, phase: Phase) -> Result<(), ExecError> {
        let first = self.calls.partition_point(|c| c.phase < phase);
        let mut rest = &self.calls[first..self.calls.partition_point(|c| c.phase <= phase)];
        if self.state().timer.is_some() {
            return self.run_timed(first, rest);
        }
        let mut is_idle = false;
        while !rest.is_empty() {
            let (budget, is_ramping) = self.gpu.with_pace(|pace| (pace.budget(), pace.is_ramping()));
            let (part, later) = rest.split_at(n_within(rest.iter().map(|c| c.work), budget));
            rest = later;
            let measures = is_ramping && !rest.is_empty();
            if measures && !is_idle {
                self.gpu.wait()?;
                is_idle = true;
            }
            let (started, spent) = (Instant::now(), Spent::begin());
            let submission = self.submit(|encoder| {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                part.iter().for_each(|call| call.encode(&mut pass));
            });
            let work = part.iter().map(|c| c.work).sum();
            self.note(&spent, part.len(), work);
            if measures {
                self.gpu.wait_for(submission)?;
                let ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.gpu.with_pace(|pace| pace.measured(work, work, ns));
            }
        }
        Ok(self.gpu.check()?)
    }

    /// One command buffer: what a new step clears, the commands, its mark.
    pub(super) fn submit(&self, commands: impl FnOnce(&mut wgpu::CommandEncoder)) -> wgpu::SubmissionIndex {
        let mut encoder = self.encoder("run");
        if std::mem::take(&mut self.state().clears) {
            for (buffer, plan) in self.buffers.iter().zip(&self.plan.buffers) {
                if matches!(plan.role, Role::Grad | Role::Metric) {
                    encoder.clear_buffer(buffer, 0, None);
                }
            }
        }
        commands(&mut encoder);
        self.state().marks.leave(&mut encoder);
        self.gpu.queue.submit([encoder.finish()])
    }

    /// Counts a command buffer that was just submitted.
    pub(super) fn note(&self, spent: &Spent, n_dispatch: usize, work: u64) {
        let mut state = self.state();
        state.host.time += spent.so_far();
        state.host.n_dispatch += n_dispatch as u64;
        state.host.n_submit += 1;
        state.work += work;
        state.largest = state.largest.max(work);
    }

    pub(super) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }
}
