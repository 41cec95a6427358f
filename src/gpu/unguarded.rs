//! A software device without its driver's bounds tests.
//!
//! wgpu asks every Vulkan driver for robust buffer access. A GPU does that in hardware; llvmpipe computes a mask for each
//! load and store instead, and can't load neighbouring elements at once. From Mesa 24.1 on it leaves that out, outside loops
//! and conditions, where a device is opened without.

// SAFETY of this file: the device is opened as wgpu would open it, but for features that only add bounds tests; the shaders
// that run on it are those that `pipelines` trusts to stay within their buffers.
#![allow(unsafe_code)]

/// The first Mesa that is known to gain by it.
#[cfg(target_os = "linux")]
const MESA: u32 = 26;

/// Whether a driver is one that gains: `driver` is its name, `info` begins with Mesa's version.
#[cfg(target_os = "linux")]
pub(super) fn gains(driver: &str, info: &str) -> bool {
    let version = info.strip_prefix("Mesa ").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    driver == "llvmpipe" && version.is_some_and(|version| version >= MESA)
}

/// No other system's devices are opened so.
#[cfg(not(target_os = "linux"))]
pub(super) fn gains(_: &str, _: &str) -> bool {
    false
}

/// Opens a device so; `None` where it isn't Vulkan's, or the driver refuses.
#[cfg(target_os = "linux")]
pub(super) fn open(
    adapter: &wgpu::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
) -> Option<(wgpu::Device, wgpu::Queue)> {
    use ash::vk;
    use wgpu::hal::api::Vulkan;

    let features = descriptor.required_features;
    // SAFETY: the adapter is only read, and wgpu keeps it
    let hal = unsafe { adapter.as_hal::<Vulkan>() }?;
    let extensions = hal.required_device_extensions(features);
    let mut wanted = hal.physical_device_features(&extensions, features);
    let core = wanted.get_core().robust_buffer_access(false);
    let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
    let info = wanted.add_to_device_create(info).enabled_features(&core);
    let mut next = info.p_next.cast::<vk::BaseOutStructure<'_>>().cast_mut();
    // SAFETY: the chain was made just now of structures that `wanted` owns and nobody else reads meanwhile; each begins as a
    // base structure does, and has the type that its tag says
    while let Some(link) = unsafe { next.as_mut() } {
        next = link.p_next;
        if link.s_type == vk::StructureType::PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT {
            let robustness = std::ptr::from_mut(link).cast::<vk::PhysicalDeviceRobustness2FeaturesEXT<'_>>();
            // SAFETY: as above
            unsafe { (*robustness).robust_buffer_access2 = vk::FALSE };
        }
    }
    // SAFETY: extensions and features are those that the adapter offers; wgpu takes the device over, and destroys it
    unsafe {
        let device = hal.shared_instance().raw_instance().create_device(hal.raw_physical_device(), &info, None).ok()?;
        let limits = &descriptor.required_limits;
        let open =
            hal.device_from_raw(device, None, &extensions, features, limits, &descriptor.memory_hints, 0, 0).ok()?;
        drop(hal);
        adapter.create_device_from_hal(open, descriptor).ok()
    }
}

/// Elsewhere devices are opened as wgpu does.
#[cfg(not(target_os = "linux"))]
pub(super) fn open(_: &wgpu::Adapter, _: &wgpu::DeviceDescriptor<'_>) -> Option<(wgpu::Device, wgpu::Queue)> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::gains;

    #[test]
    fn only_drivers_that_are_known_to_gain_are_opened_without_tests() {
        assert!(gains("llvmpipe", "Mesa 26.1.6-1~bpo13+1 (LLVM 19.1.7)"));
        assert!(!gains("llvmpipe", "Mesa 22.3.6 (LLVM 15.0.6)"));
        assert!(!gains("radv", "Mesa 26.1.6"));
        assert!(!gains("llvmpipe", ""));
    }
}
