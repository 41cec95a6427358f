//! Times of each dispatch: by the device's timestamps if it has them, else by the host's clock, one dispatch at a time.

use std::time::Instant;

use super::{ExecError, Program, Spent, record::Call};
use crate::gpu::{Gpu, GpuError};
use crate::plan::n_within;

/// One dispatch's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedDispatch {
    /// Index into the plan's steps.
    pub step: usize,
    /// When it began, nanoseconds on the clock of [`Timings`].
    pub start_ns: u64,
    /// How long it took, nanoseconds.
    pub ns: u64,
}

/// The timed dispatches of some runs of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// The dispatches in execution order.
    pub dispatches: Vec<TimedDispatch>,
    /// Whether the times are the device's own timestamps. Otherwise each dispatch was submitted and waited for alone,
    /// and its time includes that of a submission.
    pub by_device: bool,
}

/// Maximum dispatches timed in one command buffer: each takes two timestamps, and a query set holds 4096.
const MAX_TIMED: usize = 2048;
const TIMESTAMP_BYTES: u64 = 8;

/// The resources for timing, and the times so far.
#[derive(Debug)]
pub(super) struct Timer {
    /// The queries, the buffer that they resolve to, and the buffer that the host reads; `None` without timestamps.
    queries: Option<(wgpu::QuerySet, wgpu::Buffer, wgpu::Buffer)>,
    started: Instant,
    found: Timings,
    /// The first timestamp seen.
    first: Option<u64>,
}

impl Timer {
    fn new(gpu: &Gpu) -> Result<Self, GpuError> {
        let make = || {
            let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timer"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * MAX_TIMED as u32,
            });
            let buffer = |label, usage| {
                gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(label),
                    size: 2 * MAX_TIMED as u64 * TIMESTAMP_BYTES,
                    usage,
                    mapped_at_creation: false,
                })
            };
            let resolved = buffer("timestamps", wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let read = buffer("timestamps read", wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            (queries, resolved, read)
        };
        let queries = if gpu.has_timestamps() { Some(gpu.scoped(make)?) } else { None };
        let found = Timings { dispatches: vec![], by_device: queries.is_some() };
        Ok(Self { queries, started: Instant::now(), found, first: None })
    }
}

impl Program {
    /// Times every dispatch from now on. The host waits for the device after each command buffer, and each dispatch
    /// gets a compute pass of its own, so steps take longer; their results are the same.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn start_timing(&self) -> Result<(), ExecError> {
        let timer = Timer::new(&self.gpu)?;
        self.state().timer = Some(timer);
        Ok(())
    }

    /// Stops timing and returns the times; empty if timing wasn't started.
    pub fn stop_timing(&self) -> Timings {
        self.state().timer.take().map(|timer| timer.found).unwrap_or_default()
    }

    /// Runs and times calls, the first of which is step `first` of the plan.
    pub(super) fn run_timed(&self, first: usize, calls: &[Call]) -> Result<(), ExecError> {
        // taken out, so that submitting finds the state unlocked
        let Some(mut timer) = self.state().timer.take() else { return Ok(()) };
        let (mut step, mut rest) = (first, calls);
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            let budget = self.gpu.with_pace(|pace| pace.budget());
            let most = if timer.queries.is_some() { MAX_TIMED } else { 1 };
            let (part, later) = rest.split_at(n_within(rest.iter().map(|c| c.work), budget).min(most));
            result = self.run_part(&mut timer, step, part);
            (step, rest) = (step + part.len(), later);
        }
        self.state().timer = Some(timer);
        result?;
        Ok(self.gpu.check()?)
    }

    fn run_part(&self, timer: &mut Timer, first: usize, part: &[Call]) -> Result<(), ExecError> {
        let (started, spent) = (Instant::now(), Spent::begin());
        let Some((queries, resolved, read)) = &timer.queries else {
            let start_ns = nanos(started - timer.started);
            let submission = self.submit_with(None, |encoder| {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                part.iter().for_each(|call| call.encode(&mut pass));
            });
            self.note(&spent, part.len());
            self.gpu.wait_for(submission)?;
            timer.found.dispatches.push(TimedDispatch { step: first, start_ns, ns: nanos(started.elapsed()) });
            return Ok(());
        };
        let bytes = 2 * part.len() as u64 * TIMESTAMP_BYTES;
        let submission = self.submit_with(None, |encoder| {
            for (call, i) in part.iter().zip(0u32..) {
                let writes = wgpu::ComputePassTimestampWrites {
                    query_set: queries,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                };
                let timed = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
                call.encode(&mut encoder.begin_compute_pass(&timed));
            }
            let n = u32::try_from(2 * part.len()).unwrap_or(u32::MAX);
            encoder.resolve_query_set(queries, 0..n, resolved, 0);
            encoder.copy_buffer_to_buffer(resolved, 0, read, 0, bytes);
        });
        self.note(&spent, part.len());
        read.slice(..bytes).map_async(wgpu::MapMode::Read, |_| {});
        self.gpu.wait_for(submission)?;
        let lost = |e: wgpu::MapRangeError| GpuError::Lost { device: self.gpu.name(), reason: e.to_string() };
        let view = read.slice(..bytes).get_mapped_range().map_err(lost)?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        read.unmap();
        let period = f64::from(self.gpu.queue.get_timestamp_period());
        let zero = *timer.first.get_or_insert(stamps.first().copied().unwrap_or(0));
        let ns = |from: u64, to: u64| (to.saturating_sub(from) as f64 * period) as u64;
        timer.found.dispatches.extend(stamps.chunks_exact(2).zip(first..).map(|(pair, step)| TimedDispatch {
            step,
            start_ns: ns(zero, pair[0]),
            ns: ns(pair[0], pair[1]),
        }));
        Ok(())
    }
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
