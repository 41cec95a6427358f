//! Small results that come back steps later, without waiting for the device.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::marks::{self, Marks};
use super::{ExecError, Program, Spent};
use crate::gpu::GpuError;
use crate::tensor::TensorId;

type Mapped = Arc<Mutex<Option<Result<(), wgpu::BufferAsyncError>>>>;

/// A ring of staging buffers: each [`Readback::record`] copies a few tensors into the next one, and
/// [`Readback::poll`] hands out those that have arrived, in order.
#[derive(Debug)]
pub struct Readback {
    tensors: Vec<TensorId>,
    /// Bytes of the tensors; the marks follow them.
    bytes: u64,
    free: Vec<wgpu::Buffer>,
    pending: VecDeque<Pending>,
    /// When a recording was waited for, and nothing was handed out since.
    waited: Option<Instant>,
}

/// A recording under way.
#[derive(Debug)]
struct Pending {
    tag: u64,
    buffer: wgpu::Buffer,
    mapped: Mapped,
    submission: wgpu::SubmissionIndex,
    marks: Vec<u32>,
    /// Work submitted since the recording before, and the most of one command buffer.
    work: (u64, u64),
}

impl Readback {
    /// A ring of `depth` places for these f32 tensors. With all places taken, recording waits for the oldest: that
    /// bounds the queue.
    ///
    /// # Errors
    ///
    /// A failure of the device.
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
        Ok(Self { tensors: tensors.to_vec(), bytes, free, pending: VecDeque::new(), waited: None })
    }

    /// Copies the tensors as they are after everything submitted so far; `tag` comes back with them. Returns what had
    /// to be waited for, if the ring was full.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn record(&mut self, program: &Program, tag: u64) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        let waited = if self.free.is_empty() { self.next(program, true)? } else { None };
        let Some(buffer) = self.free.pop() else { return Ok(waited) };
        let spent = Spent::begin();
        let mut encoder = program.encoder("readback");
        let mut offset = 0;
        for &tensor in &self.tensors {
            let (place, bytes) = (program.plan.places[tensor.0], program.plan.spec(tensor).bytes());
            encoder.copy_buffer_to_buffer(&program.buffers[place.buffer], place.offset_bytes, &buffer, offset, bytes);
            offset += bytes;
        }
        let marks = program.state().marks.copy(&mut encoder, &buffer, offset);
        let mapped: Mapped = Arc::default();
        let done = mapped.clone();
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., move |result| {
            *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        let submission = program.gpu.queue.submit([encoder.finish()]);
        program.note(&spent, 0, 0);
        let mut state = program.state();
        let work = (std::mem::take(&mut state.work), std::mem::take(&mut state.largest));
        self.pending.push_back(Pending { tag, buffer, mapped, submission, marks, work });
        Ok(waited)
    }

    /// The oldest recording, if it has arrived.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn poll(&mut self, program: &Program) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        self.next(program, false)
    }

    /// Waits for the oldest recording; `None` when there is none.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn wait(&mut self, program: &Program) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        self.next(program, true)
    }

    fn next(&mut self, program: &Program, wait: bool) -> Result<Option<(u64, Vec<f32>)>, ExecError> {
        let Some(Pending { mapped, submission, work, .. }) = self.pending.front() else { return Ok(None) };
        program.gpu.poll(wgpu::PollType::Poll)?;
        let arrived = |m: &Mapped| m.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !arrived(mapped) {
            if !wait {
                return Ok(None);
            }
            program.gpu.wait_for(submission.clone())?;
            let now = Instant::now();
            // the device was busy with this recording's work from when the one before it ended
            if let Some(before) = self.waited.replace(now) {
                let ns = u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX);
                program.gpu.with_pace(|pace| pace.measured(work.0, work.1, ns));
            }
        } else {
            self.waited = None;
        }
        let Some(Pending { tag, buffer, mapped, marks, .. }) = self.pending.pop_front() else { return Ok(None) };
        if self.pending.is_empty() {
            self.waited = None;
        }
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
        marks::check(&program.gpu, &marks, &found)?;
        Ok(Some((tag, values)))
    }
}
