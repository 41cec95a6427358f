//! Software Vulkan with the whole width of the CPU's vectors.
//!
//! Mesa's llvmpipe computes with vectors of 256 bits, unless `LP_NATIVE_VECTOR_WIDTH` says otherwise before it is loaded. With
//! 512 bits its subgroups have 16 lanes, and Mesa 22.3 trains a quarter faster then. Later ones don't: 26.1 takes 2.7 times as long.

use std::path::{Path, PathBuf};

use crate::gpu::AdapterReport;
use crate::tune::cache_dir;

/// The width that llvmpipe is asked for, bits; `tril` sets it for itself, and leaves it alone where it is set.
const WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
/// Mesa's folder for compiled kernels.
const KERNELS: &str = "MESA_SHADER_CACHE_DIR";

/// Starts this command anew, as the same process, where a software device is known to be faster with wider vectors. Returns
/// where it isn't, and where that can't be done.
pub(super) fn widen() {
    if std::env::var_os(WIDTH).is_some() || !has_wide_vectors() || !crate::gpu::adapters().iter().any(gains) {
        return;
    }
    // kernels of both widths have the same key in Mesa's cache, so that one would take the other's
    let own = || cache_dir().map(|dir| dir.join("mesa-512"));
    let Some(kernels) = std::env::var_os(KERNELS).map(|dir| PathBuf::from(dir).join("512")).or_else(own) else {
        return;
    };
    if std::fs::create_dir_all(&kernels).is_ok() {
        again(&kernels);
    }
}

/// Whether a device is one that gains.
fn gains(report: &AdapterReport) -> bool {
    report.name.contains("llvmpipe") && report.name.contains("256 bits") && report.driver.contains("Mesa 22.")
}

/// Whether the CPU has vectors of 512 bits.
fn has_wide_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Runs the command again in place of this one; returns where that fails.
#[cfg(unix)]
fn again(kernels: &Path) {
    use std::os::unix::process::CommandExt;
    let mut args = std::env::args_os();
    let (Some(name), Ok(program)) = (args.next(), std::env::current_exe()) else { return };
    let _ = std::process::Command::new(program).arg0(name).args(args).env(WIDTH, "512").env(KERNELS, kernels).exec();
}

#[cfg(not(unix))]
fn again(_: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Caps;

    #[test]
    fn only_drivers_that_are_known_to_gain_get_wide_vectors() {
        let device = |name: &str, driver: &str| AdapterReport {
            name: name.into(),
            backend: "vulkan".into(),
            driver: driver.into(),
            kind: "software".into(),
            caps: Caps::lavapipe(),
            subgroup_size: (8, 8),
            features: vec![],
        };
        let narrow = "llvmpipe (LLVM 15.0.6, 256 bits)";
        assert!(gains(&device(narrow, "llvmpipe Mesa 22.3.6 (LLVM 15.0.6)")));
        assert!(!gains(&device(narrow, "llvmpipe Mesa 25.0.7 (LLVM 15.0.6)")));
        assert!(!gains(&device("llvmpipe (LLVM 15.0.6, 512 bits)", "llvmpipe Mesa 22.3.6 (LLVM 15.0.6)")));
        assert!(!gains(&device("AMD Radeon RX 7900 XT (RADV NAVI31)", "radv Mesa 22.3.6")));
    }
}
