use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::misuse::misuse;
use super::phases::{self, Shows};
use super::settings::DeviceArgs;
use super::tune::{TuningArgs, tune_first};
use crate::bench::{BenchOptions, BenchPreset, PRESETS, PresetResult, USUAL, bench};
use crate::files::whole_file::WholeFile;

/// The usual presets, as a value of `--presets`.
static USUAL_NAMES: LazyLock<String> = LazyLock::new(|| USUAL.join(","));

/// Measure training speed on this device, to share the figures.
///
/// Trains models of fixed sizes on synthetic tokens and prints tokens per second, milliseconds per step (the median),
/// the model's GFLOP/s, and MFU: that rate as a share of the highest this device has reached, initially in a matrix
/// product. Presets: nano, xs (4 layers, 128 channels, T 128, B 8), s (6 layers, 384 channels, T 256, B 12), char, gpt2
/// (T 256, B 1).
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Presets to measure, separated by commas: nano, xs, s, char, gpt2.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = USUAL_NAMES.as_str())]
    presets: Vec<String>,
    /// Maximum steps per preset.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Time limit per preset, in seconds (at least three steps are run).
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Print the figures as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    tuning: TuningArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &BenchArgs) -> Outcome {
    let presets: Vec<BenchPreset> = args
        .presets
        .iter()
        .map(|name| BenchPreset::by_name(name))
        .collect::<Result<_, _>>()
        .map_err(|_| misuse(format!("--presets {}: choose from {}", args.presets.join(","), PRESETS.join(", "))))?;
    let time = Duration::try_from_secs_f64(args.seconds)
        .map_err(|_| misuse(format!("--seconds is {}, it must be a number, at least 0", args.seconds)))?;
    let out = args.out.as_ref().map(|path| WholeFile::begin("--out", path)).transpose()?;
    phases::show(if args.json { Shows::Lines } else { Shows::Live });
    let gpu = args.device.open()?;
    let sessions: Vec<_> = presets.iter().map(BenchPreset::session).collect();
    let (choice, kernels) = tune_first(&gpu, &sessions, &args.tuning, None)?;
    if !args.json {
        outln!("device  {}", gpu.name());
        if !kernels.is_empty() {
            outln!("kernels {kernels}");
        }
        outln!("{}", PresetResult::HEADING);
    }
    let mut names = args.presets.iter();
    let mut begin_next = move || names.next().into_iter().for_each(|name| phases::begin(format!("measuring {name}")));
    begin_next();
    let show = |result: &PresetResult| {
        begin_next();
        if !args.json {
            outln!("{result}");
        }
    };
    let report = bench(&gpu, &presets, &choice, &BenchOptions { steps: args.steps, time }, show)?;
    phases::end();
    if args.json {
        outln!("{}", report.to_json());
    } else {
        outln!(
            "peak    {:.1} GFLOP/s, the highest rate seen, initially in a matrix product; {:.1} GB/s adding tensors",
            report.peak_gflops,
            report.peak_gbytes_per_s
        );
    }
    if let Some(out) = out {
        out.write((report.to_json() + "\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
