//! The scheduler: dispatches into command buffers, command buffers to the queue. This is the whole run loop.

use std::sync::Arc;

use super::{ExecError, Program};
use crate::gpu::Gpu;
use crate::graph::Phase;
use crate::plan::Plan;
use crate::tensor::{DType, Role};

/// One dispatch, ready to be encoded.
#[derive(Debug)]
pub(super) struct Call {
    phase: Phase,
    pipeline: Arc<crate::gpu::Pipeline>,
    group: wgpu::BindGroup,
    groups: [u32; 3],
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
            Call { phase: step.phase, pipeline, group, groups: dispatch.groups }
        })
        .collect()
}

impl Program {
    /// Clears gradients and metrics: a step begins.
    pub fn begin_step(&self) {
        let mut encoder = self.encoder("begin");
        for (buffer, plan) in self.buffers.iter().zip(&self.plan.buffers) {
            if matches!(plan.role, Role::Grad | Role::Metric) {
                encoder.clear_buffer(buffer, 0, None);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// Records every dispatch of a phase, in order, into one compute pass of one command buffer, and submits it. Returns
    /// at once: nothing here waits for the device.
    ///
    /// # Errors
    ///
    /// Any failure that the device has reported so far.
    pub fn run(&self, phase: Phase) -> Result<(), ExecError> {
        let mut encoder = self.encoder("run");
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for call in self.calls.iter().filter(|c| c.phase == phase) {
                pass.set_pipeline(&call.pipeline.pipeline);
                pass.set_bind_group(0, &call.group, &[]);
                pass.dispatch_workgroups(call.groups[0], call.groups[1], call.groups[2]);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        Ok(self.gpu.check()?)
    }

    pub(super) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }
}
