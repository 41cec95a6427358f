use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::Outcome;
use super::phases::{self, Amount, Shows};
use super::self_check::quick;
use super::settings::DeviceArgs;
use crate::doctor::{cases, check_model, verify};
use crate::speed::Sprint;
use crate::units::count;

/// Check every kernel against its CPU reference on this machine's adapter.
///
/// Runs every op's case table and a small model on the adapter and compares each result with the f64 reference on the
/// CPU. Prints the largest error of each op, as a share of the output's largest value and of what the op's error model
/// allows. Exits with 1 if anything fails.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    device: DeviceArgs,

    /// Run only the check that `tril train` makes before it first trains on a device: small models.
    #[arg(long)]
    quick: bool,

    /// For each line of standard input, time a small piece of work, in nanoseconds of processor time.
    #[arg(long, hide = true)]
    sprint: bool,
}

pub(super) fn run(args: &DoctorArgs) -> Outcome {
    phases::show(Shows::Live);
    let gpu = args.device.open()?;
    if args.sprint {
        let sprint = Sprint::new(&gpu)?;
        for line in std::io::stdin().lines() {
            line?;
            outln!("{}", sprint.run()?.as_nanos());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    outln!("device: {}", gpu.name());
    if args.quick {
        return Ok(match quick(&gpu) {
            Ok(()) => {
                outln!("small models: pass");
                ExitCode::SUCCESS
            }
            Err(e) => {
                outln!("small models: FAIL, {e}");
                ExitCode::FAILURE
            }
        });
    }
    outln!("{:<14} {:>5}  {:>12}  {:>10}  result", "op", "cases", "max error", "of allowed");
    let mut failures = vec![];
    let mut n_skipped = 0;
    for (stem, mut cases) in cases::all() {
        let n_all = cases.len();
        cases.retain(|case| case.choice.fits(gpu.caps()));
        n_skipped += n_all - cases.len();
        let (mut max_error, mut worst, mut failed) = (0f64, 0f64, 0);
        phases::begin(format!("checking {stem}"));
        for (case, done) in cases.iter().zip(0..) {
            phases::at(Amount { done, of: Some(cases.len() as u64), unit: "cases" });
            match verify(&gpu, case) {
                Ok(report) => {
                    max_error = max_error.max(report.max_error);
                    worst = worst.max(report.worst);
                }
                Err(e) => {
                    failed += 1;
                    failures.push(format!("{stem}, {}: {e}", case.name));
                }
            }
        }
        row(stem, cases.len(), max_error, worst, failed);
    }
    phases::begin("checking a whole model");
    match check_model(&gpu) {
        Ok(report) => row("whole model", 1, report.max_error, report.worst, 0),
        Err(e) => {
            failures.push(format!("whole model: {e}"));
            row("whole model", 1, 0.0, 0.0, 1);
        }
    }
    phases::end();
    if n_skipped > 0 {
        outln!("skipped {} of kernels that this device can't run and tril doesn't use on it", count(n_skipped, "case"));
    }
    for failure in &failures {
        outln!("FAILED {failure}");
    }
    outln!(
        "{} in {:.1} s on {}",
        if failures.is_empty() { "all passed" } else { "FAILED" },
        started.elapsed().as_secs_f64(),
        gpu.name()
    );
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(name: &str, n: usize, max_error: f64, worst: f64, failed: usize) {
    let result = if failed == 0 { "pass".to_string() } else { format!("FAIL ({failed})") };
    outln!("{name:<14} {n:>5}  {max_error:>12.3e}  {:>9.1}%  {result}", worst * 100.0);
}
