use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Outcome;
use super::settings::{DeviceArgs, SettingsArgs};
use crate::graph::Phase;
use crate::kernel::{Caps, Choice};
use crate::plan::human_bytes;
use crate::train::Session;

/// Show what a configuration needs on a device, before anything is allocated.
///
/// Plans a training step on the CPU alone: parameters, memory by role, dispatches, the largest binding, the work of a step,
/// and whether it fits the device. Exits with 1 if it doesn't.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Tokens in the vocabulary [default: the preset's; a run takes its tokenizer's].
    #[arg(long, value_name = "N")]
    vocab_size: Option<u64>,
    /// Plan for these limits instead of a device that is there.
    #[arg(long, value_enum, conflicts_with = "device")]
    limits: Option<Limits>,
    /// List every dispatch.
    #[arg(long)]
    dispatches: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Limits {
    /// WebGPU's default limits: bindings of 128 MiB, buffers of 256 MiB.
    Webgpu,
    /// A desktop GPU's.
    Desktop,
    /// Mesa's software device.
    Lavapipe,
}

pub(super) fn run(args: &PlanArgs) -> Outcome {
    let mut config = args.settings.resolve()?;
    if let Some(vocab_size) = args.vocab_size {
        config.model.vocab_size = vocab_size;
    }
    config.validate()?;
    let caps = match args.limits {
        Some(Limits::Webgpu) => Caps::webgpu_default(),
        Some(Limits::Desktop) => Caps::desktop(),
        Some(Limits::Lavapipe) => Caps::lavapipe(),
        None => args.device.find()?.caps,
    };
    let plan = Session::plan(&config.session(), &caps, &Choice::default())?;
    let m = &config.model;
    outln!(
        "model            {} layers, {} heads, {} channels, block {}, vocabulary {}",
        m.n_layer,
        m.n_head,
        m.n_embd,
        m.block_size,
        m.vocab_size
    );
    outln!("parameters       {}", m.n_param());
    outln!("recompute        {}", config.train.recompute);
    outln!("{plan}");
    let flops: u64 = plan.cost.iter().map(|(phase, cost)| cost.flops * repeats(*phase, config.train.grad_accum)).sum();
    outln!("step             {} tokens, {:.3} GFLOP", config.tokens_per_step(), flops as f64 / 1e9);
    if args.dispatches {
        outln!("dispatches");
        for step in &plan.steps {
            let d = &step.dispatch;
            outln!("  {:<34} {:<34} {:?}", format!("{}/{}", d.kernel.name, d.variant.name), step.label, d.groups);
        }
    }
    match available_bytes().filter(|_| caps.is_cpu) {
        Some(free) if plan.total_bytes() > free => {
            let (need, free) = (human_bytes(plan.total_bytes()), human_bytes(free));
            outln!(
                "fits             no: it needs {need}, and {free} of memory are free; lower --batch-size or --block-size"
            );
            return Ok(ExitCode::FAILURE);
        }
        Some(free) => {
            outln!("fits             yes: within the device's limits, and {} of memory are free", human_bytes(free))
        }
        None => outln!(
            "fits             yes, within the device's limits; how much memory a GPU has free, drivers don't say: it needs {}",
            human_bytes(plan.total_bytes())
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn repeats(phase: Phase, grad_accum: u64) -> u64 {
    match phase {
        Phase::MicroBatch => grad_accum,
        Phase::Update => 1,
    }
}

/// Memory that a software device can take, where the system says so (Linux).
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
