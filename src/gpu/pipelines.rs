//! Shader modules and pipelines, created once per (kernel, variant, modes) and device.

// Uses `unsafe`: our shaders are checked by naga at build time, and by the tests with bounds checks on. So by default
// they are compiled without run-time checks, which cost up to half of a matmul's speed.
#![allow(unsafe_code)]

use std::sync::{Arc, PoisonError};

use super::Gpu;
use crate::kernel::{Access, Dispatch};

pub(super) type Key = (&'static str, &'static str, Vec<(&'static str, &'static str)>);

pub(super) fn key(dispatch: &Dispatch) -> Key {
    (dispatch.kernel.name, dispatch.variant.name, dispatch.modes.clone())
}

/// A pipeline with the layout of its bind group.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

impl Gpu {
    /// Returns the pipeline of a dispatch, created at first use. Call it inside an error scope.
    pub(crate) fn pipeline(&self, dispatch: &Dispatch) -> Arc<Pipeline> {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        pipelines.entry(key(dispatch)).or_insert_with(|| Arc::new(self.make(dispatch))).clone()
    }

    /// Whether the pipeline of a dispatch exists.
    pub(super) fn has_pipeline(&self, dispatch: &Dispatch) -> bool {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&key(dispatch))
    }

    /// Drops the pipelines that no program uses.
    pub(crate) fn forget_pipelines(&self) {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        pipelines.retain(|_, pipeline| Arc::strong_count(pipeline) > 1);
    }

    fn make(&self, dispatch: &Dispatch) -> Pipeline {
        let kernel = dispatch.kernel;
        let label = format!("{}/{}{:?}", kernel.name, dispatch.variant.name, dispatch.modes);
        let source = kernel.specialised(&dispatch.modes, dispatch.variant);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(&label), source: wgpu::ShaderSource::Wgsl(source.into()) };
        let module = if self.checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: every index in our shaders is guarded by the sizes in `params`, which the plan has checked
            // against the bound ranges, and every loop ends; the test suite runs with the checks on as well.
            unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let storage =
            kernel.bindings.iter().map(|b| wgpu::BufferBindingType::Storage { read_only: b.access == Access::Read });
        let entries: Vec<wgpu::BindGroupLayoutEntry> = storage
            .chain([wgpu::BufferBindingType::Uniform])
            .zip(0u32..)
            .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            })
            .collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}
