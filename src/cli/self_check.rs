use std::error::Error;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;

use super::itself::itself;
use super::phases;
use super::settings::DeviceArgs;
use super::signals::run_child;
use crate::doctor;
use crate::doctor::ModelFailure;
use crate::gpu::Gpu;
use crate::kernel;
use crate::train::{Session, SessionError};
use crate::tune::cache_dir;

/// The value of `TRIL_FAULT` with which tests make a device compute wrongly.
pub(super) const WRONG: &str = "wrong";

/// Checks on small models that the device computes correctly, before anything is trained on it: once per device, driver
/// and set of kernels, recorded in the cache folder. Returns whether this was the first time.
pub(super) fn self_check(gpu: &Arc<Gpu>, device: &DeviceArgs) -> Result<bool, Box<dyn Error>> {
    let checks = if gpu.is_checked() { ", checked" } else { "" };
    let subject = format!("{}{checks} {:08x}\n", gpu.name(), kernels_crc());
    let path = cache_dir().map(|dir| dir.join(format!("right-{:08x}", crc32fast::hash(subject.as_bytes()))));
    let is_known = path.as_ref().is_some_and(|path| fs::read_to_string(path).is_ok_and(|text| text == subject));
    if is_known && !is_faulty() {
        return Ok(false);
    }
    phases::begin("checking the device");
    if !(gpu.caps().is_cpu && passes_elsewhere(device)) {
        quick(gpu).map_err(|e| {
            let device = gpu.name();
            format!("{device} computes a small model wrongly ({e}); see `tril doctor`, or choose another with --device")
        })?;
    }
    phases::end();
    // without a cache folder, it is checked again next time
    if let Some(path) = path {
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(path, subject);
    }
    Ok(true)
}

/// A checksum over the sources of all kernels.
pub(super) fn kernels_crc() -> u32 {
    let mut kernels = crc32fast::Hasher::new();
    kernel::ALL.iter().for_each(|kernel| kernels.update(kernel.source.as_bytes()));
    kernels.finalize()
}

/// Compares small models with the reference.
pub(super) fn quick(gpu: &Arc<Gpu>) -> Result<(), ModelFailure> {
    let is_wrong = is_faulty();
    let mut tamper = |session: &Session| -> Result<(), SessionError> {
        let name = "h.0.attn.c_proj.weight";
        let twice: Vec<f32> = session.weight(name)?.into_iter().map(|x| 2.0 * x).collect();
        if is_wrong { session.set_weight(name, &twice) } else { Ok(()) }
    };
    doctor::self_check(gpu, &mut tamper)
}

/// Whether the check passes in a separate process. A software device compiles in the process that opens it, and the
/// memory for that, about 30 MiB, would stay with the run. Returns false if no process can be started.
fn passes_elsewhere(device: &DeviceArgs) -> bool {
    let Some(mut doctor) = itself() else { return false };
    doctor.args(["doctor", "--quick"]).args(device.as_flags());
    doctor.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    run_child(&mut doctor).is_some_and(|status| status.success())
}

/// Whether a test makes the device compute wrongly.
fn is_faulty() -> bool {
    std::env::var_os("TRIL_FAULT").is_some_and(|fault| fault == WRONG)
}
