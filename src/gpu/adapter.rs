use std::fmt;
use std::str::FromStr;

use super::GpuError;
use crate::kernel::Caps;

/// Which adapter to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceSelector {
    /// The best kind available: discrete, integrated, virtual, software.
    #[default]
    Best,
    /// By its index in `tril devices`.
    Index(usize),
    /// By part of its name, case-insensitive.
    Name(String),
}

impl FromStr for DeviceSelector {
    type Err = EmptyName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" => Err(EmptyName),
            name => Ok(name.parse().map_or_else(|_| Self::Name(name.into()), Self::Index)),
        }
    }
}

/// An empty adapter name, which would match every adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give an index or a part of a name, as `tril devices` lists them")]
pub struct EmptyName;

impl fmt::Display for DeviceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Index(i) => write!(f, "{i}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The properties of an adapter, known without opening it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterReport {
    /// Its name.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    /// Its limits.
    pub caps: Caps,
    /// Smallest and largest subgroup.
    pub subgroup_size: (u32, u32),
    /// The features that tril uses, each with whether the adapter has it.
    pub features: Vec<(&'static str, bool)>,
}

impl AdapterReport {
    /// Whether its buffers are in main memory, as those of software devices and integrated GPUs are.
    pub fn shares_memory(&self) -> bool {
        matches!(self.kind.as_str(), "software" | "integrated")
    }
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

/// Lists every adapter, best kind first; the index is the value of `--device`.
pub fn adapters() -> Vec<AdapterReport> {
    enumerate().iter().map(report).collect()
}

/// Returns the adapter that matches a selector.
///
/// # Errors
///
/// [`GpuError`] if there is none.
pub fn find_adapter(selector: &DeviceSelector) -> Result<AdapterReport, GpuError> {
    Ok(select(selector)?.1)
}

pub(super) fn select(selector: &DeviceSelector) -> Result<(wgpu::Adapter, AdapterReport), GpuError> {
    let mut found = enumerate();
    if found.is_empty() {
        return Err(GpuError::NoAdapter);
    }
    let reports: Vec<AdapterReport> = found.iter().map(report).collect();
    let names: Vec<&str> = reports.iter().map(|r| r.name.as_str()).collect();
    let index = find(selector, &names)?;
    let report = reports[index].clone();
    Ok((found.swap_remove(index), report))
}

/// The index of the adapter that matches a selector, among these names. A full name is preferred to parts of others. Of
/// several adapters with the same name, which are identical, or one card with several drivers, the first is taken.
fn find(selector: &DeviceSelector, names: &[&str]) -> Result<usize, GpuError> {
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let list = |indices: &[usize]| {
        let items: Vec<String> = indices.iter().map(|&i| format!("{i} = {}", names[i])).collect();
        items.join(", ")
    };
    let missing = || {
        let all: Vec<usize> = (0..names.len()).collect();
        GpuError::NoSuchAdapter { wanted: selector.to_string(), there: list(&all) }
    };
    match selector {
        DeviceSelector::Best => Ok(0),
        DeviceSelector::Index(index) if *index < names.len() => Ok(*index),
        DeviceSelector::Index(_) => Err(missing()),
        DeviceSelector::Name(name) => {
            let wanted = name.to_lowercase();
            if let Some(whole) = lower.iter().position(|name| *name == wanted) {
                return Ok(whole);
            }
            let parts: Vec<usize> = (0..names.len()).filter(|&i| lower[i].contains(&wanted)).collect();
            match parts[..] {
                [] => Err(missing()),
                [first, ..] if parts.iter().all(|&i| lower[i] == lower[first]) => Ok(first),
                _ => Err(GpuError::SeveralAdapters { wanted: name.clone(), matching: list(&parts) }),
            }
        }
    }
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    // the system's native backend comes first, then the kind of device; the sort is stable
    adapters.sort_by_key(|a| rank(a.get_info().device_type));
    adapters
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn report(adapter: &wgpu::Adapter) -> AdapterReport {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    };
    let driver = format!("{} {}", info.driver, info.driver_info).trim().to_string();
    let backend = info.backend.to_string();
    let name = if info.name.is_empty() { "unnamed adapter".into() } else { info.name.clone() };
    let has = |feature| features.contains(feature);
    let caps = Caps {
        name: format!("{name} ({backend}, {driver})"),
        is_cpu: info.device_type == wgpu::DeviceType::Cpu,
        vector_loads: super::unguarded::gains(&info.driver, &info.driver_info),
        subgroup: if has(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size {
            info.subgroup_min_size
        } else {
            0
        },
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroup_size: [
            limits.max_compute_workgroup_size_x,
            limits.max_compute_workgroup_size_y,
            limits.max_compute_workgroup_size_z,
        ],
        max_dispatch_work: match info.device_type {
            wgpu::DeviceType::Cpu => Caps::WORK_SOFTWARE,
            wgpu::DeviceType::DiscreteGpu => Caps::WORK_DISCRETE,
            _ => Caps::WORK_INTEGRATED,
        },
        storage_align: limits.min_storage_buffer_offset_alignment.into(),
        uniform_align: limits.min_uniform_buffer_offset_alignment.into(),
    };
    AdapterReport {
        name,
        backend,
        driver,
        kind: kind.into(),
        caps,
        subgroup_size: (info.subgroup_min_size, info.subgroup_max_size),
        features: vec![
            ("subgroups", has(wgpu::Features::SUBGROUP)),
            ("f16", has(wgpu::Features::SHADER_F16)),
            ("timestamps", has(wgpu::Features::TIMESTAMP_QUERY)),
            ("cooperative matrices", has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)),
        ],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_chosen_by_index_or_by_what_only_its_name_has() {
        const NAMES: [&str; 5] = ["GeForce 5090", "Radeon 780M", "GeForce 5090", "Radeon 780", "llvmpipe (256 bits)"];
        let find = |text: &str| match find(&text.parse().unwrap(), &NAMES) {
            Ok(index) => index.to_string(),
            Err(error) => error.to_string(),
        };
        for (text, index) in [
            ("0", "0"),
            (" 3 ", "3"),
            // two with the same name
            ("geforce", "0"),
            ("780m", "1"),
            // a full name, and part of another
            ("radeon 780", "3"),
            ("llvm", "4"),
            ("(256 bits)", "4"),
        ] {
            assert_eq!(find(text), index, "{text}");
        }
        assert!(find("Radeon").ends_with(
            "--device Radeon matches several adapters: 1 = Radeon 780M, 3 = Radeon 780; give the index or more of the name"
        ));
        for text in ["5", "18446744073709551616", "Arc", "-1"] {
            assert!(find(text).starts_with(&format!("no adapter matches --device {text}; available: 0 = ")), "{text}");
        }
        for text in ["", " ", "\t"] {
            assert_eq!(text.parse::<DeviceSelector>(), Err(EmptyName));
        }
    }
}
