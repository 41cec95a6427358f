//! Tuning at the start of a long run on a software device, in a separate process.

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

/// A run that is about to begin, or to resume on another device.
pub(in crate::cli) struct LongRun<'a> {
    pub config: &'a RunConfig,
    /// Steps left.
    pub steps: u64,
    pub device: &'a DeviceArgs,
}

/// The share of a run's time that tuning may take. Faster kernels save about a tenth.
const SHARE: f64 = 0.02;
/// The minimum budget worth starting: kernels are compiled first, which takes a second each on some drivers.
const MIN_BUDGET: Duration = Duration::from_secs(5);
/// The maximum budget: by then all shapes of a model are measured, unless a driver's compiler is very slow.
const MAX_BUDGET: Duration = Duration::from_secs(60);

impl LongRun<'_> {
    fn flops(&self) -> f64 {
        let (model, train) = (&self.config.model, &self.config.train);
        let step = model.train_flops(train.batch_size, self.config.row_size()) as f64 * train.grad_accum as f64;
        step * self.steps as f64
    }

    /// The time limit for measuring; `None` if the run is too short.
    fn budget(&self, gpu: &Arc<Gpu>) -> Result<Option<Duration>, ExecError> {
        /// Operations per second of a device slower than any real one.
        const SLOW: f64 = 5e9;
        if budget(self.flops() / SLOW).is_none() {
            return Ok(None);
        }
        Ok(budget(self.flops() / matmul_peak(gpu, &Choice::default())?))
    }

    /// Measures what the cache lacks, in a separate process: the memory in which a driver compiles a hundred kernels
    /// would stay with the run. If that process fails, kernels are chosen by rule. Returns whether a process was to be
    /// started.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn learn(&self, gpu: &Arc<Gpu>, cache: &Cache, shapes: &Shapes) -> Result<bool, ExecError> {
        let is_known = shapes.values().all(|(task, _)| cache.knows(task, gpu.caps()));
        let budget = if is_known { None } else { self.budget(gpu)? };
        let (Some(budget), Some(mut command)) = (budget, itself()) else { return Ok(false) };
        let seconds = budget.as_secs().to_string();
        let config = self.config.to_toml();
        command.args(["tune", "--for-run", &config, "--seconds", &seconds]).args(self.device.as_flags());
        // the child notices by its stdin when this process is gone; its results are in the cache, whether it fails or
        // not
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let _ = child.and_then(|mut child| {
            let lifeline = child.stdin.take();
            // one line per measured shape
            let lines = child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
            let mut done = 0;
            lines.map_while(Result::ok).for_each(|_| tuned_one(&mut done, shapes));
            let ended = child.wait();
            drop(lifeline);
            ended
        });
        Ok(true)
    }
}

/// The time for measuring in a run of at least `run_s` seconds.
fn budget(run_s: f64) -> Option<Duration> {
    let budget = Duration::try_from_secs_f64(run_s * SHARE).unwrap_or(MAX_BUDGET).min(MAX_BUDGET);
    (budget >= MIN_BUDGET).then_some(budget)
}

/// Ends this process when its parent is gone, which closes the other end of standard input.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // exit handlers may crash while other threads still use the device
        #[cfg(unix)]
        signal_hook::low_level::exit(1);
        #[cfg(not(unix))]
        std::process::exit(1);
    });
}

/// Runs in the child process: measures and prints a line per shape.
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
    fn only_a_long_run_measures_for_at_most_a_share_of_it() {
        let seconds = |run_s: f64| budget(run_s).map(|budget| budget.as_secs_f64());
        assert_eq!(seconds(0.0), None);
        assert_eq!(seconds(240.0), None);
        assert_eq!(seconds(300.0), Some(6.0));
        assert_eq!(seconds(2000.0), Some(40.0));
        assert_eq!(seconds(1e6), Some(60.0));
        assert_eq!(seconds(f64::INFINITY), Some(60.0));
    }
}
