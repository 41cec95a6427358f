/// A device's capabilities as plain data, so that a plan can be checked without a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// The adapter's name with driver and backend, as printed with every result.
    pub name: String,
    /// Whether it is a software device: workgroup memory and barriers are slow there, so kernels use other variants.
    pub is_cpu: bool,
    /// Whether a software device turns loads of neighbouring elements in straight-line code into one vector load:
    /// Mesa's llvmpipe from version 26 on, if opened without bounds checks. On any other device such code is the
    /// slowest.
    pub vector_loads: bool,
    /// Invocations per subgroup if the device has subgroup operations and a single subgroup size; otherwise 0.
    pub subgroup: u32,
    /// `max_storage_buffer_binding_size`, bytes.
    pub max_binding_bytes: u64,
    /// `max_buffer_size`, bytes.
    pub max_buffer_bytes: u64,
    /// `max_storage_buffers_per_shader_stage`.
    pub max_storage_buffers: u32,
    /// `max_compute_workgroups_per_dimension`.
    pub max_workgroups: u32,
    /// `max_compute_workgroup_storage_size`, bytes.
    pub max_workgroup_bytes: u32,
    /// `max_compute_invocations_per_workgroup`.
    pub max_invocations: u32,
    /// `max_compute_workgroup_size_x`, `_y`, `_z`.
    pub max_workgroup_size: [u32; 3],
    /// Maximum work of one dispatch (floating-point operations, or four per byte moved if that is more): what a slow
    /// device of its kind does in about 200 ms. Ops split larger dispatches where they can.
    pub max_dispatch_work: u64,
    /// `min_storage_buffer_offset_alignment`, bytes.
    pub storage_align: u64,
    /// `min_uniform_buffer_offset_alignment`, bytes.
    pub uniform_align: u64,
}

impl Caps {
    /// [`Caps::max_dispatch_work`] of a software device: two slow cores at 20 GFLOP/s.
    pub const WORK_SOFTWARE: u64 = 4_000_000_000;
    /// [`Caps::max_dispatch_work`] of an integrated GPU: 100 GFLOP/s.
    pub const WORK_INTEGRATED: u64 = 20_000_000_000;
    /// [`Caps::max_dispatch_work`] of a discrete GPU: 1 TFLOP/s.
    pub const WORK_DISCRETE: u64 = 200_000_000_000;

    /// WebGPU's default limits, which every implementation guarantees: the smallest device to plan for.
    pub fn webgpu_default() -> Self {
        Self {
            name: "WebGPU default limits".into(),
            is_cpu: false,
            vector_loads: false,
            subgroup: 0,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_storage_buffers: 8,
            max_workgroups: 65_535,
            max_workgroup_bytes: 16_384,
            max_invocations: 256,
            max_workgroup_size: [256, 256, 64],
            max_dispatch_work: Self::WORK_INTEGRATED,
            storage_align: 256,
            uniform_align: 256,
        }
    }

    /// A desktop GPU's limits: 2 GiB bindings and buffers, 32 KiB of workgroup memory.
    pub fn desktop() -> Self {
        Self {
            name: "desktop GPU limits".into(),
            max_binding_bytes: (2 << 30) - 4,
            max_buffer_bytes: 4 << 30,
            max_workgroup_bytes: 32_768,
            max_invocations: 1024,
            max_workgroup_size: [1024, 1024, 64],
            max_dispatch_work: Self::WORK_DISCRETE,
            ..Self::webgpu_default()
        }
    }

    /// The limits of Mesa's software Vulkan device.
    pub fn lavapipe() -> Self {
        Self {
            name: "lavapipe limits".into(),
            is_cpu: true,
            subgroup: 8,
            max_buffer_bytes: (2 << 30) - 1,
            max_storage_buffers: 32,
            max_workgroup_bytes: 32_768,
            max_invocations: 1024,
            max_workgroup_size: [1024, 1024, 1024],
            max_dispatch_work: Self::WORK_SOFTWARE,
            storage_align: 32,
            uniform_align: 64,
            ..Self::webgpu_default()
        }
    }
}
