use std::fmt;

use serde::{Deserialize, Serialize};

use super::system;
use crate::gpu::Gpu;
use crate::speed::Peaks;

/// The results of one preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresetResult {
    /// Its name.
    pub preset: String,
    /// Trained parameters.
    pub n_param: u64,
    /// B: rows per step.
    pub batch_size: u64,
    /// T: tokens per row.
    pub t: u64,
    /// Steps measured.
    pub steps: u64,
    /// Tokens per second, from the median step.
    pub tokens_per_s: f64,
    /// Duration of the median step.
    pub ms_per_step: f64,
    /// Mean duration of all steps.
    pub mean_ms_per_step: f64,
    /// Duration of the shortest step.
    pub best_ms_per_step: f64,
    /// The model's floating-point operations per second, 10^9 ([`crate::model::ModelConfig::train_flops`]).
    pub gflops: f64,
    /// The same as a fraction of this device's measured matrix product.
    pub mfu: f64,
    /// Dispatches per step.
    pub dispatches_per_step: f64,
    /// Command buffers per step.
    pub command_buffers_per_step: f64,
    /// CPU time of the submitting thread, per dispatch.
    pub host_us_per_dispatch: f64,
    /// Time from an open device to the first step's results, including compilation.
    pub first_step_s: f64,
    /// Device memory according to the plan.
    pub plan_mib: f64,
    /// Peak resident memory of the process, if the system reports it. It includes a software device's memory.
    pub peak_memory_mib: Option<f64>,
    /// The loss of the first step, nats: near ln V.
    pub first_loss: f32,
    /// The loss of the last step, on the same batch.
    pub last_loss: f32,
    /// Steps done before the last loss, including warm-up.
    pub steps_done: u64,
}

/// Results with everything needed to compare them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// tril's version.
    pub tril: String,
    /// The date and time, in UTC.
    pub date: String,
    /// The adapter's name.
    pub adapter: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    /// The operating system.
    pub os: String,
    /// The processor's architecture.
    pub arch: String,
    /// Number of hardware threads.
    pub n_thread: usize,
    /// The device's measured matrix product, 10^9 floating-point operations per second.
    pub peak_gflops: f64,
    /// The device's measured addition of tensors, 10^9 bytes per second.
    pub peak_gbytes_per_s: f64,
    /// The results, by preset.
    pub results: Vec<PresetResult>,
}

impl BenchReport {
    pub(super) fn new(gpu: &Gpu, peaks: Peaks, results: Vec<PresetResult>) -> Self {
        let report = gpu.report();
        Self {
            tril: env!("CARGO_PKG_VERSION").into(),
            date: system::now(),
            adapter: report.name.clone(),
            backend: report.backend.clone(),
            driver: report.driver.clone(),
            kind: report.kind.clone(),
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            n_thread: std::thread::available_parallelism().map_or(0, usize::from),
            peak_gflops: peaks.flops_per_s / 1e9,
            peak_gbytes_per_s: peaks.bytes_per_s / 1e9,
            results,
        }
    }

    /// Formats the report as one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|e| panic!("every figure has a JSON form: {e}"))
    }
}

impl PresetResult {
    /// The table's heading for rows printed with `Display`.
    pub const HEADING: &'static str =
        "preset  parameters    B    T    tok/s    ms/step  GFLOP/s   MFU  host us/dispatch  first step   memory";
}

impl fmt::Display for PresetResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.peak_memory_mib.map_or("-".into(), |mib| format!("{mib:.0} MiB"));
        write!(
            f,
            "{:<7} {:>10} {:>4} {:>4} {:>8.0} {:>10.2} {:>8.2} {:>4.0}% {:>10.2} x{:>4.0} {:>9.2} s {memory:>8}",
            self.preset,
            self.n_param,
            self.batch_size,
            self.t,
            self.tokens_per_s,
            self.ms_per_step,
            self.gflops,
            self.mfu * 100.0,
            self.host_us_per_dispatch,
            self.dispatches_per_step,
            self.first_step_s
        )
    }
}
