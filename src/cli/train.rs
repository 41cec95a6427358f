mod clock;
mod fine_tune;
mod printer;
mod stopping;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use self::printer::Printer;
use self::stopping::Stopping;
use super::misuse::misuse;
use super::phases::{self, Shows};
use super::reading;
use super::run_text::text_again;
use super::self_check::{WRONG, self_check};
use super::settings::{DeviceArgs, Fit, Read, SettingsArgs, read_text};
use super::tune::{LongRun, TuningArgs, tune_first};
use super::{DEVICE_LOST, OUT_OF_MEMORY, Outcome, code_of, must_be_writable};
use crate::data::{Corpus, DataError, Findings, Mode, Source, Tokenizer};
use crate::exec::ExecError;
use crate::files::shell::quoted;
use crate::gpu::{Gpu, GpuError};
use crate::kernel::Choice;
use crate::run::prepare::name_of;
use crate::run::{OpenRun, RunClaim, RunConfig};
use crate::train::memory::{self, Free, MemoryBudget, Process, SharesMemory};
use crate::train::{Event, Run, RunError, SessionError};
use crate::units::count;

/// Train a model on text; without a path, on the embedded stories.
///
/// Trains a decoder-only transformer. PATH is a text file, a folder of them, or - for standard input; with no path, tril
/// trains on small stories drawn from an embedded grammar whose entropy is known, with --preset stories. Ctrl-C, SIGTERM and SIGHUP finish
/// the step, save, and say how to go on; before the first step they end it at once.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Text files, folders, or - for standard input. .gz and .zst are unpacked; a line of .jsonl or .ndjson is an object whose
    /// "text" is a document. Or token files of nanoGPT, llm.c or `tril tokenize` (.bin) or NumPy (.npy), or a folder of them; quoted patterns
    /// such as 'train_*.bin' are expanded. With --resume: where the run's text or token files are now; it is remembered.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Where the run goes; must not exist yet [default: runs/NAME-1, or the next number that is free].
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Resume a run from its last checkpoint, bit for bit. Flags that change no result apply, and are remembered: --steps,
    /// --eval-every, --sample-every, --checkpoint-every, --keep, --recompute. This is also how an imported run starts: with PATH
    /// and every setting but the model's.
    #[arg(long, value_name = "RUN", conflicts_with = "preset")]
    resume: Option<PathBuf>,
    /// Time every dispatch of N steps [default: 5] after a few to warm up, print where the time went, and go on.
    ///
    /// The table has a line for each op and for each of its kernels: calls, time and share of a step, the rates, and the
    /// percentage of the most that this device has shown (F: floating-point operations, at first in a matrix product; B: bytes
    /// moved, at first in an addition). Results are the same as without.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "5", value_parser = clap::value_parser!(u64).range(1..=1000))]
    profile: Option<u64>,
    /// Where the profile's trace goes, one event per dispatch, for ui.perfetto.dev [default: trace.json in the run].
    #[arg(long, value_name = "FILE", requires = "profile")]
    trace: Option<PathBuf>,
    /// One JSON object a line on standard output, instead of a progress bar.
    #[arg(long)]
    json: bool,
    /// Where the device is lost or out of memory on the way, begin again from the last checkpoint.
    #[arg(long)]
    auto_resume: bool,
    #[command(flatten)]
    tuning: TuningArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &TrainArgs) -> Outcome {
    phases::show(if args.json { Shows::Lines } else { Shows::Live });
    let stopping = Stopping::begin(args.resume.clone());
    let mut trace = args.trace.as_ref().map(|trace| must_be_writable("--trace", trace)).transpose()?;
    let Started { mut run, root, device, fit, kernels, preset, chosen } = match &args.resume {
        Some(root) => resume(args, root)?,
        None => create(args)?,
    };
    let printer = Printer::new(args.json, &run, &device);
    printer.header(&run, &root, &fit, args.resume.is_some());
    if let (Some(preset), false) = (preset, args.json) {
        printer.say(&format!("preset   {preset}"));
    }
    if let (Some(chosen), false) = (chosen, args.json) {
        printer.say(&format!("tokens   {chosen}"));
    }
    if !args.json && !kernels.is_empty() {
        printer.say(&format!("kernels  {kernels}"));
    }
    for line in run.warnings().iter().cloned().chain(run.config().schedule().short_of_peak()) {
        errln!("warning: {line}");
    }
    if let Some(device) = run.moved_from() {
        errln!("warning: the checkpoint is from {device} with other kernels; from here on, results differ in rounding");
    }
    if let Some(n_step) = args.profile {
        run.profile(n_step, args.trace.clone())?;
    }
    let mut fault = Fault::from_env()?;
    let mut tries = 0;
    let summary = loop {
        let (gpu, began) = (run.session().program().gpu().clone(), run.step());
        let trained = run.train(&stopping.flag, |event| {
            if let Event::Profile { .. } = event {
                trace = None;
            }
            printer.event(event, &stopping.saw(event));
            fault.meet(event, &gpu);
        });
        let error = match trained {
            Ok(summary) => break summary,
            Err(error) => error,
        };
        // one that never gets further than before would go on for ever
        tries = if run.step() > began { 1 } else { tries + 1 };
        let is_device = matches!(code_of(&error), DEVICE_LOST | OUT_OF_MEMORY);
        if !(is_device && args.auto_resume && tries <= MAX_TRIES) {
            return Err(error.into());
        }
        errln!("warning: {error}");
        stopping.restart(Some(root.clone()));
        drop((run, gpu));
        std::thread::sleep(REST);
        let (gpu, _) = open_device(args)?;
        let open = OpenRun::open(&root)?;
        let (corpus, _) = text_again((&args.paths, &args.settings), &open.config.data.source, &root)?;
        let config = open.config.clone();
        run = Run::resume(&gpu, open, &corpus, &config, &Choice::default())?;
        printer.say(&format!("resumed at step {}", run.step()));
    };
    printer.finish(&summary, &root);
    Ok(ExitCode::SUCCESS)
}

/// Attempts of `--auto-resume` without a step in between.
const MAX_TRIES: u32 = 3;
/// What a driver gets to come back.
const REST: Duration = Duration::from_secs(1);

/// Loses the device after a step, once: for tests, by `TRIL_FAULT=lost@STEP`.
struct Fault(Option<u64>);

impl Fault {
    fn from_env() -> Result<Self, String> {
        let fault = std::env::var_os("TRIL_FAULT").filter(|fault| fault != WRONG);
        let Some(fault) = fault else { return Ok(Self(None)) };
        let step = fault.to_str().and_then(|f| f.strip_prefix("lost@")?.parse().ok());
        Ok(Self(Some(step.ok_or("TRIL_FAULT is for tests and takes lost@STEP; unset it")?)))
    }

    fn meet(&mut self, event: &Event, gpu: &Gpu) {
        if let (Event::Step { result, .. }, Some(step)) = (event, self.0)
            && result.step >= step
        {
            self.0 = None;
            gpu.lose();
        }
    }
}

struct Started {
    run: Run,
    root: PathBuf,
    device: String,
    fit: Fit,
    /// How the kernels were chosen.
    kernels: String,
    /// The preset that was chosen for the embedded stories, and what it amounts to with the flags.
    preset: Option<String>,
    /// The tokenizer, where it was chosen by the text or by what lies beside token files.
    chosen: Option<String>,
}

fn create(args: &TrainArgs) -> Result<Started, Box<dyn std::error::Error>> {
    args.settings.check_batch()?;
    let (mut config, is_for_stories) = args.settings.resolve_on(&args.paths)?;
    args.profile.map_or(Ok(()), |_| Run::check_profile(config.train.steps))?;
    // before anything that takes long, so that a place that can't be written to is found at once
    let runs = Path::new("runs");
    let claim = match &args.out {
        Some(root) => RunClaim::take(root)?,
        None if args.paths.is_empty() => RunClaim::next(runs, &name_of(&config.data.source))?,
        None => RunClaim::next(runs, &name_of(&args.settings.source(&args.paths)?))?,
    };
    args.settings.fit_any_text(&config, &args.device, Free::Batch)?;
    let Read { corpus, tokenizer, chosen } = read_text(&mut config, &args.paths, &args.settings)?;
    // before the device is opened, so that what it takes is known when the memory is counted
    let findings = encode(&corpus, &tokenizer, &config)?;
    findings.check()?;
    reading::warn_of_unknown(&findings, reading::ANOTHER_TOKENIZER);
    reading::note_names(&findings, &tokenizer, &config.data.mode);
    let root = claim.root().to_path_buf();
    let preset = is_for_stories.then(|| of_stories(&config));
    let make = |gpu: &_, config, choice: &_| Run::create(gpu, &claim, config, &corpus, tokenizer.clone(), choice);
    let started = start(args, config, root, make)?;
    Ok(Started { preset, chosen, ..started })
}

/// What a run on the embedded stories is made with, where nobody chose a preset.
fn of_stories(config: &RunConfig) -> String {
    let mode = if config.data.mode == Mode::Stream { "a stream" } else { "documents" };
    let RunConfig { data, train, .. } = config;
    let steps = count(train.steps, "step");
    format!(
        "stories, as no text is given: {}, {mode}, lr {}, {steps}; --preset takes another",
        data.tokenizer, train.lr
    )
}

/// Makes the tokens of a text, before the device is opened: so what they take is known when the memory is counted.
fn encode(corpus: &Corpus, tokenizer: &Tokenizer, config: &RunConfig) -> Result<Findings, DataError> {
    let findings = corpus.prepare(tokenizer, &config.data_options(), &reading::watch)?;
    phases::end();
    Ok(findings)
}

/// Finds a batch that fits and kernels for it, and then makes the run.
fn start(
    args: &TrainArgs,
    mut config: RunConfig,
    root: PathBuf,
    mut make: impl FnMut(&Arc<Gpu>, RunConfig, &Choice) -> Result<Run, RunError>,
) -> Result<Started, Box<dyn std::error::Error>> {
    let (gpu, compiles) = open_device(args)?;
    let shares = SharesMemory(gpu.report().shares_memory());
    let process = Process { compiles, ..Process::now() };
    let mut fit = args.settings.fit(&mut config, gpu.caps(), shares, process)?;
    loop {
        let long = LongRun { config: &config, steps: config.train.steps, device: &args.device };
        let (choice, kernels) = tune_first(&gpu, &[config.session()], &args.tuning, Some(long))?;
        phases::begin("preparing the run");
        let error = match make(&gpu, config.clone(), &choice) {
            Ok(run) => return Ok(Started { run, root, device: gpu.name(), fit, kernels, preset: None, chosen: None }),
            Err(error) => error,
        };
        if !is_out_of_memory(&error) {
            return Err(error.into());
        }
        // only by trying is it found out how much memory a GPU has
        if let Some(smaller) = memory::smaller_batch(&config).filter(|_| args.settings.chooses_batch()) {
            config = smaller;
            let (b, n) = (config.train.batch_size, config.train.grad_accum);
            let tokens = count(config.tokens_per_step(), "token");
            fit.batch = Some(format!(
                "--batch-size {b} --grad-accum {n} for {tokens} a step: more rows are more than the device has"
            ));
            continue;
        }
        let room = MemoryBudget::Device(fit.footprint.device().saturating_sub(1));
        let remedies = memory::remedies(&config, gpu.caps(), room, fit.footprint.process, Free::Batch);
        return Err(OutOfMemory(format!(
            "{} is out of memory; {}",
            gpu.name(),
            remedies.replace("fits", "takes less")
        ))
        .into());
    }
}

/// A device that turned out to be full, and what takes less.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OutOfMemory(String);

fn is_out_of_memory(error: &RunError) -> bool {
    let RunError::Session(SessionError::Exec(ExecError::Gpu(error))) = error else { return false };
    matches!(error, GpuError::OutOfMemory { .. })
}

fn resume(args: &TrainArgs, root: &Path) -> Result<Started, Box<dyn std::error::Error>> {
    let mut open = OpenRun::open(root)?;
    if open.config.data.source == Source::None {
        return fine_tune::begin(args, open);
    }
    let config = open.config.clone();
    open.dir.check_settings(&config)?;
    let wanted = args.settings.resolve_again(&config)?;
    let fixed = config.fixed_changes(&wanted).into_iter().chain(args.settings.other_batch(&config));
    let fixed: Vec<String> = fixed.map(|setting| setting.to_string()).collect();
    if !fixed.is_empty() {
        return Err(misuse(format!(
            "a resumed run keeps the settings that decide its results: {}; leave these out, begin a new run with --out, or one from this one's best model: tril import {1} --out NEW, then tril train TEXT --resume NEW",
            fixed.join(", "),
            quoted(root)
        )));
    }
    let config = config.with_free(&wanted);
    if args.profile.is_some() {
        Run::check_profile(config.train.steps.saturating_sub(open.checkpoint()?.progress.step))?;
    }
    args.settings.fit_any_text(&config, &args.device, Free::Recompute)?;
    let (corpus, moved) = text_again((&args.paths, &args.settings), &config.data.source, root)?;
    corpus.verify(config.data.crc32)?;
    let findings = encode(&corpus, &open.tokenizer, &config)?;
    reading::warn_of_unknown(&findings, "only a new run can have another");
    let (gpu, compiles) = open_device(args)?;
    let shares = SharesMemory(gpu.report().shares_memory());
    let process = Process { compiles, ..Process::now() };
    let fit = args.settings.fit_resumed(&config, gpu.caps(), shares, process)?;
    // on the device that it was on, a run keeps its kernels, so that its results are those of an undisturbed one
    let long = LongRun { config: &config, steps: config.train.steps, device: &args.device };
    let (choice, kernels) = if Run::is_of(&mut open, &gpu)? {
        Default::default()
    } else {
        tune_first(&gpu, &[config.session()], &args.tuning, Some(long))?
    };
    phases::begin("going back to the last checkpoint");
    let mut run = Run::resume(&gpu, open, &corpus, &config, &choice)?;
    if let Some(source) = moved {
        run.remember(source)?;
    }
    Ok(Started { run, root: root.to_path_buf(), device: gpu.name(), fit, kernels, preset: None, chosen: None })
}

/// Opens the device, and has it checked. Returns whether that was the first time, so that its driver compiles kernels.
fn open_device(args: &TrainArgs) -> Result<(Arc<Gpu>, bool), Box<dyn std::error::Error>> {
    phases::begin("opening the device");
    let gpu = args.device.open()?;
    let is_first = self_check(&gpu, &args.device)?;
    phases::follow(&gpu);
    phases::end();
    Ok((gpu, is_first))
}
