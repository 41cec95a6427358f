//! Tensors to and from the device, by name or id.

use super::marks::{self, Marks};
use super::{ExecError, Program};
use crate::tensor::{DType, Role, TensorId};

impl Program {
    /// Writes a whole f32 tensor; it takes effect before the next submission.
    ///
    /// # Errors
    ///
    /// [`ExecError::Length`] where the number of elements differs.
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
    /// [`ExecError::Length`] where it would leave the tensor.
    pub fn write_range(&self, tensor: TensorId, start: u64, data: &[f32]) -> Result<(), ExecError> {
        self.check_range(tensor, start, data.len() as u64)?;
        let place = self.plan.places[tensor.0];
        let offset = place.offset_bytes + start * DType::BYTES;
        self.gpu.queue.write_buffer(&self.buffers[place.buffer], offset, bytemuck::cast_slice(data));
        Ok(())
    }

    /// Reads `len` elements of an f32 tensor from element `start`; waits for the device.
    ///
    /// # Errors
    ///
    /// As [`Program::read`], and [`ExecError::Length`] where it would leave the tensor.
    pub fn read_range(&self, tensor: TensorId, start: u64, len: u64) -> Result<Vec<f32>, ExecError> {
        self.check_range(tensor, start, len)?;
        let place = self.plan.places[tensor.0];
        let from = place.offset_bytes + start * DType::BYTES;
        Ok(bytemuck::pod_collect_to_vec(&self.read_buffer(place.buffer, from, len * DType::BYTES)?))
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
        let got = data.len() as u64 / DType::BYTES;
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
    /// As [`Program::read`], and where the name is unknown.
    pub fn read_named(&self, name: &str) -> Result<Vec<f32>, ExecError> {
        self.read(self.find(name)?)
    }

    /// Writes an f32 tensor by name.
    ///
    /// # Errors
    ///
    /// As [`Program::write`], and where the name is unknown.
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

    /// Fills the buffers of all tensors outside the slabs and slots with a pattern, guard bands included.
    pub(crate) fn fill(&self, pattern: u32) {
        for (buffer, plan) in self.buffers.iter().zip(&self.plan.buffers) {
            let words = vec![pattern; usize::try_from(plan.bytes / DType::BYTES).unwrap_or(0)];
            self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&words));
        }
    }

    /// The words before and after a tensor in its buffer.
    pub(crate) fn read_guards(&self, tensor: TensorId) -> Result<Vec<u32>, ExecError> {
        let (place, bytes) = (self.plan.places[tensor.0], self.plan.spec(tensor).bytes());
        let end = place.offset_bytes + bytes;
        let mut guards = self.read_buffer(place.buffer, 0, place.offset_bytes)?;
        guards.extend(self.read_buffer(place.buffer, end, self.plan.buffers[place.buffer].bytes - end)?);
        Ok(bytemuck::pod_collect_to_vec(&guards))
    }

    fn read_buffer(&self, buffer: usize, from: u64, total: u64) -> Result<Vec<u8>, ExecError> {
        // a staging buffer of at most this size, so that reading large weights doesn't take their size once more
        let chunk = total.clamp(DType::BYTES, MAX_STAGING_BYTES);
        let staging = self.gpu.scoped(|| {
            self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read"),
                size: chunk + Marks::MAX_BYTES,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        let mut data = Vec::new();
        let mut start = 0;
        while start < total {
            let len = chunk.min(total - start);
            let mut encoder = self.encoder("read");
            encoder.copy_buffer_to_buffer(&self.buffers[buffer], from + start, &staging, 0, len);
            // whoever reads a result wants to know that it was computed
            let expected = self.state().marks.copy(&mut encoder, &staging, len);
            self.gpu.queue.submit([encoder.finish()]);
            let mapped = staging.slice(..len + expected.len() as u64 * DType::BYTES);
            mapped.map_async(wgpu::MapMode::Read, |_| {});
            self.gpu.wait()?;
            let lost =
                |e: wgpu::MapRangeError| crate::gpu::GpuError::Lost { device: self.gpu.name(), reason: e.to_string() };
            let view = mapped.get_mapped_range().map_err(lost)?;
            let (values, found) = view.split_at(usize::try_from(len).unwrap_or(0));
            data.extend_from_slice(values);
            let found: Vec<u32> = bytemuck::pod_collect_to_vec(found);
            drop(view);
            staging.unmap();
            marks::check(&self.gpu, &expected, &found)?;
            start += len;
        }
        Ok(data)
    }
}

const MAX_STAGING_BYTES: u64 = 64 << 20;
