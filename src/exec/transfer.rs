//! Copying tensors to and from the device, by name or id.

use super::completion_marks::{self, Marks};
use super::{ExecError, Program};
use crate::gpu::GpuError;
use crate::tensor::{Role, TensorId};

impl Program {
    /// Writes a whole f32 tensor. It takes effect before the next submission.
    ///
    /// # Errors
    ///
    /// [`ExecError::Length`] if the number of elements differs.
    pub fn write(&self, tensor: TensorId, data: &[f32]) -> Result<(), ExecError> {
        self.write_bytes(tensor, bytemuck::cast_slice(data))
    }

    /// Writes a whole u32 tensor.
    ///
    /// # Errors
    ///
    /// As [`Program::write`].
    pub fn write_u32(&self, tensor: TensorId, data: &[u32]) -> Result<(), ExecError> {
        self.write_bytes(tensor, bytemuck::cast_slice(data))
    }

    /// Writes part of an f32 tensor, from element `start`.
    ///
    /// # Errors
    ///
    /// [`ExecError::Length`] if the range exceeds the tensor.
    pub fn write_range(&self, tensor: TensorId, start: u64, data: &[f32]) -> Result<(), ExecError> {
        self.check_range(tensor, start, data.len() as u64)?;
        let place = self.plan.places[tensor.0];
        let offset = place.offset_bytes + self.plan.spec(tensor).bytes_of(start);
        self.gpu.queue.write_buffer(&self.buffers[place.buffer], offset, bytemuck::cast_slice(data));
        Ok(())
    }

    /// Reads `len` elements of an f32 tensor from element `start`; waits for the device.
    ///
    /// # Errors
    ///
    /// As [`Program::read`], and [`ExecError::Length`] if the range exceeds the tensor.
    pub fn read_range(&self, tensor: TensorId, start: u64, len: u64) -> Result<Vec<f32>, ExecError> {
        self.check_range(tensor, start, len)?;
        let place = self.plan.places[tensor.0];
        let spec = self.plan.spec(tensor);
        let from = place.offset_bytes + spec.bytes_of(start);
        Ok(bytemuck::pod_collect_to_vec(&self.read_buffer(place.buffer, from, spec.bytes_of(len))?))
    }

    /// Writes `len` elements of an f32 tensor from element `start`, which `fill` produces piece by piece, in order.
    /// Waits for the device after each large piece, so that only one is in memory.
    ///
    /// # Errors
    ///
    /// As [`Program::write_range`], and any error of `fill`.
    pub fn write_pieces<E: From<ExecError>>(
        &self,
        tensor: TensorId,
        start: u64,
        len: u64,
        mut fill: impl FnMut(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_range(tensor, start, len)?;
        let elem_bytes = self.plan.spec(tensor).dtype.bytes();
        let most = PIECE_BYTES / elem_bytes;
        let mut piece = vec![0.0; usize::try_from(len.min(most)).unwrap_or(0)];
        let mut done = 0;
        while done < len {
            let n = most.min(len - done);
            let part = &mut piece[..usize::try_from(n).unwrap_or(0)];
            fill(part)?;
            self.write_range(tensor, start + done, part)?;
            // small pieces may wait for others
            if n * elem_bytes >= PIECE_BYTES / 16 {
                self.gpu.queue.submit([]);
                self.gpu.wait().map_err(ExecError::from)?;
            }
            done += n;
        }
        Ok(())
    }

    /// Reads `len` elements of an f32 tensor from element `start` and passes them to `take` piece by piece, in order.
    /// Waits for the device.
    ///
    /// # Errors
    ///
    /// As [`Program::read_range`], and any error of `take`.
    pub fn read_pieces<E: From<ExecError>>(
        &self,
        tensor: TensorId,
        start: u64,
        len: u64,
        mut take: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_range(tensor, start, len)?;
        let place = self.plan.places[tensor.0];
        let spec = self.plan.spec(tensor);
        let from = place.offset_bytes + spec.bytes_of(start);
        self.read_staged(place.buffer, from, spec.bytes_of(len), |bytes| {
            take(&bytemuck::pod_collect_to_vec::<u8, f32>(bytes))
        })
    }

    fn check_range(&self, tensor: TensorId, start: u64, len: u64) -> Result<(), ExecError> {
        let spec = self.plan.spec(tensor);
        if start + len > spec.shape.numel() {
            return Err(ExecError::Length { name: spec.name.clone(), expected: spec.shape.numel(), got: start + len });
        }
        Ok(())
    }

    fn write_bytes(&self, tensor: TensorId, data: &[u8]) -> Result<(), ExecError> {
        let spec = self.plan.spec(tensor);
        let got = data.len() as u64 / spec.dtype.bytes();
        if got != spec.shape.numel() {
            return Err(ExecError::Length { name: spec.name.clone(), expected: spec.shape.numel(), got });
        }
        let place = self.plan.places[tensor.0];
        self.gpu.queue.write_buffer(&self.buffers[place.buffer], place.offset_bytes, data);
        Ok(())
    }

    /// Reads a whole f32 tensor back; waits for the device.
    ///
    /// # Errors
    ///
    /// [`ExecError::NotKept`] for an activation, or a failure of the device.
    pub fn read(&self, tensor: TensorId) -> Result<Vec<f32>, ExecError> {
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(tensor)?))
    }

    /// Reads a whole u32 tensor back; waits for the device.
    ///
    /// # Errors
    ///
    /// As [`Program::read`].
    pub fn read_u32(&self, tensor: TensorId) -> Result<Vec<u32>, ExecError> {
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(tensor)?))
    }

    /// Reads an f32 tensor by name.
    ///
    /// # Errors
    ///
    /// As [`Program::read`], and [`ExecError::NoTensor`].
    pub fn read_named(&self, name: &str) -> Result<Vec<f32>, ExecError> {
        self.read(self.find(name)?)
    }

    /// Writes an f32 tensor by name.
    ///
    /// # Errors
    ///
    /// As [`Program::write`], and [`ExecError::NoTensor`].
    pub fn write_named(&self, name: &str, data: &[f32]) -> Result<(), ExecError> {
        self.write(self.find(name)?, data)
    }

    fn read_bytes(&self, tensor: TensorId) -> Result<Vec<u8>, ExecError> {
        let spec = self.plan.spec(tensor);
        if spec.role == Role::Activation {
            return Err(ExecError::NotKept(spec.name.clone()));
        }
        let place = self.plan.places[tensor.0];
        self.read_buffer(place.buffer, place.offset_bytes, spec.bytes())
    }

    /// Fills the buffers of all tensors outside the slabs and slots with a pattern, including guard bands.
    pub(crate) fn fill(&self, pattern: u32) {
        for (buffer, plan) in self.buffers.iter().zip(&self.plan.buffers) {
            let words = vec![pattern; usize::try_from(plan.bytes / WORD_BYTES).unwrap_or(0)];
            self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&words));
        }
    }

    /// Reads the words before and after a tensor in its buffer.
    pub(crate) fn read_guards(&self, tensor: TensorId) -> Result<Vec<u32>, ExecError> {
        let (place, bytes) = (self.plan.places[tensor.0], self.plan.spec(tensor).bytes());
        let end = place.offset_bytes + bytes;
        let mut guards = self.read_buffer(place.buffer, 0, place.offset_bytes)?;
        guards.extend(self.read_buffer(place.buffer, end, self.plan.buffers[place.buffer].bytes - end)?);
        Ok(bytemuck::pod_collect_to_vec(&guards))
    }

    fn read_buffer(&self, buffer: usize, from: u64, total: u64) -> Result<Vec<u8>, ExecError> {
        let mut data = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
        self.read_staged(buffer, from, total, |bytes| -> Result<(), ExecError> {
            data.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(data)
    }

    fn read_staged<E: From<ExecError>>(
        &self,
        buffer: usize,
        from: u64,
        total: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        // limits the staging buffer, so that reading large weights doesn't take their size again
        let chunk = total.clamp(WORD_BYTES, PIECE_BYTES);
        let staging = self.gpu.scoped(|| {
            self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read"),
                size: chunk + Marks::MAX_BYTES,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        let staging = staging.map_err(ExecError::from)?;
        let mut start = 0;
        while start < total {
            let len = chunk.min(total - start);
            let mut encoder = self.encoder("read");
            encoder.copy_buffer_to_buffer(&self.buffers[buffer], from + start, &staging, 0, len);
            // a result is worth nothing unless it was computed
            let expected = self.state().marks.copy(&mut encoder, &staging, len);
            self.gpu.queue.submit([encoder.finish()]);
            let mapped = staging.slice(..len + expected.len() as u64 * WORD_BYTES);
            mapped.map_async(wgpu::MapMode::Read, |_| {});
            self.gpu.wait().map_err(ExecError::from)?;
            let lost = |e: wgpu::MapRangeError| GpuError::Lost { device: self.gpu.name(), reason: e.to_string() };
            let view = mapped.get_mapped_range().map_err(|e| ExecError::from(lost(e)))?;
            let (values, found) = view.split_at(usize::try_from(len).unwrap_or(0));
            take(values)?;
            let found: Vec<u32> = bytemuck::pod_collect_to_vec(found);
            drop(view);
            staging.unmap();
            completion_marks::check(&self.gpu, &expected, &found)?;
            start += len;
        }
        Ok(())
    }
}

/// Bytes per word; patterns and marks are written in words.
const WORD_BYTES: u64 = 4;
/// The largest piece of a tensor to transfer at once, bytes.
const PIECE_BYTES: u64 = 4 << 20;
