//! The speed of training on this device: fixed models and synthetic tokens, with results that can be compared and
//! shared.

mod rates;
mod report;
mod system;

pub use rates::rates;
pub use report::{BenchReport, PresetResult};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::data::Batch;
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::model::{ConfigError, Memory, ModelConfig, ReadBack};
use crate::speed::Peaks;
use crate::train::{AdamwConfig, Session, SessionConfig, SessionError};

/// A model and a batch of fixed size.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchPreset {
    /// Its name.
    pub name: &'static str,
    /// The model.
    pub model: ModelConfig,
    /// Rows per step; each has as many tokens as the model's block.
    pub batch_size: u64,
}

/// The presets' names, smallest first.
pub const PRESETS: [&str; 5] = ["nano", "xs", "s", "char", "gpt2"];

/// The presets measured by default.
pub const USUAL: [&str; 3] = ["nano", "xs", "s"];

impl BenchPreset {
    /// Returns a preset by name: `nano` and `char` as in `tril train`, `xs` (4 layers, 4 heads, C 128, T 128, V 256, B
    /// 8), `s` (6 layers, 6 heads, C 384, T 256, V 65, B 12, without dropout) and `gpt2` (124M, T 256, B 1).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Preset`], which lists the names.
    pub fn by_name(name: &str) -> Result<Self, ConfigError> {
        let model = ModelConfig::preset;
        Ok(match name {
            "nano" => Self { name: "nano", model: model("nano")?, batch_size: 12 },
            "xs" => {
                let model = ModelConfig { block_size: 128, vocab_size: 256, ..model("nano")? };
                Self { name: "xs", model, batch_size: 8 }
            }
            "s" => Self { name: "s", model: ModelConfig { dropout: 0.0, ..model("char")? }, batch_size: 12 },
            "char" => Self { name: "char", model: model("char")?, batch_size: 64 },
            "gpt2" => Self { name: "gpt2", model: ModelConfig { block_size: 256, ..model("gpt2")? }, batch_size: 1 },
            other => return Err(ConfigError::Preset(other.into(), PRESETS.join(", "))),
        })
    }
}

impl BenchPreset {
    /// The session to measure.
    pub fn session(&self) -> SessionConfig {
        SessionConfig {
            model: self.model.clone(),
            batch_size: self.batch_size,
            t: self.model.block_size,
            micro_batches: 1,
            optimizer: AdamwConfig::default(),
            seed: 1337,
            keep: ReadBack::default(),
            memory: Memory::default(),
            document_mask: false,
        }
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BenchOptions {
    /// Maximum steps per preset.
    pub steps: u64,
    /// Time limit per preset, after three steps.
    pub time: Duration,
}

/// Steps before the first that counts, in which kernels are compiled, command buffers reach their size and the queue
/// fills.
const WARM_UP: u64 = 4;
const MIN_STEPS: usize = 3;

/// Measures presets one after another; `on` receives each result as soon as it is known.
///
/// # Errors
///
/// A model doesn't fit, or the device failed.
pub fn bench(
    gpu: &Arc<Gpu>,
    presets: &[BenchPreset],
    choice: &Choice,
    options: &BenchOptions,
    mut on: impl FnMut(&PresetResult),
) -> Result<BenchReport, SessionError> {
    let mut peaks = Peaks::measure(gpu, choice)?;
    let mut results: Vec<PresetResult> = vec![];
    for preset in presets {
        let result = measure(gpu, preset, choice, options, &mut peaks)?;
        // a preset that beat the peak has raised it for the earlier ones too
        results.iter_mut().for_each(|before| before.mfu = peaks.mfu(before.gflops * 1e9));
        on(&result);
        results.push(result);
    }
    Ok(BenchReport::new(gpu, peaks, results))
}

fn measure(
    gpu: &Arc<Gpu>,
    preset: &BenchPreset,
    choice: &Choice,
    options: &BenchOptions,
    peaks: &mut Peaks,
) -> Result<PresetResult, SessionError> {
    system::forget_peak_memory();
    let began = Instant::now();
    let (b, t) = (preset.batch_size, preset.model.block_size);
    let mut session = Session::with_kernels(gpu, preset.session(), choice)?;
    let batch = batch(&preset.model, b, t);
    let mut losses = vec![];
    let mut step = |session: &mut Session| -> Result<Duration, SessionError> {
        let started = Instant::now();
        session.train_step(std::slice::from_ref(&batch), 1e-3)?;
        while let Some(result) = session.poll()? {
            losses.push(result.loss);
        }
        Ok(started.elapsed())
    };
    step(&mut session)?;
    let first = session.wait()?;
    let first_step_s = began.elapsed().as_secs_f64();
    for _ in 1..WARM_UP {
        step(&mut session)?;
    }
    // the queue is full: a step returns when the oldest in flight is done, so each takes as long as the device needs
    let (started, host) = (Instant::now(), session.program().host_time());
    let mut took = vec![];
    let steps = usize::try_from(options.steps).unwrap_or(usize::MAX).max(1);
    while took.len() < steps && (took.len() < MIN_STEPS || started.elapsed() < options.time) {
        took.push(step(&mut session)?.as_secs_f64());
    }
    let mean = started.elapsed().as_secs_f64() / took.len() as f64;
    let host = session.program().host_time().since(host);
    losses.splice(0..0, first.map(|result| result.loss));
    while let Some(result) = session.wait()? {
        losses.push(result.loss);
    }
    took.sort_by(f64::total_cmp);
    let (n, median) = (took.len() as f64, took[took.len() / 2]);
    let flops = preset.model.train_flops(b, t) as f64;
    Ok(PresetResult {
        preset: preset.name.into(),
        n_param: preset.model.n_param(),
        batch_size: b,
        t,
        steps: took.len() as u64,
        tokens_per_s: (b * t) as f64 / median,
        ms_per_step: median * 1e3,
        mean_ms_per_step: mean * 1e3,
        best_ms_per_step: took[0] * 1e3,
        gflops: flops / median / 1e9,
        mfu: peaks.mfu(flops / median),
        dispatches_per_step: host.n_dispatch as f64 / n,
        command_buffers_per_step: host.n_submit as f64 / n,
        host_us_per_dispatch: host.us_per_dispatch(),
        first_step_s,
        plan_mib: session.program().plan().total_bytes() as f64 / f64::from(1 << 20),
        peak_memory_mib: system::peak_memory_mib(),
        first_loss: losses.first().copied().unwrap_or(f32::NAN),
        last_loss: losses.last().copied().unwrap_or(f32::NAN),
        steps_done: losses.len() as u64,
    })
}

/// Meaningless tokens, the same on every machine and spread over the vocabulary.
fn batch(model: &ModelConfig, b: u64, t: u64) -> Batch {
    let id = |i: u64| u32::try_from((i * 31 + i / 7) % model.vocab_size).unwrap_or(0);
    let (rows, positions) = (usize::try_from(b).unwrap_or(0), usize::try_from(t).unwrap_or(0));
    Batch {
        tokens: (0..b * t).map(id).collect(),
        targets: (1..=b * t).map(id).collect(),
        firsts: vec![],
        b: rows,
        t: positions,
    }
}
