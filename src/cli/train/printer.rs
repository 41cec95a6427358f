use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::clock::{Clock, Kind};
use crate::cli::phases::{self, Amount, in_words};
use crate::cli::settings::Fit;
use crate::data::{Packing, Source, embedded};
use crate::files::shell::quoted;
use crate::run::TrainConfig;
use crate::train::memory::MemoryBudget;
use crate::train::{Doing, Event, Run, Summary};
use crate::units::{count, human_bytes};

/// Prints what a run does, as text or JSON.
pub(super) struct Printer {
    json: bool,
    device: String,
    /// When the last progress line was printed, without a terminal.
    last_line: Cell<Option<Instant>>,
    /// The last step's line, if it was not printed.
    held: RefCell<Option<String>>,
    doing: Cell<Option<Doing>>,
    has_stepped: Cell<bool>,
    train: TrainConfig,
    /// The work of an evaluation. Units: steps.
    eval_steps: f64,
    floor: Option<f64>,
}

/// Interval between progress lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Printer {
    pub fn new(json: bool, run: &Run, device: &str) -> Self {
        phases::end();
        let train = run.config().train.clone();
        phases::training(run.step(), train.steps, String::new());
        let windows = run.eval_windows();
        // the forward pass is about a third of a step's work
        let eval_steps = (windows * run.config().row_size()) as f64 / (3 * run.config().tokens_per_step()) as f64;
        let data = &run.config().data;
        let floor = matches!(data.source, Source::Embedded { .. }).then(|| embedded::floor(&data.mode)).flatten();
        let (last_line, held) = (Cell::new(None), RefCell::new(None));
        let (doing, has_stepped) = (Cell::new(None), Cell::new(false));
        Self { json, device: device.into(), last_line, held, doing, has_stepped, train, eval_steps, floor }
    }

    pub fn say(&self, text: &str) {
        outln!("{text}");
    }

    /// Begins the phase, or updates its progress.
    fn doing(&self, doing: Doing) {
        let kind = |doing: &Doing| std::mem::discriminant(doing);
        let is_new = self.doing.replace(Some(doing)).as_ref().map(kind) != Some(kind(&doing));
        if is_new {
            match doing {
                Doing::Measuring => phases::begin("measuring the device"),
                Doing::Stepping if self.has_stepped.get() => phases::end(),
                Doing::Stepping => phases::begin("first step"),
                Doing::Evaluating { .. } => phases::begin("evaluating"),
                Doing::Sampling => phases::begin("generating a sample"),
                Doing::Saving => phases::begin("saving"),
            }
        }
        if let Doing::Evaluating { done, of } = doing {
            phases::at(Amount { done, of: Some(of), unit: "windows" });
        }
    }

    /// The time left of the run, in words; empty if unknown.
    fn left(&self, step: u64, clock: &Clock) -> String {
        let TrainConfig { steps, eval_every, sample_every, checkpoint_every, .. } = self.train;
        // a result arrives before what is due at its step
        let rest = |every: u64| {
            steps.checked_div(every).zip(step.saturating_sub(1).checked_div(every)).map_or(0, |(all, done)| all - done)
        };
        // the last step is always followed by an evaluation
        let is_extra = eval_every == 0 || !steps.is_multiple_of(eval_every);
        let others = [
            (Kind::Evaluation, rest(eval_every) + u64::from(is_extra)),
            (Kind::Sample, rest(sample_every)),
            (Kind::Save, rest(checkpoint_every)),
        ];
        let left = clock.left(steps.saturating_sub(step), &others, self.eval_steps).filter(|_| step < steps);
        left.map_or_else(String::new, |left| format!("{} left  ", in_words(left)))
    }

    pub fn header(&self, run: &Run, root: &Path, fit: &Fit, resumed: bool) {
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
            "text     {} to train on, {} to validate; {} a step",
            count(data.token_count(), "token"),
            data.val_token_count(),
            count(config.tokens_per_step(), "token")
        ));
        if let Some(Packing { documents, rows, padding }) = data.packing() {
            let apart = if config.masks_documents() { "; attention stays within a document" } else { "" };
            let (t, share) = (config.row_size(), padding * 100.0);
            let (documents, rows) = (count(documents, "document"), count(rows, "row"));
            self.say(&format!("rows     {documents} in {rows} of {t}, {share:.1} % padding{apart}"));
        }
        if let Some(batch) = &fit.batch {
            self.say(&format!("batch    {batch}"));
        }
        let (device, process) = (human_bytes(fit.footprint.device()), human_bytes(fit.footprint.total()));
        self.say(&match fit.room {
            MemoryBudget::Process(_) => format!("memory   {process} in the process, {device} of it on the device"),
            _ => format!("memory   {device} on the device"),
        });
        if let Some(floor) = self.floor {
            self.say(&format!(
                "floor    {floor:.4} nats per character: the stories' own entropy; no model can do better"
            ));
        }
        let how = if resumed { format!("resumes at step {}", run.step()) } else { "starts".into() };
        self.say(&format!("run      {} {how}", root.display()));
    }

    pub fn event(&self, event: &Event, clock: &Clock) {
        if let Event::Doing(doing) = event {
            return self.doing(*doing);
        }
        if matches!(event, Event::Step { .. }) && !self.has_stepped.replace(true) {
            phases::end();
        }
        if self.json {
            outln!("{}", json_line(event));
            return;
        }
        match event {
            Event::Doing(_) => {}
            Event::Step { result, lr, tokens_per_s, mfu } => {
                let message = format!(
                    "loss {:.4}  lr {lr:.2e}  norm {:.2}  {tokens_per_s:.0} tok/s ({:.0}% of peak)",
                    result.loss,
                    result.grad_norm,
                    mfu * 100.0
                );
                if !result.finite {
                    self.say(&format!(
                        "step {}: {} not finite; step skipped ({} so far)",
                        result.step,
                        count(result.n_nonfinite as u64, "gradient element"),
                        result.n_skipped
                    ));
                }
                if result.finite && !result.applied {
                    self.say(&format!(
                        "step {}: loss {:.4} or norm {:.2} is far above the steps before; step skipped ({} so far)",
                        result.step, result.loss, result.grad_norm, result.n_skipped
                    ));
                }
                let message = self.left(result.step, clock) + &message;
                if !phases::training(result.step, self.train.steps, message.clone()) {
                    let line = format!("step {}/{}  {message}", result.step, self.train.steps);
                    let is_due = self.last_line.get().is_none_or(|last| last.elapsed() >= LINE_EVERY);
                    let is_held = !is_due && result.step < self.train.steps;
                    if !is_held {
                        self.last_line.set(Some(Instant::now()));
                        outln!("{line}");
                    }
                    self.held.replace(is_held.then_some(line));
                }
            }
            Event::Eval { step, loss, bits_per_byte, best } => {
                let bits = bits_per_byte.map(|b| format!(", {b:.3} bits per byte")).unwrap_or_default();
                let above = self.above_floor(*bits_per_byte).unwrap_or_default();
                let best = if *best { " (best so far)" } else { "" };
                self.say(&format!("step {step}: validation loss {loss:.4}{bits}{above}{best}"));
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
                self.say(&format!(
                    "step {step}: not saved; training continues and the next save tries again: {reason}"
                ));
            }
            Event::Repaired { step, repaired } => {
                self.say(&format!("step {step}: model.safetensors could not be saved before; {repaired}"));
            }
            Event::MetricsAnew { step } => self.say(&format!("step {step}: {METRICS_GONE}")),
            Event::Spike { step, what, z } => {
                self.say(&format!("step {step}: {what} is {z:.1} standard deviations above the steps before"));
            }
            Event::Evidence { evidence, path } => {
                self.say(&format!("{evidence}kept in {0}; replay the step with: tril replay {0}", quoted(path)));
            }
            Event::RolledBack { to, from } => {
                self.say(&format!(
                    "rolled back from step {from} to the checkpoint of step {to}; continuing with different batches"
                ));
            }
        }
    }

    /// Describes a loss on the stories in nats per character, and its distance from the floor.
    fn above_floor(&self, bits_per_byte: Option<f64>) -> Option<String> {
        let (floor, nats) = (self.floor?, embedded::nats_per_char(bits_per_byte?));
        Some(format!(", {nats:.4} nats per character, {:.4} above the floor", nats - floor))
    }

    pub fn finish(&self, summary: &Summary, root: &Path) {
        phases::end_training();
        let root = quoted(root);
        if self.json {
            let line = json!({
                "done": !summary.interrupted, "step": summary.step, "best_val_loss": summary.best.map(|b| b.0),
                "best_step": summary.best.map(|b| b.1), "model_step": summary.saved.map(|s| s.1),
                "skipped_steps": summary.n_skipped, "imported_is_best": summary.imported_is_best(),
            });
            outln!("{line}");
            return;
        }
        // if the run was stopped, its last step's line was held back like any other
        if let Some(line) = self.held.take() {
            outln!("{line}");
        }
        if summary.n_skipped > 0 {
            outln!("skipped {}, not finite or spikes", count(summary.n_skipped, "step"));
        }
        if let Some((loss, step)) = summary.best {
            outln!("best validation loss {loss:.4} at step {step}, on {}", self.device);
            if let Some((saved, of)) = summary.saved.filter(|&(saved, _)| saved != loss) {
                outln!("that model could not be saved; the saved one has {saved:.4}, from step {of}");
            }
        }
        if summary.imported_is_best() {
            outln!(
                "no step improved on the imported model, so generate, eval and export still use it; --last uses the \
                 checkpoint of step {}",
                summary.step
            );
            if !summary.interrupted {
                outln!(
                    "to try again with a lower --lr: tril import {root} --out NEW, then tril train TEXT --resume NEW \
                     --lr {:e}",
                    self.train.lr / 10.0
                );
            }
        }
        if summary.interrupted {
            outln!("stopped and saved at step {}; resume with: tril train --resume {root}", summary.step);
        } else {
            let last = if summary.imported_is_best() { " --last" } else { "" };
            outln!("done; generate text with: tril generate {root}{last}");
        }
    }
}

const METRICS_GONE: &str = "metrics.jsonl was removed: its earlier lines are lost, and a new file begins here";

fn json_line(event: &Event) -> serde_json::Value {
    match event {
        Event::Doing(_) => serde_json::Value::Null,
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
        Event::Repaired { step, repaired } => json!({
            "step": step, "model_step": repaired.of, "model_val_loss": repaired.loss,
            "lost_step": repaired.lost.map(|lost| lost.1), "lost_val_loss": repaired.lost.map(|lost| lost.0),
        }),
        Event::MetricsAnew { step } => json!({ "step": step, "warning": METRICS_GONE }),
        Event::Spike { step, what, z } => json!({ "step": step, "spike": what, "z": z }),
        Event::Evidence { evidence, path } => json!({ "nonfinite": evidence, "kept": path }),
        Event::RolledBack { to, from } => json!({ "step": to, "rolled_back_from": from }),
    }
}
