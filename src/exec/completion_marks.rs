//! Marks that each command buffer writes at its end, and that the host checks: on Metal, a fence completes even if a
//! command buffer failed, and its results would be taken for real.

use super::ExecError;
use crate::gpu::Gpu;

/// Places for marks on the device; a step with more command buffers reuses them.
const PLACES: u32 = 1024;
/// Marks run from 1 to this and repeat, so that a place never already holds the next mark expected there.
const MARKS: u32 = 4095;

/// The marks of the command buffers since the last check.
#[derive(Debug)]
pub(super) struct Marks {
    /// Word i holds i: the source of the marks.
    table: wgpu::Buffer,
    /// The destination of the marks.
    places: wgpu::Buffer,
    last: u32,
    n: u32,
    expected: Vec<u32>,
}

impl Marks {
    /// Allocates the buffers. Call it inside an error scope.
    pub(super) fn new(gpu: &Gpu) -> Self {
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let make = |label, n: u32| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: u64::from(n) * WORD,
                usage,
                mapped_at_creation: false,
            })
        };
        let (table, places) = (make("marks", MARKS + 1), make("places of marks", PLACES));
        gpu.queue.write_buffer(&table, 0, bytemuck::cast_slice(&(0..=MARKS).collect::<Vec<_>>()));
        Self { table, places, last: 0, n: 0, expected: vec![] }
    }

    /// Appends the mark, the last command of a command buffer.
    pub(super) fn leave(&mut self, encoder: &mut wgpu::CommandEncoder) {
        self.last = self.last % MARKS + 1;
        let place = self.n % PLACES;
        self.n = self.n.wrapping_add(1);
        match self.expected.get_mut(place as usize) {
            Some(old) => *old = self.last,
            None => self.expected.push(self.last),
        }
        let (from, to) = (u64::from(self.last) * WORD, u64::from(place) * WORD);
        encoder.copy_buffer_to_buffer(&self.table, from, &self.places, to, WORD);
    }

    /// Copies the marks so far to the end of a staging buffer ([`Marks::MAX_BYTES`] of room), starts over, and returns
    /// the marks expected there.
    pub(super) fn copy(&mut self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::Buffer, offset: u64) -> Vec<u32> {
        let bytes = self.expected.len() as u64 * WORD;
        if bytes > 0 {
            encoder.copy_buffer_to_buffer(&self.places, 0, to, offset, bytes);
        }
        self.n = 0;
        std::mem::take(&mut self.expected)
    }

    /// Room for all marks, bytes.
    pub(super) const MAX_BYTES: u64 = PLACES as u64 * WORD;

    /// Overwrites the marks, imitating a driver that drops command buffers.
    pub(super) fn forge(&self, gpu: &Gpu) {
        gpu.queue.write_buffer(&self.places, 0, &vec![0; Self::MAX_BYTES as usize]);
    }
}

const WORD: u64 = 4;

/// Fails if a mark is missing.
pub(super) fn check(gpu: &Gpu, expected: &[u32], found: &[u32]) -> Result<(), ExecError> {
    let missing =
        expected.iter().zip(found).filter(|(e, f)| e != f).count() + expected.len().saturating_sub(found.len());
    if missing == 0 {
        return Ok(());
    }
    Err(ExecError::Unfinished { device: gpu.name(), missing, of: expected.len() })
}
