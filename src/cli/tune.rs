mod long_run;

pub(super) use long_run::LongRun;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::phases::{self, Amount, Shows};
use super::settings::{DeviceArgs, SettingsArgs, SharesMemory, read_text};
use super::{Outcome, llvmpipe_width};
use crate::bench::BenchPreset;
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::run::RunConfig;
use crate::train::SessionConfig;
use crate::train::memory::Process;
use crate::tune::{Cache, Entry, OnDevice, Shapes, Tuned, Which, at_first_use, cache_dir, shapes_of, tune};
use crate::units::count;

/// Measure which kernel is fastest for each shape of a model on this device, and remember it.
///
/// Runs every matrix product of a training step with every kernel and variant that may be the fastest. Each is verified
/// first, and one that computes wrongly is never picked. Later runs on the same device and driver use the result as
/// long as the kernels are the same. On a GPU, `tril train` and `tril bench` also do this when they meet a new shape;
/// on a software device, `tril train` does so if it takes at most a fiftieth of the run. Takes the same settings as
/// `tril train`.
#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// Text of the run, which determines the vocabulary [default: the embedded stories].
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Vocabulary size, instead of a text.
    #[arg(long, value_name = "N", conflicts_with = "paths")]
    vocab_size: Option<u64>,
    /// Presets of `tril bench` to tune, separated by commas, instead of a run's model.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with_all = ["paths", "preset", "config", "vocab_size"])]
    bench: Vec<String>,
    /// Repeat earlier measurements.
    #[arg(long)]
    force: bool,
    /// Settings of the run that started this process.
    #[arg(long, hide = true, value_name = "TOML")]
    for_run: Option<String>,
    /// With --for-run: begin no measurement after this many seconds.
    #[arg(long, hide = true, value_name = "S", default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Whether to tune at first use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device")]
pub(super) struct TuningArgs {
    /// Choose kernels by the kind of device alone: measure nothing, and ignore earlier measurements.
    #[arg(long)]
    no_tune: bool,
}

pub(super) fn run(args: &TuneArgs) -> Outcome {
    if let Some(toml) = &args.for_run {
        let config = RunConfig::from_toml("--for-run", toml)?;
        let gpu = args.device.open()?;
        let dir = cache_dir().ok_or("this system has no cache folder")?;
        return long_run::tune_for_run(&config, args.seconds, &gpu, &mut Cache::open(&dir, &gpu));
    }
    let sessions = if args.bench.is_empty() { vec![of_run(args)?] } else { of_bench(&args.bench)? };
    let gpu = args.device.open()?;
    let dir = cache_dir().ok_or("this system has no cache folder; set one with TRIL_CACHE_DIR")?;
    let mut cache = Cache::open(&dir, &gpu);
    warn(&mut cache);
    outln!("device  {}", gpu.name());
    if let Some(line) = llvmpipe_width::line(gpu.report()) {
        outln!("vectors {line}");
    }
    let shapes = shapes_of(&gpu, &sessions)?;
    if shapes.is_empty() {
        outln!("nothing to measure: all matrix products of this model are too small for the choice to matter");
        return Ok(ExitCode::SUCCESS);
    }
    let which = if args.force { Which::All } else { Which::Missing };
    phases::show(Shows::Live);
    begin_tuning(&shapes);
    let mut done = 0;
    let show = |key: &str, entry: &Entry| {
        outln!("{}", table(key, entry));
        tuned_one(&mut done, &shapes);
    };
    let tuned = tune(&shapes, which, Duration::MAX, &mut cache, &mut OnDevice::new(&gpu), show)?;
    phases::end();
    warn(&mut cache);
    outln!("{}", summary(&tuned, &shapes));
    if tuned.n_measured < tuned.n_task {
        outln!("{} already measured; --force repeats them", tuned.n_task - tuned.n_measured);
    }
    outln!("saved in {}", cache.path().display());
    let unsound = tuned.entries.values().any(|entry| entry.laps.iter().any(|lap| lap.failed.is_some()));
    if unsound {
        errln!("warning: some kernels compute wrongly here and are not used; see `tril doctor`");
    }
    Ok(ExitCode::SUCCESS)
}

fn of_run(args: &TuneArgs) -> Result<SessionConfig, Box<dyn Error>> {
    args.settings.check_batch()?;
    let mut config;
    match args.vocab_size {
        Some(n) => {
            config = args.settings.resolve()?;
            config.model.vocab_size = n;
        }
        None => {
            (config, _) = args.settings.resolve_on(&args.paths)?;
            drop(read_text(&mut config, &args.paths, &args.settings)?);
        }
    }
    args.settings.check(&config)?;
    if args.settings.chooses_batch() {
        let adapter = args.device.find()?;
        let shares = SharesMemory(adapter.shares_memory());
        args.settings.fit(&mut config, &adapter.caps, shares, Process::now())?;
    }
    Ok(config.session())
}

fn of_bench(names: &[String]) -> Result<Vec<SessionConfig>, Box<dyn Error>> {
    let session = |name: &String| Ok(BenchPreset::by_name(name)?.session());
    names.iter().map(session).collect()
}

/// Chooses the fastest known kernels for these models, and measures unknown shapes. Also returns a line that says so, or an
/// empty one if there was nothing to choose.
///
/// On a software device only a long run measures, in a process of its own.
pub(super) fn tune_first(
    gpu: &Arc<Gpu>,
    sessions: &[SessionConfig],
    args: &TuningArgs,
    run: Option<LongRun<'_>>,
) -> Result<(Choice, String), Box<dyn Error>> {
    let Some(dir) = cache_dir().filter(|_| !args.no_tune) else { return Ok(Default::default()) };
    let mut cache = Cache::open(&dir, gpu);
    warn(&mut cache);
    let shapes = shapes_of(gpu, sessions)?;
    begin_tuning(&shapes);
    let learn = |cache: &Cache| run.map_or(Ok(false), |run| run.learn(gpu, cache, &shapes));
    let mut done = 0;
    let on = |_: &str, _: &Entry| tuned_one(&mut done, &shapes);
    let tuned = at_first_use(gpu, &mut cache, &shapes, learn, on)?;
    phases::end();
    warn(&mut cache);
    let (known, all) = (tuned.entries.len(), tuned.n_task);
    let line = match (tuned.n_measured, known) {
        _ if all == 0 => String::new(),
        (0, 0) => "chosen by the kind of device; `tril tune` measures which are fastest, and so does a long run".into(),
        (0, _) => format!("tuned before for {known} of {}; --no-tune ignores this", count(all, "shape")),
        (n, _) => {
            let rest =
                if known < all { format!("; `tril tune` measures the other {}", all - known) } else { String::new() };
            let seconds = tuned.took.as_secs_f64();
            format!(
                "tuned for {n} of {} in {seconds:.1} s, also for later runs; --no-tune skips this{rest}",
                count(all, "shape")
            )
        }
    };
    Ok((tuned.choice, line))
}

fn begin_tuning(shapes: &Shapes) {
    phases::begin("tuning kernels");
    phases::at(Amount { done: 0, of: Some(shapes.len() as u64), unit: "shapes" });
}

fn tuned_one(done: &mut u64, shapes: &Shapes) {
    *done += 1;
    phases::at(Amount { done: *done, of: Some(shapes.len() as u64), unit: "shapes" });
}

fn warn(cache: &mut Cache) {
    if let Some(warning) = cache.take_warning() {
        errln!("warning: {warning}");
    }
}

/// A table of a task's candidates, the fastest first.
fn table(key: &str, entry: &Entry) -> String {
    let mut laps: Vec<_> = entry.laps.iter().collect();
    laps.sort_by(|a, b| a.ms.unwrap_or(f64::INFINITY).total_cmp(&b.ms.unwrap_or(f64::INFINITY)));
    let line = |lap: &crate::tune::Measurement| {
        let mark = match (entry.pick.as_deref() == Some(&lap.candidate), entry.usual == lap.candidate) {
            (true, true) => "* usual",
            (true, false) => "*",
            (false, true) => "  usual",
            _ => "",
        };
        let speed = match (lap.ms, &lap.failed) {
            (Some(ms), None) => {
                format!("{ms:>9.3} ms {:>9.1} GFLOP/s {:>7.2} s first", entry.gflop / ms * 1e3, lap.compile_ms / 1e3)
            }
            (_, failed) => format!("FAILED {}", failed.as_deref().unwrap_or("to be timed")),
        };
        format!("\n  {mark:<8}{:<28} {speed}", lap.candidate)
    };
    format!("{key}{}", laps.into_iter().map(line).collect::<String>())
}

/// Describes what the picks gain over the usual kernels, over all products of the models.
fn summary(tuned: &Tuned, shapes: &Shapes) -> String {
    let (mut usual_ms, mut pick_ms, mut faster) = (0.0, 0.0, 0);
    for (key, entry) in &tuned.entries {
        let n = shapes.get(key).map_or(0.0, |(_, n)| *n as f64);
        let pick = entry.pick.as_deref().unwrap_or(&entry.usual);
        if let (Some(usual), Some(best)) = (entry.ms(&entry.usual), entry.ms(pick)) {
            (usual_ms, pick_ms) = (usual_ms + n * usual, pick_ms + n * best);
            faster += usize::from(pick != entry.usual);
        }
    }
    format!(
        "{} measured in {:.1} s; for {faster} of {} a kernel other than the usual one is faster: {pick_ms:.2} ms \
         instead of {usual_ms:.2} ms for all products",
        count(tuned.n_measured, "shape"),
        tuned.took.as_secs_f64(),
        tuned.n_task
    )
}
