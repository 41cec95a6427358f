//! Estimates how long a run takes, from the device's measured speed.

use std::fs;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::self_check::kernels_crc;
use crate::bench::rates;
use crate::files::atomic;
use crate::gpu::Gpu;
use crate::speed::Rates;
use crate::train::SessionError;
use crate::tune::cache_dir;

/// Whether to reuse an earlier measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Once,
    Again,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// The device and its kernels.
    subject: String,
    rates: Rates,
}

/// The rates of a device, measured once per device, driver and set of kernels, and then read from the cache folder.
///
/// # Errors
///
/// A failure of the device.
pub(super) fn rates_of(gpu: &Arc<Gpu>, measure: Measure) -> Result<Rates, SessionError> {
    let checks = if gpu.is_checked() { ", checked" } else { "" };
    let subject = format!("{}{checks} {:08x}", gpu.name(), kernels_crc());
    let path = cache_dir().map(|dir| dir.join(format!("speed-{:08x}.json", crc32fast::hash(subject.as_bytes()))));
    let read = |path: &std::path::PathBuf| serde_json::from_str::<Kept>(&fs::read_to_string(path).ok()?).ok();
    let kept = path.as_ref().and_then(read).filter(|kept| kept.subject == subject && measure == Measure::Once);
    if let Some(kept) = kept {
        return Ok(kept.rates);
    }
    let kept = Kept { subject, rates: rates(gpu)? };
    // without a cache folder, it is measured again next time
    if let (Some(path), Ok(text)) = (path, serde_json::to_string_pretty(&kept)) {
        let _ = path.parent().map_or(Ok(()), fs::create_dir_all);
        let _ = atomic::write_shared(&path, (text + "\n").as_bytes());
    }
    Ok(kept.rates)
}

/// A step's time, to two or three digits.
pub(super) fn step(seconds: f64) -> String {
    let (value, unit) = if seconds < 1.0 { (seconds * 1e3, "ms") } else { (seconds, "s") };
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {unit}")
}

/// A run's time, rounded as coarsely as an estimate deserves.
pub(super) fn about(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")];
    // a unit is used from 1.5 of it, so that rounding is off by at most a third
    let unit = UNITS.into_iter().find(|(unit, _)| seconds >= unit * 1.5);
    let Some((unit, name)) = unit else { return "about a second".into() };
    let n = seconds / unit;
    let coarse = |n: f64, by: f64| (n / by).round() * by;
    let n = match n {
        ..20.0 => coarse(n, 1.0),
        ..100.0 => coarse(n, 5.0),
        _ => coarse(n, 10f64.powf(n.log10().floor() - 1.0)),
    };
    format!("about {n:.0} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_time_is_rounded_to_a_convenient_unit() {
        for (seconds, words) in [
            (0.0, "about a second"),
            (1.2, "about a second"),
            (12.4, "about 12 seconds"),
            (47.0, "about 45 seconds"),
            (89.0, "about 90 seconds"),
            (95.0, "about 2 minutes"),
            (1234.0, "about 20 minutes"),
            (5399.0, "about 90 minutes"),
            (14_000.0, "about 4 hours"),
            (100_000.0, "about 30 hours"),
            (260_000.0, "about 3 days"),
            (31_557_600.0, "about 370 days"),
        ] {
            assert_eq!(about(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn a_step_has_two_digits() {
        for (seconds, words) in [
            (0.0004, "0.4 ms"),
            (0.0123, "12 ms"),
            (0.2341, "234 ms"),
            (2.94, "2.9 s"),
            (9.97, "10 s"),
            (125.0, "125 s"),
        ] {
            assert_eq!(step(seconds), words);
        }
    }
}
