//! Small results that arrive a few steps later, without waiting for the device.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::completion_marks::{self, Marks};
use super::{ExecError, Program};
use crate::gpu::GpuError;
use crate::graph::Phase;
use crate::tensor::TensorId;

type Mapped = Arc<Mutex<Option<Result<(), wgpu::BufferAsyncError>>>>;

/// Time allowed for a device callback that another thread runs.
const CALLBACK_TIME: std::time::Duration = std::time::Duration::from_secs(10);

/// A ring of staging buffers: each [`Readback::run`] copies a few tensors into the next one, and
/// [`Readback::poll`] hands out those that have arrived, in order.
#[derive(Debug)]
pub struct Readback {
    tensors: Vec<TensorId>,
    /// Size of the tensors, bytes; the marks follow them.
    bytes: u64,
    free: Vec<wgpu::Buffer>,
    pending: VecDeque<Pending>,
}

/// A readback in flight.
#[derive(Debug)]
struct Pending {
    tag: u64,
    buffer: wgpu::Buffer,
    mapped: Mapped,
    submission: wgpu::SubmissionIndex,
    marks: Vec<u32>,
}

impl Readback {
    /// Makes a ring of `depth` places for these f32 tensors. If all places are taken, a run waits for the oldest: that
    /// bounds the queue.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn new(program: &Program, tensors: &[TensorId], depth: usize) -> Result<Self, ExecError> {
        let bytes: u64 = tensors.iter().map(|&t| program.plan.spec(t).bytes()).sum();
        let make = || {
            program.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: bytes + Marks::MAX_BYTES,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let free = program.gpu.scoped(|| (0..depth.max(1)).map(|_| make()).collect())?;
        Ok(Self { tensors: tensors.to_vec(), bytes, free, pending: VecDeque::new() })
    }

    /// Runs a phase and copies the tensors as they are after it; `tag` is returned with them. If the ring was full,
    /// returns the result that it had to wait for.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn run(&mut self, program: &Program, phase: Phase, tag: u64) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        let waited = if self.free.is_empty() { self.next(program, true)? } else { None };
        let Some(buffer) = self.free.pop() else { return Ok(waited) };
        let (mapped, mut marks): (Mapped, _) = (Arc::default(), vec![]);
        let done = mapped.clone();
        let copy = |encoder: &mut wgpu::CommandEncoder, all: &mut Marks| {
            let mut offset = 0;
            for &tensor in &self.tensors {
                let (place, bytes) = (program.plan.places[tensor.0], program.plan.spec(tensor).bytes());
                let from = &program.buffers[place.buffer];
                encoder.copy_buffer_to_buffer(from, place.offset_bytes, &buffer, offset, bytes);
                offset += bytes;
            }
            marks = all.copy(encoder, &buffer, offset);
            encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., move |result| {
                *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            });
        };
        let submission = program.run_then(phase, Some(Box::new(copy)))?;
        if let Some(submission) = submission {
            self.pending.push_back(Pending { tag, buffer, mapped, submission, marks });
        }
        Ok(waited)
    }

    /// Returns the oldest readback, if it has arrived.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn poll(&mut self, program: &Program) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        self.next(program, false)
    }

    /// Waits for the oldest readback; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn wait(&mut self, program: &Program) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        self.next(program, true)
    }

    fn next(&mut self, program: &Program, wait: bool) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        let Some(Pending { mapped, submission, .. }) = self.pending.front() else { return Ok(None) };
        program.gpu.poll(wgpu::PollType::Poll)?;
        let arrived = |m: &Mapped| m.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !arrived(mapped) {
            if !wait {
                return Ok(None);
            }
            program.gpu.wait_for(submission.clone())?;
            // another thread's poll may have taken the callback and be about to run it
            let patience = std::time::Instant::now() + CALLBACK_TIME;
            while !arrived(mapped) && std::time::Instant::now() < patience {
                std::thread::yield_now();
            }
        }
        let Some(Pending { tag, buffer, mapped, marks, .. }) = self.pending.pop_front() else { return Ok(None) };
        let lost = |reason: String| GpuError::Lost { device: program.gpu.name(), reason };
        match mapped.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Ok(())) => {}
            other => return Err(lost(format!("a readback failed: {other:?}")).into()),
        }
        let view = buffer.slice(..).get_mapped_range().map_err(|e| lost(e.to_string()))?;
        let (values, found) = view.split_at(usize::try_from(self.bytes).unwrap_or(0));
        let (values, found): (Vec<f32>, Vec<u32>) =
            (bytemuck::pod_collect_to_vec(values), bytemuck::pod_collect_to_vec(found));
        drop(view);
        buffer.unmap();
        self.free.push(buffer);
        completion_marks::check(&program.gpu, &marks, &found)?;
        Ok(Some((tag, values)))
    }
}
