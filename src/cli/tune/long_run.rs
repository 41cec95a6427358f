//! What a long run on a software device learns before its first step.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use super::{Shapes, Which, begin_tuning, shapes_of, tuned_one};
use crate::cli::itself::itself;
use crate::cli::settings::DeviceArgs;
use crate::exec::ExecError;
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::run::RunConfig;
use crate::speed::matmul_peak;
use crate::tune::{Cache, Entry, OnDevice, tune};

/// A run that is about to begin, or to go on on another device.
pub(in crate::cli) struct LongRun<'a> {
    pub config: &'a RunConfig,
    /// Steps that are left.
    pub steps: u64,
    pub device: &'a DeviceArgs,
}

/// The share of a run's time that finding faster kernels may take. They save a tenth or so.
const SHARE: f64 = 0.02;
/// The least that is worth a beginning: kernels are compiled first, which takes a second each on some drivers.
const LEAST: Duration = Duration::from_secs(5);
/// The most: by then all shapes of a model are measured, unless a driver's compiler is very slow.
const MOST: Duration = Duration::from_secs(60);

impl LongRun<'_> {
    fn flops(&self) -> f64 {
        let (model, train) = (&self.config.model, &self.config.train);
        let step = model.train_flops(train.batch_size, self.config.row_size()) as f64 * train.grad_accum as f64;
        step * self.steps as f64
    }

    /// How long measuring may take; `None` where the run is too short for any.
    fn budget(&self, gpu: &Arc<Gpu>) -> Result<Option<Duration>, ExecError> {
        /// Operations per second of a software device that is slower than any.
        const SLOW: f64 = 5e9;
        if budget(self.flops() / SLOW).is_none() {
            return Ok(None);
        }
        Ok(budget(self.flops() / matmul_peak(gpu, &Choice::default())?))
    }

    /// Measures what the cache lacks, in a process of its own: what its driver takes to compile a hundred kernels would stay
    /// with the run. Where that process fails, the run goes by rule. Whether there was such a process.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn learn(&self, gpu: &Arc<Gpu>, cache: &Cache, shapes: &Shapes) -> Result<bool, ExecError> {
        let is_known = shapes.values().all(|(task, _)| cache.knows(task, gpu.caps()));
        let budget = if is_known { None } else { self.budget(gpu)? };
        let (Some(budget), Some(mut command)) = (budget, itself()) else { return Ok(false) };
        let seconds = budget.as_secs().to_string();
        let config = self.config.to_toml();
        command.args(["tune", "--for-run", &config, "--seconds", &seconds]).args(self.device.as_flags());
        // its end of the pipe tells the other process when this one is gone; what it said or failed at is in the cache, or isn't
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let _ = child.and_then(|mut child| {
            let lifeline = child.stdin.take();
            // a line for each shape that is measured
            let said = child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
            let mut done = 0;
            said.map_while(Result::ok).for_each(|_| tuned_one(&mut done, shapes));
            let ended = child.wait();
            drop(lifeline);
            ended
        });
        Ok(true)
    }
}

/// What of a run of so many seconds, at the very least, may be spent on measuring.
fn budget(run_s: f64) -> Option<Duration> {
    let budget = Duration::try_from_secs_f64(run_s * SHARE).unwrap_or(MOST).min(MOST);
    (budget >= LEAST).then_some(budget)
}

/// Ends this process when the one that started it is gone, and with it the other end of standard input.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // what runs at an orderly exit may trip over threads that still use the device
        #[cfg(unix)]
        signal_hook::low_level::exit(1);
        #[cfg(not(unix))]
        std::process::exit(1);
    });
}

/// What the other process does.
pub(super) fn tune_for_run(config: &RunConfig, seconds: u64, gpu: &Arc<Gpu>, cache: &mut Cache) -> super::Outcome {
    end_with_parent();
    let shapes = shapes_of(gpu, &[config.session()])?;
    begin_tuning(&shapes);
    let mut done = 0;
    let on = |key: &str, _: &Entry| {
        outln!("{key}");
        tuned_one(&mut done, &shapes);
    };
    tune(&shapes, Which::Missing, Duration::from_secs(seconds), cache, &mut OnDevice::new(gpu), on)?;
    Ok(std::process::ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_run_measures_and_never_for_more_than_a_share_of_it() {
        let seconds = |run_s: f64| budget(run_s).map(|budget| budget.as_secs_f64());
        assert_eq!(seconds(0.0), None);
        assert_eq!(seconds(240.0), None);
        assert_eq!(seconds(300.0), Some(6.0));
        assert_eq!(seconds(2000.0), Some(40.0));
        assert_eq!(seconds(1e6), Some(60.0));
        assert_eq!(seconds(f64::INFINITY), Some(60.0));
    }
}
