use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

/// The version of naga that Cargo.toml requires.
pub(super) const NAGA: &str = "30";

/// One shader in the languages of the other platforms, without run-time checks, like tril's own pipelines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forms {
    /// SPIR-V 1.3, for Vulkan 1.1.
    pub spirv: Vec<u32>,
    /// Metal Shading Language 2.4; the binding slots are made up.
    pub msl: String,
    /// HLSL for shader model 6.0; the binding registers are made up.
    pub hlsl: String,
}

impl Forms {
    /// Translates a WGSL source.
    ///
    /// # Errors
    ///
    /// The form that failed (WGSL, SPIR-V, MSL or HLSL), and naga's message.
    pub fn of(wgsl: &str) -> Result<Self, (&'static str, String)> {
        let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| ("WGSL", e.emit_to_string(wgsl)))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP)
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|e| ("WGSL", e.emit_to_string(wgsl)))?;
        let unchecked = BoundsCheckPolicies {
            index: BoundsCheckPolicy::Unchecked,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        };
        let options = spv::Options {
            lang_version: (1, 3),
            bounds_check_policies: unchecked,
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..spv::Options::default()
        };
        let spirv = spv::write_vec(&module, &info, &options, None).map_err(|e| ("SPIR-V", e.to_string()))?;
        let options = msl::Options {
            lang_version: (2, 4),
            bounds_check_policies: unchecked,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..msl::Options::default()
        };
        let (msl, _) = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
            .map_err(|e| ("MSL", e.to_string()))?;
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_0,
            zero_initialize_workgroup_memory: false,
            restrict_indexing: false,
            force_loop_bounding: false,
            ..hlsl::Options::default()
        };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .map_err(|e| ("HLSL", e.to_string()))?;
        Ok(Self { spirv, msl, hlsl: text })
    }
}
