//! The speed at which a device trains, measured with two small models.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BenchPreset, batch};
use crate::exec::{ExecError, Timings};
use crate::gpu::Gpu;
use crate::model::{ConfigError, ModelConfig};
use crate::speed::{Rates, TimedStep};
use crate::train::{Session, SessionError};

/// How long to train each model once its kernels are compiled, and the minimum steps.
const SPAN: Duration = Duration::from_millis(700);
const MIN_STEPS: usize = 3;

/// Times the ops of two training steps: takes a few seconds, plus the time to compile the kernels.
///
/// # Errors
///
/// The device failed.
pub fn rates(gpu: &Arc<Gpu>) -> Result<Rates, SessionError> {
    let [small, large] = models(gpu.caps().is_cpu)?;
    let (small, large) = (time(gpu, &small)?, time(gpu, &large)?);
    let rates = Rates::of(small.step(), large.step());
    drop((small, large));
    // the model may use other kernels, and on a software device each takes megabytes
    gpu.forget_pipelines();
    Ok(rates)
}

/// A small model, in which dispatches matter, and one large enough to keep the device busy.
fn models(is_cpu: bool) -> Result<[BenchPreset; 2], ConfigError> {
    let of = |n_layer, n_head, n_embd, block_size, vocab_size, batch_size| -> Result<BenchPreset, ConfigError> {
        let sizes = ModelConfig { n_layer, n_head, n_embd, block_size, vocab_size, ..ModelConfig::preset("nano")? };
        Ok(BenchPreset { name: "rates", model: ModelConfig { dropout: 0.1, ..sizes }, batch_size })
    };
    if is_cpu {
        return Ok([of(2, 4, 128, 64, 128, 8)?, of(1, 6, 384, 256, 512, 4)?]);
    }
    Ok([of(2, 4, 128, 128, 128, 8)?, of(2, 12, 768, 1024, 8192, 8)?])
}

/// The minimum share of all cores' time that a software device uses when it has the machine to itself. If a step takes
/// longer than this allows, something else used the cores.
const BUSY: f64 = 0.9;

/// Number of threads that a software device computes with.
fn threads() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = std::env::var("LP_NUM_THREADS").ok().and_then(|n| n.parse::<usize>().ok()).filter(|&n| n > 0);
    asked.map_or(cores, |asked| asked.min(cores)) as f64
}

struct Timed {
    session: Session,
    timings: Timings,
    /// The shortest step whose dispatches weren't timed, seconds; for a software device, scaled as if nothing else had
    /// run.
    step_s: f64,
}

impl Timed {
    fn step(&self) -> TimedStep<'_> {
        TimedStep { plan: self.session.program().plan(), timings: &self.timings, step_s: self.step_s }
    }
}

fn time(gpu: &Arc<Gpu>, preset: &BenchPreset) -> Result<Timed, SessionError> {
    let mut session = Session::new(gpu, preset.session())?;
    let batch = batch(&preset.model, preset.batch_size, preset.model.block_size);
    let step = |session: &mut Session| -> Result<f64, SessionError> {
        let (spent, started) = (cpu_time::ProcessTime::try_now(), Instant::now());
        session.train_step(std::slice::from_ref(&batch), 1e-3)?;
        while session.wait()?.is_some() {}
        gpu.wait().map_err(ExecError::from)?;
        let (wall, spent) = (started.elapsed().as_secs_f64(), spent.and_then(|spent| spent.try_elapsed()));
        let alone = spent.map(|spent| spent.as_secs_f64() / threads() / BUSY);
        Ok(alone.ok().filter(|_| gpu.caps().is_cpu).map_or(wall, |alone| alone.min(wall)))
    };
    let several = |session: &mut Session| -> Result<f64, SessionError> {
        let (started, mut n, mut best) = (Instant::now(), 0, f64::INFINITY);
        while n < MIN_STEPS || started.elapsed() < SPAN {
            best = best.min(step(session)?);
            n += 1;
        }
        Ok(best)
    };
    // compiles the kernels
    step(&mut session)?;
    let step_s = several(&mut session)?;
    session.program().start_timing()?;
    several(&mut session)?;
    let timings = session.program().stop_timing();
    Ok(Timed { session, timings, step_s })
}
