use std::error::Error;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Outcome;
use super::estimate::{Measure, about, rates_of, step};
use super::settings::{DeviceArgs, Fit, SettingsArgs};
use crate::graph::Phase;
use crate::kernel::{Caps, Choice};
use crate::plan::Plan;
use crate::run::RunConfig;
use crate::train::Session;
use crate::train::memory::{FitError, MemoryBudget, MemoryEstimate, Process, SharesMemory, resident_bytes};
use crate::units::{count, human_bytes};

/// Show what a configuration needs on a device, before anything is allocated.
///
/// Plans a training step on the CPU alone: parameters, memory by role, dispatches, the largest binding, the work of a
/// step, and whether it fits the device. Exits with 1 if it doesn't.
///
/// The run's time is estimated from the device's speed. Once per device and driver, two small models are trained for a
/// few seconds and every op is timed; each op of the planned step then counts with its work and its dispatches.
/// Evaluations, samples and compiling are not included. With --limits there is no device to measure.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Vocabulary size [default: the preset's; a run uses its tokenizer's].
    #[arg(long, value_name = "N")]
    vocab_size: Option<u64>,
    /// Plan for these limits instead of this machine's device.
    #[arg(long, value_enum, conflicts_with = "device")]
    limits: Option<Limits>,
    /// Measure the device's speed again, for example because it was busy the first time.
    #[arg(long, conflicts_with = "limits")]
    measure: bool,
    /// List every dispatch.
    #[arg(long)]
    dispatches: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Limits {
    /// WebGPU's default limits: bindings of 128 MiB, buffers of 256 MiB.
    Webgpu,
    /// Limits of a desktop GPU.
    Desktop,
    /// Limits of Mesa's software device.
    Lavapipe,
}

pub(super) fn run(args: &PlanArgs) -> Outcome {
    let mut config = args.settings.resolve()?;
    if let Some(vocab_size) = args.vocab_size {
        config.model.vocab_size = vocab_size;
    }
    args.settings.check(&config)?;
    args.settings.check_batch()?;
    let (caps, shares) = match args.limits.map(Limits::caps) {
        Some(caps) => (caps.clone(), SharesMemory(caps.is_cpu)),
        None => {
            let adapter = args.device.find()?;
            let shares = SharesMemory(adapter.shares_memory());
            (adapter.caps, shares)
        }
    };
    let fitted = args.settings.fit(&mut config, &caps, shares, process_bytes(args.limits.is_some()));
    let fitted = match fitted {
        // a configuration without a plan has nothing to show
        Err(error @ (FitError::Session(_) | FitError::Rows { .. })) => return Err(error.into()),
        other => other,
    };
    let plan = Session::plan(&config.session(), &caps, &Choice::default())?;
    let m = &config.model;
    outln!(
        "model            {}, {}, {}, block {}, vocabulary {}",
        count(m.n_layer, "layer"),
        count(m.n_head, "head"),
        count(m.n_embd, "channel"),
        m.block_size,
        m.vocab_size
    );
    outln!("parameters       {}", m.n_param());
    outln!("recompute        {}", config.train.recompute);
    outln!("{plan}");
    let flops: u64 = plan.cost.iter().map(|(phase, cost)| cost.flops * repeats(*phase, config.train.grad_accum)).sum();
    outln!("step             {}, {:.3} GFLOP", count(config.tokens_per_step(), "token"), flops as f64 / 1e9);
    if args.dispatches {
        outln!("dispatches");
        for step in &plan.steps {
            let d = &step.dispatch;
            outln!("  {:<34} {:<34} {:?}", format!("{}/{}", d.kernel.name, d.variant.name), step.label, d.groups);
        }
    }
    match fitted {
        Err(error) => {
            outln!("fits             no: {error}");
            return Ok(ExitCode::FAILURE);
        }
        Ok(Fit { footprint, room, batch }) => {
            if let Some(batch) = batch {
                outln!("batch            {batch}");
            }
            show(&footprint, shares);
            match room {
                MemoryBudget::Unknown => outln!(
                    "fits             yes, within the device's limits; it needs {} of GPU memory, but drivers don't \
                     report how much is free (set a limit with --memory)",
                    human_bytes(footprint.device())
                ),
                room => outln!("fits             yes, within the device's limits and the available {room}"),
            }
            if args.limits.is_none() {
                outln!("{}", time(args, &config, &plan));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line with the run's estimated time on this machine's device.
fn time(args: &PlanArgs, config: &RunConfig, plan: &Plan) -> String {
    let measure = if args.measure { Measure::Again } else { Measure::Once };
    let opened = args.device.open().map_err(Box::<dyn Error>::from);
    match opened.and_then(|gpu| Ok(rates_of(&gpu, measure)?)) {
        Ok(rates) => {
            let (steps, step_s) = (config.train.steps, rates.step_s(plan, config.train.grad_accum));
            let (about, step, steps) = (about(step_s * steps as f64), step(step_s), count(steps, "step"));
            format!(
                "time             {about} for {steps} of {step}: an estimate for an idle machine, without evaluations"
            )
        }
        Err(error) => format!("time             unknown: the device's speed could not be measured: {error}"),
    }
}

/// The memory of the process when a run begins: what it takes now, with the drivers loaded, and what opening a device
/// adds.
pub(super) fn process_bytes(by_limits: bool) -> Process {
    // measured with llvmpipe
    const OPENED: u64 = 15 << 20;
    const DRIVER: u64 = 72 << 20;
    let resident = resident_bytes();
    let now = if by_limits || resident == 0 { DRIVER } else { resident + OPENED };
    Process { now, peak: now, compiles: false }
}

/// Prints the memory of the whole run, not only of the training program's buffers.
fn show(footprint: &MemoryEstimate, shares: SharesMemory) {
    let device = ("training", footprint.training, "the memory above");
    let mut rows = vec![
        device,
        ("evaluation", footprint.evaluation, "evaluation and samples, without what they share with training"),
        ("transfers", footprint.transfers, "parts of tensors in transfer"),
    ];
    let mut total = footprint.device();
    if shares.0 {
        rows.push(("kernels", footprint.kernels, "compiled code, estimated"));
        rows.push(("process", footprint.process.now, "tril and the drivers, measured, without the text"));
        total = footprint.total();
    }
    let place = if shares.0 { "in the process" } else { "on the device" };
    outln!("run              {} {place}", human_bytes(total));
    for (name, bytes, what) in rows {
        outln!("  {name:<14} {:>12}  {what}", human_bytes(bytes));
    }
}

impl Limits {
    pub(super) fn caps(self) -> Caps {
        match self {
            Self::Webgpu => Caps::webgpu_default(),
            Self::Desktop => Caps::desktop(),
            Self::Lavapipe => Caps::lavapipe(),
        }
    }
}

fn repeats(phase: Phase, grad_accum: u64) -> u64 {
    match phase {
        Phase::MicroBatch => grad_accum,
        Phase::Update => 1,
    }
}
