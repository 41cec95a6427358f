mod begin;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::self_check::{WRONG, self_check};
use super::settings::{DeviceArgs, Fit, Read, SettingsArgs, read_text, text_of_run};
use super::signals::{AT_ONCE, Stop, on_stop};
use super::tune::{TuningArgs, tune_first};
use super::{DEVICE_LOST, OUT_OF_MEMORY, Outcome, code_of, must_be_writable};
use crate::data::{Corpus, Mode, Packing, Source, embedded};
use crate::exec::ExecError;
use crate::gpu::{Gpu, GpuError};
use crate::plan::human_bytes;
use crate::train::fit::{self, FitError, Room, SharesMemory};
use crate::train::{Event, Run, RunConfig, RunDir, RunError, SessionError, Summary};

/// Train a model on text; without a path, on the embedded stories.
///
/// Trains a decoder-only transformer. PATH is a text file, a folder of them, or - for standard input; with no path, tril
/// trains on small stories drawn from an embedded grammar whose entropy is known. Ctrl-C, SIGTERM and SIGHUP finish
/// the step, save, and say how to go on.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// Text files, folders, or - for standard input. .gz and .zst are unpacked; a line of .jsonl or .ndjson is an object whose
    /// "text" is a document. Or token files (.bin) of nanoGPT, llm.c or `tril tokenize`, or a folder of them; quoted patterns
    /// such as 'train_*.bin' are expanded. With --resume: where the run's text or token files are now.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Where the run goes; must not exist yet [default: runs/NAME, the first that is free].
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with a run from its last checkpoint, bit for bit; only --steps, --device, --json, --profile apply. A run that was
    /// imported begins so: with PATH and every setting but the model's.
    #[arg(long, value_name = "RUN", conflicts_with = "preset")]
    resume: Option<PathBuf>,
    /// Time every dispatch of N steps [default: 5] after a few to warm up, print where the time went, and go on.
    ///
    /// The table has a line for each op and for each of its kernels: calls, time and share of a step, the rates, and the
    /// percentage of what this device was measured to do at best (F: floating-point operations in a matrix product; B: bytes
    /// moved in an addition). Results are the same as without.
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
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    on_stop(move |by| {
        let again = seen.swap(true, Ordering::Relaxed);
        // the terminal may be gone, so that what is said there is lost
        let _ = match by {
            // the second one means it
            Stop::User if again => std::process::exit(AT_ONCE),
            Stop::User => writeln!(
                std::io::stderr(),
                "\nstopping after this step; press Ctrl-C again to stop at once, without saving"
            ),
            Stop::System if again => Ok(()),
            Stop::System => writeln!(std::io::stderr(), "\ntold to stop: stopping after this step"),
        };
    })?;
    if let Some(trace) = &args.trace {
        must_be_writable("--trace", trace)?;
    }
    let Started { mut run, root, device, fit, kernels, chosen } = match &args.resume {
        Some(root) => resume(args, root)?,
        None => create(args)?,
    };
    let printer = Printer::new(args.json, &run, &device);
    printer.header(&run, &root, &fit, args.resume.is_some());
    if let (Some(chosen), false) = (chosen, args.json) {
        printer.say(&format!("tokens   {chosen}"));
    }
    if !args.json && !kernels.is_empty() {
        printer.say(&format!("kernels  {kernels}"));
    }
    for line in run.passed_over() {
        eprintln!("warning: {line}");
    }
    if let Some(device) = run.moved_from() {
        eprintln!(
            "warning: the checkpoint is from {device} with other kernels; from here on, results differ in rounding"
        );
    }
    if let Some(n_step) = args.profile {
        run.profile(n_step, args.trace.clone())?;
    }
    let mut fault = Fault::from_env()?;
    let mut tries = 0;
    let summary = loop {
        let (gpu, began) = (run.session().program().gpu().clone(), run.step());
        let trained = run.train(&stop, |event| {
            printer.event(event);
            fault.meet(event, &gpu);
        });
        let error = match trained {
            Ok(summary) => break summary,
            Err(error) => error,
        };
        // one that never gets further than before would go on for ever
        tries = if run.step() > began { 1 } else { tries + 1 };
        let is_device = matches!(code_of(&error), DEVICE_LOST | OUT_OF_MEMORY);
        if !(is_device && args.auto_resume && tries <= MOST_TRIES) {
            return Err(error.into());
        }
        eprintln!("warning: {error}");
        drop((run, gpu));
        std::thread::sleep(REST);
        let gpu = open(args)?;
        let config = RunDir::open(&root)?.1;
        run = Run::resume(&gpu, &root, &text_again(args, &config.data.source)?, None)?;
        printer.say(&format!("resumed at step {}", run.step()));
    };
    printer.finish(&summary, &root);
    Ok(ExitCode::SUCCESS)
}

/// Attempts of `--auto-resume` without a step in between.
const MOST_TRIES: u32 = 3;
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
    /// The tokenizer, where it was chosen by the text or by what lies beside token files.
    chosen: Option<String>,
}

fn create(args: &TrainArgs) -> Result<Started, Box<dyn std::error::Error>> {
    args.settings.check_batch()?;
    let mut config = args.settings.resolve()?;
    let Read { corpus, tokenizer, chosen } = read_text(&mut config, &args.paths, &args.settings)?;
    let root = args.out.clone().unwrap_or_else(|| free_run(&config));
    if root.join("config.toml").exists() && !RunDir::is_unborn(&root) {
        return Err(format!(
            "{0} holds a run already; go on with --resume {0}, or choose another --out",
            root.display()
        )
        .into());
    }
    let new = root.clone();
    let started =
        start(args, config, &corpus, root, |gpu, config| Run::create(gpu, &new, config, &corpus, tokenizer.clone()))?;
    Ok(Started { chosen, ..started })
}

/// Finds a batch that fits and kernels for it, and then makes the run.
fn start(
    args: &TrainArgs,
    mut config: RunConfig,
    corpus: &Corpus,
    root: PathBuf,
    make: impl Fn(&Arc<Gpu>, RunConfig) -> Result<Run, RunError>,
) -> Result<Started, Box<dyn std::error::Error>> {
    let gpu = open(args)?;
    let mut fit = fit(args, &mut config, &gpu, corpus)?;
    loop {
        let kernels = tune_first(&gpu, &[config.session()], &args.tuning)?;
        let error = match make(&gpu, config.clone()) {
            Ok(run) => return Ok(Started { run, root, device: gpu.name(), fit, kernels, chosen: None }),
            Err(error) => error,
        };
        if !is_out_of_memory(&error) {
            return Err(error.into());
        }
        // only by trying is it found out how much memory a GPU has
        if let Some(smaller) = fit::smaller_batch(&config).filter(|_| args.settings.chooses_batch()) {
            config = smaller;
            let (b, n, tokens) = (config.train.batch_size, config.train.grad_accum, config.tokens_per_step());
            fit.batch = Some(format!(
                "--batch-size {b} --grad-accum {n} for {tokens} tokens a step: more rows are more than the device has"
            ));
            continue;
        }
        let room = Room::Device(fit.footprint.device().saturating_sub(1));
        let remedies = fit::remedies(&config, gpu.caps(), room, fit.footprint.process);
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

/// Chooses the batch where that was asked for, and checks that the run fits, before anything is allocated.
fn fit(args: &TrainArgs, config: &mut RunConfig, gpu: &Gpu, corpus: &Corpus) -> Result<Fit, FitError> {
    let shares = SharesMemory(gpu.report().shares_memory());
    args.settings.fit(config, gpu.caps(), shares, fit::resident_bytes() + corpus.dataset_bytes())
}

fn resume(args: &TrainArgs, root: &Path) -> Result<Started, Box<dyn std::error::Error>> {
    let (_, config, tokenizer) = RunDir::open(root)?;
    if config.data.source == Source::None {
        return begin::begin(args, root, &config, &tokenizer);
    }
    let changed = args.settings.resolve_over(&config)?;
    let same = RunConfig {
        train: crate::train::TrainConfig { steps: config.train.steps, ..changed.train.clone() },
        ..changed
    };
    if same != config || args.settings.chooses_batch() {
        return Err(
            "a resumed run keeps its settings; only --steps can change, everything else needs a new run with --out"
                .into(),
        );
    }
    let corpus = text_again(args, &config.data.source)?;
    let gpu = open(args)?;
    let fit = fit(args, &mut config.clone(), &gpu, &corpus)?;
    // on the device that it was on, a run keeps its kernels, so that its results are those of an undisturbed one
    let kernels =
        if Run::is_of(root, &gpu)? { String::new() } else { tune_first(&gpu, &[config.session()], &args.tuning)? };
    let run = Run::resume(&gpu, root, &corpus, args.settings.steps())?;
    Ok(Started { run, root: root.to_path_buf(), device: gpu.name(), fit, kernels, chosen: None })
}

/// A run's text or token files, from where it was or from where it is said to be now; that it is the same is checked later.
fn text_again(args: &TrainArgs, source: &Source) -> Result<Corpus, Box<dyn std::error::Error>> {
    if args.paths.is_empty() {
        return text_of_run(source);
    }
    let is_lossy = matches!(source, Source::Files { lossy: true, .. });
    Ok(args.settings.source(&args.paths)?.lossily(is_lossy).load()?)
}

fn open(args: &TrainArgs) -> Result<Arc<Gpu>, Box<dyn std::error::Error>> {
    let gpu = args.device.open()?;
    self_check(&gpu, &args.device)?;
    Ok(gpu)
}

/// The first free `runs/<name>-<n>`.
fn free_run(config: &RunConfig) -> PathBuf {
    let name = match &config.data.source {
        Source::Embedded { .. } => "stories".to_string(),
        Source::None => "text".to_string(),
        Source::Files { paths, .. } | Source::Tokens { train: paths, .. } => {
            let stem = paths.first().and_then(|p| p.file_stem()).map(|s| s.to_string_lossy().into_owned());
            stem.filter(|s| s != "-").unwrap_or_else(|| "text".into())
        }
    };
    let root = Path::new("runs");
    let free = (1u32..).map(|i| root.join(format!("{name}-{i}"))).find(|p| !p.exists());
    free.unwrap_or_else(|| root.join(name))
}

struct Printer {
    json: bool,
    device: String,
    bar: Option<ProgressBar>,
    /// Where there is no terminal, a line now and then instead of a bar.
    last_line: std::cell::Cell<Instant>,
    steps: u64,
    floor: Option<f64>,
}

/// Between two progress lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Printer {
    fn new(json: bool, run: &Run, device: &str) -> Self {
        let steps = run.config().train.steps;
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:16} {pos}/{len}  {eta} left  {wide_msg}");
            let bar = ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(run.step());
            bar.reset_eta();
            bar
        });
        let embedded = matches!(run.config().data.source, Source::Embedded { .. });
        // the floor is per character, so it compares with the loss per token only where a token is a character
        let floor = (embedded && run.config().data.mode == Mode::Stream).then(embedded::floor_nats_per_char);
        let long_ago = Instant::now().checked_sub(LINE_EVERY).unwrap_or_else(Instant::now);
        Self { json, device: device.into(), bar, last_line: std::cell::Cell::new(long_ago), steps, floor }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => outln!("{text}"),
        }
    }

    fn header(&self, run: &Run, root: &Path, fit: &Fit, resumed: bool) {
        let (config, data) = (run.config(), run.dataset());
        let plan = run.session().program().plan();
        if self.json {
            let line = json!({
                "device": self.device, "run": root, "parameters": config.model.n_param(), "train_tokens": data.token_count(),
                "val_tokens": data.val_token_count(), "memory_bytes": plan.total_bytes(), "process_bytes": fit.footprint.total(),
                "batch_size": config.train.batch_size, "grad_accum": config.train.grad_accum, "step": run.step(), "floor": self.floor,
                "documents": data.packing().map(|p| p.documents), "rows": data.packing().map(|p| p.rows),
                "padding": data.packing().map(|p| p.padding),
            });
            outln!("{line}");
            return;
        }
        self.say(&format!("device   {}", self.device));
        self.say(&format!("model    {}", config.model));
        self.say(&format!(
            "text     {} tokens to train on, {} to validate; {} tokens a step",
            data.token_count(),
            data.val_token_count(),
            config.tokens_per_step()
        ));
        if let Some(Packing { documents, rows, padding }) = data.packing() {
            let apart = if config.masks_documents() { ", none sees another" } else { "" };
            let (t, share) = (config.row_size(), padding * 100.0);
            self.say(&format!("rows     {documents} documents in {rows} rows of {t}{apart}; {share:.1} % padding"));
        }
        if let Some(batch) = &fit.batch {
            self.say(&format!("batch    {batch}"));
        }
        let (device, process) = (human_bytes(fit.footprint.device()), human_bytes(fit.footprint.total()));
        self.say(&match fit.room {
            Room::Process(_) => format!("memory   {process} of the process, {device} of it on the device"),
            _ => format!("memory   {device} on the device"),
        });
        if let Some(floor) = self.floor {
            self.say(&format!(
                "floor    {floor:.4} nats per character: the stories' own entropy, below which no model gets"
            ));
        }
        let how = if resumed { format!("goes on at step {}", run.step()) } else { "starts".into() };
        self.say(&format!("run      {} {how}", root.display()));
    }

    fn event(&self, event: &Event) {
        if self.json {
            outln!("{}", json_line(event));
            return;
        }
        match event {
            Event::Step { result, lr, tokens_per_s, mfu } => {
                let message = format!(
                    "loss {:.4}  lr {lr:.2e}  norm {:.2}  {tokens_per_s:.0} tok/s ({:.0}% of peak)",
                    result.loss,
                    result.grad_norm,
                    mfu * 100.0
                );
                if !result.finite {
                    self.say(&format!(
                        "step {}: {} gradient elements are not finite, the step was skipped ({} so far)",
                        result.step, result.n_nonfinite, result.n_skipped
                    ));
                }
                if result.finite && !result.applied {
                    self.say(&format!(
                        "step {}: loss {:.4} or norm {:.2} is far above those before, the step was skipped ({} so far)",
                        result.step, result.loss, result.grad_norm, result.n_skipped
                    ));
                }
                match &self.bar {
                    Some(bar) => {
                        bar.set_position(result.step);
                        bar.set_message(message);
                    }
                    None if self.last_line.get().elapsed() >= LINE_EVERY => {
                        self.last_line.set(Instant::now());
                        outln!("step {}/{}  {message}", result.step, self.steps);
                    }
                    None => {}
                }
            }
            Event::Eval { step, loss, bits_per_byte, best } => {
                let bits = bits_per_byte.map(|b| format!(", {b:.3} bits per byte")).unwrap_or_default();
                let floor = self.floor.map(|f| format!(", {:.4} above the floor", loss - f)).unwrap_or_default();
                let best = if *best { " (best so far)" } else { "" };
                self.say(&format!("step {step}: validation loss {loss:.4}{bits}{floor}{best}"));
            }
            Event::Sample { step, text } => {
                let indented: Vec<String> = text.lines().map(|l| format!("  | {l}")).collect();
                self.say(&format!("step {step}: sample\n{}", indented.join("\n")));
            }
            Event::Profile { profile, trace } => {
                self.say(&format!("{profile}\ntrace            {} (open it at ui.perfetto.dev)", trace.display()));
            }
            Event::Saved { .. } => {}
            Event::NotSaved { step, reason } => {
                self.say(&format!("step {step}: not saved, training goes on and the next save tries again: {reason}"));
            }
            Event::Spike { step, what, z } => {
                self.say(&format!("step {step}: {what} is {z:.1} standard deviations above those before"));
            }
            Event::Evidence { evidence, path } => {
                self.say(&format!("{evidence}kept in {0}; to do the step again: tril replay {0}", path.display()));
            }
            Event::RolledBack { to, from } => {
                self.say(&format!(
                    "gone back from step {from} to the checkpoint of step {to}, and on with other batches"
                ));
            }
        }
    }

    fn finish(&self, summary: &Summary, root: &Path) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let root = root.display();
        if self.json {
            let line = json!({
                "done": !summary.interrupted, "step": summary.step, "best_val_loss": summary.best.map(|b| b.0),
                "best_step": summary.best.map(|b| b.1), "skipped_steps": summary.n_skipped,
            });
            outln!("{line}");
            return;
        }
        if summary.n_skipped > 0 {
            outln!("{} steps were skipped: not finite, or spikes", summary.n_skipped);
        }
        if let Some((loss, step)) = summary.best {
            outln!("best validation loss {loss:.4} at step {step}, on {}", self.device);
        }
        if summary.interrupted {
            outln!("stopped and saved at step {}; go on with: tril train --resume {root}", summary.step);
        } else {
            outln!("done; let it talk with: tril generate {root}");
        }
    }
}

fn json_line(event: &Event) -> serde_json::Value {
    match event {
        Event::Step { result, lr, tokens_per_s, mfu } => json!({
            "step": result.step, "loss": result.loss, "lr": lr, "grad_norm": result.grad_norm,
            "tokens_per_s": tokens_per_s, "mfu": mfu, "skipped": !result.applied,
        }),
        Event::Eval { step, loss, bits_per_byte, best } => {
            json!({ "step": step, "val_loss": loss, "bits_per_byte": bits_per_byte, "best": best })
        }
        Event::Sample { step, text } => json!({ "step": step, "sample": text }),
        Event::Profile { profile, trace } => json!({ "profile": profile.to_json(), "trace": trace }),
        Event::Saved { step } => json!({ "step": step, "saved": true }),
        Event::NotSaved { step, reason } => json!({ "step": step, "saved": false, "reason": reason }),
        Event::Spike { step, what, z } => json!({ "step": step, "spike": what, "z": z }),
        Event::Evidence { evidence, path } => json!({ "nonfinite": evidence, "kept": path }),
        Event::RolledBack { to, from } => json!({ "step": to, "rolled_back_from": from }),
    }
}
