//! Opening a software device without its driver's bounds checks.
//!
//! wgpu requests robust buffer access from every Vulkan driver. A GPU does that in hardware; llvmpipe instead computes
//! a mask for each load and store, and can't load neighbouring elements at once. From Mesa 24.1 on, it omits the mask
//! outside loops and conditions if the device is opened without robust buffer access.

// SAFETY of this file: the device is opened as wgpu would open it, except for features that only add bounds checks; the
// shaders that run on it are those that `pipelines` trusts to stay within their buffers.
#![allow(unsafe_code)]

/// The first version of Mesa that benefits: 25 compiles straight-line kernels as coroutines, for over ten minutes.
#[cfg(target_os = "linux")]
const MESA: u32 = 26;

/// Whether a driver benefits: `driver` is its name, `info` begins with Mesa's version.
#[cfg(target_os = "linux")]
pub(super) fn gains(driver: &str, info: &str) -> bool {
    let version = info.strip_prefix("Mesa ").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    driver == "llvmpipe" && version.is_some_and(|version| version >= MESA)
}

/// Other systems always open devices through wgpu.
#[cfg(not(target_os = "linux"))]
pub(super) fn gains(_: &str, _: &str) -> bool {
    false
}

/// Opens a device without bounds checks; `None` if it isn't a Vulkan device or the driver refuses.
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
    // SAFETY: the chain was just made of structures that `wanted` owns and nobody else reads meanwhile; each begins as
    // a base structure does, and has the type that its tag says
    while let Some(link) = unsafe { next.as_mut() } {
        next = link.p_next;
        if link.s_type == vk::StructureType::PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT {
            let robustness = std::ptr::from_mut(link).cast::<vk::PhysicalDeviceRobustness2FeaturesEXT<'_>>();
            // SAFETY: as above
            unsafe { (*robustness).robust_buffer_access2 = vk::FALSE };
        }
    }
    // SAFETY: the adapter offers these extensions and features; wgpu takes over the device and destroys it
    unsafe {
        let device = hal.shared_instance().raw_instance().create_device(hal.raw_physical_device(), &info, None).ok()?;
        let limits = &descriptor.required_limits;
        let open =
            hal.device_from_raw(device, None, &extensions, features, limits, &descriptor.memory_hints, 0, 0).ok()?;
        drop(hal);
        adapter.create_device_from_hal(open, descriptor).ok()
    }
}

/// Other systems always open devices through wgpu.
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
