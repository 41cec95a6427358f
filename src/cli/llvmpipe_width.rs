//! Chooses the vector width of software Vulkan.
//!
//! Mesa's llvmpipe computes with vectors of 256 bits unless `LP_NATIVE_VECTOR_WIDTH` sets another width before it is
//! loaded. On a CPU with AVX-512 it can use 512 bits, and subgroups of 16 lanes. Which is faster depends on the driver
//! and the CPU: with 512 bits, Mesa 22 trained a quarter faster on one CPU and no faster on another, and Mesa 26 takes
//! several times as long. So it is measured.

mod race;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use serde::{Deserialize, Serialize};

use self::race::race;
use super::itself::itself;
use super::self_check::kernels_crc;
use super::signals::run_child;
use crate::files::atomic;
use crate::gpu::{AdapterReport, DeviceSelector, find_adapter};
use crate::tune::cache_dir;

/// The environment variable for llvmpipe's vector width in bits. `tril` sets it for itself unless it is already set.
const WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
/// The environment variable for Mesa's folder of compiled kernels.
const KERNELS: &str = "MESA_SHADER_CACHE_DIR";
/// llvmpipe's default width and the alternative, in bits. Vectors of 128 bits were slower wherever they were tried.
const USUAL: u32 = 256;
const WIDE: u32 = 512;
/// Wide vectors are used if they need at most this share of the time.
const CLEARLY: f64 = 0.95;

/// What a command needs to know before it opens a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// An earlier measurement, if there is one.
    Known,
    /// An earlier measurement, or a new one.
    Measured,
}

/// A measurement of both widths on one CPU with one driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    /// The driver, the CPU and the kernels.
    subject: String,
    /// Nanoseconds of the same small work with each width; `None` if the device failed with it.
    usual_ns: Option<u64>,
    wide_ns: Option<u64>,
    /// The width to use, in bits.
    width: u32,
}

/// Restarts this command, as the same process, if the software device that it will use is faster with wider vectors.
/// Returns if it isn't, or if the restart fails.
pub(super) fn widen(need: Need, flags: &ArgMatches) {
    // a plan for --limits needs no device
    let by_limits = flags.try_get_raw("limits").is_ok_and(|limits| limits.is_some());
    if std::env::var_os(WIDTH).is_some() || !has_wide_vectors() || by_limits {
        return;
    }
    let device = flags.try_get_one::<String>("device").ok().flatten();
    let selector = device.map_or(DeviceSelector::Best, |d| d.parse().unwrap_or_default());
    // kernels of both widths have the same keys in Mesa's cache, so the other width needs a folder of its own
    let (Ok(report), Some(dir)) = (find_adapter(&selector), cache_dir()) else { return };
    if !has_a_choice(&report) {
        return;
    }
    let kernels = std::env::var_os(KERNELS).map_or_else(|| dir.join("mesa-512"), |own| PathBuf::from(own).join("512"));
    // `tril tune --force`
    let again = flags.try_get_one::<bool>("force").is_ok_and(|force| force == Some(&true));
    let known = known(&report).filter(|_| !again);
    let measured = match need {
        _ if known.is_some() => known,
        Need::Known => None,
        Need::Measured => measure(&report, &dir, &kernels, again),
    };
    if measured.is_some_and(|measured| measured.width == WIDE) && fs::create_dir_all(&kernels).is_ok() {
        restart(&kernels);
    }
}

/// A line about the vector width of a device; `None` if there is no choice of widths.
pub(super) fn line(report: &AdapterReport) -> Option<String> {
    if !(is_llvmpipe(report) && has_wide_vectors()) {
        return None;
    }
    Some(known(report).map_or_else(
        || "512 bits are possible; the first command that needs it measures them".into(),
        |m| m.to_string(),
    ))
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |ns: Option<u64>| ns.map_or("failed".to_string(), |ns| format!("{:.2} ms", ns as f64 / 1e6));
        let (usual, wide) = (ms(self.usual_ns), ms(self.wide_ns));
        write!(
            f,
            "{} bits, as measured: {USUAL} bits take {usual}, {WIDE} bits {wide}; {WIDTH} overrides this",
            self.width
        )?;
        if self.width == USUAL && is_clearly_faster(self.usual_ns, self.wide_ns) {
            write!(f, " ({WIDE} bits give wrong results)")?;
        }
        Ok(())
    }
}

fn is_llvmpipe(report: &AdapterReport) -> bool {
    report.kind == "software" && report.name.contains("llvmpipe")
}

/// Whether a device could use wider vectors than it does.
fn has_a_choice(report: &AdapterReport) -> bool {
    is_llvmpipe(report) && report.name.contains("256 bits")
}

/// Whether the CPU has vectors of 512 bits.
fn has_wide_vectors() -> bool {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    let has = false;
    has
}

/// The file of a measurement, and its subject: the driver, the CPU and the kernels.
fn place(report: &AdapterReport, dir: &Path) -> (PathBuf, String) {
    let subject = format!("{}; {}; kernels {:08x}", report.driver, cpu(), kernels_crc());
    (dir.join(format!("vectors-{:08x}.json", crc32fast::hash(subject.as_bytes()))), subject)
}

/// The CPU's maker, family, model, stepping and name.
fn cpu() -> String {
    const KEYS: [&str; 5] = ["vendor_id", "cpu family", "model", "model name", "stepping"];
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default().lines();
    let pairs = first.filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()));
    pairs.filter(|(key, _)| KEYS.contains(key)).map(|(_, value)| value).collect::<Vec<_>>().join(" ")
}

fn known(report: &AdapterReport) -> Option<Measured> {
    let (path, subject) = place(report, &cache_dir()?);
    let measured: Measured = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    (measured.subject == subject).then_some(measured)
}

/// Measures both widths, saves the result and prints it. Returns `None` if it can't be saved: measuring would slow down
/// every command.
fn measure(report: &AdapterReport, dir: &Path, kernels: &Path, again: bool) -> Option<Measured> {
    fs::create_dir_all(kernels).ok()?;
    fs::create_dir_all(dir).ok()?;
    let (path, subject) = place(report, dir);
    let lock = File::options().append(true).create(true).open(dir.join("vectors.lock")).ok()?;
    // two processes that measure at the same time would distort each other's times
    let _ = lock.lock();
    if let Some(measured) = known(report).filter(|_| !again) {
        return Some(measured);
    }
    errln!("vectors  measuring whether {WIDE} bits are faster than {USUAL} here: a few seconds, once");
    let started = Instant::now();
    let width = |bits: u32| doctor(report, bits, kernels);
    let commands = [USUAL, WIDE].map(|bits| {
        let mut command = width(bits)?;
        command.arg("--sprint");
        Some(command)
    });
    let [Some(usual), Some(wide)] = commands else { return None };
    let [usual_ns, wide_ns] = race([usual, wide]).map(|best: Option<Duration>| best.map(|best| best.as_nanos() as u64));
    // without a time to compare with, keep the default
    usual_ns?;
    let takes_wide =
        is_clearly_faster(usual_ns, wide_ns) && width(WIDE).is_some_and(|mut command| is_right(&mut command));
    let measured = Measured { subject, usual_ns, wide_ns, width: if takes_wide { WIDE } else { USUAL } };
    errln!("vectors  {measured} ({:.1} s)", started.elapsed().as_secs_f64());
    let text = serde_json::to_string_pretty(&measured).ok()? + "\n";
    atomic::write_shared(&path, text.as_bytes()).ok()?;
    Some(measured)
}

fn is_clearly_faster(usual_ns: Option<u64>, wide_ns: Option<u64>) -> bool {
    usual_ns.zip(wide_ns).is_some_and(|(usual, wide)| wide as f64 <= usual as f64 * CLEARLY)
}

/// Whether the device computes small models correctly.
fn is_right(command: &mut Command) -> bool {
    let quick = command.arg("--quick").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    run_child(quick).is_some_and(|status| status.success())
}

/// `tril doctor` on the device with vectors of `bits` bits.
fn doctor(report: &AdapterReport, bits: u32, kernels: &Path) -> Option<Command> {
    let mut command = itself()?;
    // the device's name ends in its width
    let name = report.name.split(" (").next().unwrap_or(&report.name);
    command.args(["doctor", "--device", name]).env(WIDTH, bits.to_string());
    if bits == WIDE {
        command.env(KERNELS, kernels);
    }
    Some(command)
}

/// Replaces this process by the same command with wide vectors; returns only on failure.
#[cfg(unix)]
fn restart(kernels: &Path) {
    use std::os::unix::process::CommandExt;
    let Some(mut command) = itself() else { return };
    let _ = command.args(std::env::args_os().skip(1)).env(WIDTH, WIDE.to_string()).env(KERNELS, kernels).exec();
}

#[cfg(not(unix))]
fn restart(_: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Caps;

    #[test]
    fn only_a_narrow_llvmpipe_has_a_choice() {
        let device = |name: &str, kind: &str| AdapterReport {
            name: name.into(),
            backend: "vulkan".into(),
            driver: "a driver".into(),
            kind: kind.into(),
            caps: Caps::lavapipe(),
            subgroup_size: (8, 8),
            features: vec![],
        };
        assert!(has_a_choice(&device("llvmpipe (LLVM 15.0.6, 256 bits)", "software")));
        assert!(!has_a_choice(&device("llvmpipe (LLVM 15.0.6, 512 bits)", "software")));
        assert!(!has_a_choice(&device("llvmpipe (LLVM 15.0.6, 128 bits)", "software")));
        assert!(!has_a_choice(&device("SwiftShader Device (Subzero)", "software")));
        assert!(!has_a_choice(&device("AMD Radeon RX 7900 XT (RADV NAVI31)", "discrete")));
    }

    #[test]
    fn wide_vectors_must_be_clearly_faster_and_work() {
        let cases = [
            (Some(100), Some(94), true),
            (Some(100), Some(96), false),
            (Some(100), Some(300), false),
            (Some(100), None, false),
            (None, Some(100), false),
            (None, None, false),
        ];
        for (usual, wide, taken) in cases {
            assert_eq!(is_clearly_faster(usual, wide), taken, "{usual:?} {wide:?}");
        }
    }
}
