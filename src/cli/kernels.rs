use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Outcome;
use super::plan::{Limits, process_bytes};
use super::settings::{DeviceArgs, SettingsArgs};
use crate::emit::{self, KernelEntry};
use crate::kernel::Choice;
use crate::train::Session;
use crate::train::memory::{FitError, SharesMemory};
use crate::units::{count, human_bytes};

/// List the shaders of a training step, and write them to files for the compilers of other devices.
///
/// With --emit, each shader is written as tril specialises it, in WGSL and, translated by naga, in SPIR-V (.spv), MSL
/// (.metal) and HLSL (.hlsl), with a manifest.json that lists its dispatches, workgroup and bindings. Nothing is run:
/// --limits desktop --family gpu shows on any machine what a GPU would run.
#[derive(Debug, Args)]
pub(super) struct KernelsArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Vocabulary size [default: the preset's; a run uses its tokenizer's].
    #[arg(long, value_name = "N")]
    vocab_size: Option<u64>,
    /// Plan for these limits instead of this machine's device.
    #[arg(long, value_enum, conflicts_with = "device")]
    limits: Option<Limits>,
    /// Which kernels to use [default: those of the device or limits].
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Write the shaders and manifest.json to this folder; must be empty or new.
    #[arg(long, value_name = "DIR")]
    emit: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Family {
    /// For GPUs: tiles in workgroup memory.
    Gpu,
    /// For software devices: no workgroup memory, no barriers, subgroups if available.
    Cpu,
}

pub(super) fn run(args: &KernelsArgs) -> Outcome {
    let mut config = args.settings.resolve()?;
    if let Some(vocab_size) = args.vocab_size {
        config.model.vocab_size = vocab_size;
    }
    args.settings.check(&config)?;
    args.settings.check_batch()?;
    let (mut caps, shares) = match args.limits {
        Some(limits) => (limits.caps(), limits.caps().is_cpu),
        None => {
            let adapter = args.device.find()?;
            let shares = adapter.shares_memory();
            (adapter.caps, shares)
        }
    };
    // this settles the micro-batch; a configuration that doesn't fit this machine may be meant for another
    let fitted = args.settings.fit(&mut config, &caps, SharesMemory(shares), process_bytes(args.limits.is_some()));
    if let Err(error @ (FitError::Session(_) | FitError::Rows { .. })) = fitted {
        return Err(error.into());
    }
    let choice = match args.family {
        Some(Family::Gpu) => Choice::gpu_family(),
        _ => Choice::default(),
    };
    if let Some(family) = args.family {
        caps.is_cpu = matches!(family, Family::Cpu);
    }
    let plan = Session::plan(&config.session(), &caps, &choice)?;
    let Some(dir) = &args.emit else {
        let all: Vec<KernelEntry> = emit::kernels(&plan).into_iter().map(|(entry, _)| entry).collect();
        show(&all);
        return Ok(ExitCode::SUCCESS);
    };
    let manifest = emit::emit(&plan, dir)?;
    show(&manifest.kernels);
    let shaders = count(manifest.kernels.len(), "shader");
    outln!("wrote {shaders} in 4 languages and manifest.json to {}", dir.display());
    Ok(ExitCode::SUCCESS)
}

fn show(kernels: &[KernelEntry]) {
    outln!(
        "{:<46} {:>10} {:>11} {:>10} {:>12}  checksum",
        "kernel/variant",
        "dispatches",
        "invocations",
        "memory",
        "GFLOP"
    );
    for k in kernels {
        let n: u32 = k.workgroup.iter().product();
        let memory = human_bytes(u64::from(k.workgroup_bytes));
        let gflop = k.flops as f64 / 1e9;
        outln!("{:<46} {:>10} {n:>11} {memory:>10} {gflop:>12.3}  {}", k.name(), k.n_dispatch, k.checksum);
        let on: Vec<&str> = k.modes.iter().filter(|(_, v)| *v == "true").map(|(n, _)| n.as_str()).collect();
        if !on.is_empty() {
            outln!("  {}", on.join(" "));
        }
    }
}
