mod begin;
mod moved;
mod nonfinite;
mod repair_model;
mod save;

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::event::{Doing, Event, RunError, Summary};
use super::profiling::Profiling;
use super::{Evaluator, Session, SessionError, StepResult};
use crate::data::{Batch, Corpus, Dataset, Extent, Tokenizer};
use crate::exec::ExecError;
use crate::files::io_error;
use crate::generate::{Decoder, SamplerConfig};
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::run::checkpoint::{Left, Progress};
use crate::run::metrics::Metrics;
use crate::run::spikes::OnSpike;
use crate::run::{METRICS, OpenRun, RunClaim, RunConfig, RunDir, Schedule};
use crate::speed::matmul_peak;

/// The number of results over which speed is measured.
const RATE_STEPS: usize = 9;

/// If a step takes longer, the next one is not begun before it is done, so that a stop never waits for several.
const LONG_STEP: Duration = Duration::from_millis(500);

/// Tokens of a sample during training.
const SAMPLE_TOKENS: usize = 160;

/// A training run: a session, its data and its directory.
#[derive(Debug)]
pub struct Run {
    dir: RunDir,
    config: RunConfig,
    schedule: Schedule,
    session: Session,
    dataset: Dataset,
    tokenizer: Tokenizer,
    evaluator: Option<Evaluator>,
    /// Created when the first sample is due.
    decoder: Option<Decoder>,
    extent: Extent,
    metrics: Metrics,
    /// Held while the run lives.
    #[expect(dead_code, reason = "dropping it releases the lock")]
    lock: File,
    progress: Progress,
    n_skipped: u64,
    moved_from: Option<String>,
    warnings: Vec<String>,
    /// Why the last attempt to save failed.
    unsaved: Option<String>,
    /// A step that wasn't finite, after one that was, without evidence so far.
    unexamined: Option<u64>,
    /// The first and the last of the latest consecutive steps that produced non-finite values.
    nonfinite: Option<(u64, u64)>,
    /// What to profile, and where to write the trace.
    profiling: Option<(Profiling, PathBuf)>,
    /// Seconds per real token at the highest speed seen, at first that of a matrix product; 0 before training.
    token_s: f64,
    /// When this process began, minus the seconds of earlier processes.
    started: Instant,
    elapsed_before: f64,
    /// When the latest results arrived, and their real tokens: for measuring speed.
    arrivals: VecDeque<(Instant, u64)>,
}

impl Run {
    /// Starts a new run: splits the text or tokens, checks that the model fits, then fills the directory.
    ///
    /// # Errors
    ///
    /// [`RunError`]; the directory is empty then, and still claimed.
    pub fn create(
        gpu: &Arc<Gpu>,
        claim: &RunClaim,
        config: RunConfig,
        corpus: &Corpus,
        tokenizer: Tokenizer,
        choice: &Choice,
    ) -> Result<Self, RunError> {
        config.validate()?;
        let dataset = Dataset::of(corpus, &tokenizer, &config.data_options())?;
        let session = Session::with_kernels(gpu, config.session(), choice)?;
        let progress = session.progress();
        claim.fill(|| {
            let dir = RunDir::fill(claim, &config, &tokenizer)?;
            let lock = claim.claim().lock().map_err(io_error(claim.root()))?;
            let mut run = Self::assemble((dir, lock), config, session, dataset, tokenizer, progress)?;
            // so that a run killed before its first regular checkpoint can be resumed, too
            run.save_or_fail(|reason| RunError::NotBegun { reason })?;
            Ok(run)
        })
    }

    /// Whether the last checkpoint of a run is from this device: then it continues with the kernels that were tuned for
    /// it.
    ///
    /// # Errors
    ///
    /// No checkpoint, or a damaged one.
    pub fn is_of(open: &mut OpenRun, gpu: &Gpu) -> Result<bool, RunError> {
        Ok(open.checkpoint()?.progress.device == gpu.name())
    }

    /// Resumes a run from its last checkpoint: on the same device with its kernels, on another with those
    /// chosen there. Takes from `wanted` the settings that affect no result.
    ///
    /// # Errors
    ///
    /// [`RunError`]: text that has changed, no checkpoint, a damaged one.
    pub fn resume(
        gpu: &Arc<Gpu>,
        mut open: OpenRun,
        corpus: &Corpus,
        wanted: &RunConfig,
        choice: &Choice,
    ) -> Result<Self, RunError> {
        let lock = open.lock()?;
        open.dir.check_settings(&open.config)?;
        let config = open.config.with_free(wanted);
        corpus.verify(config.data.crc32)?;
        let dataset = Dataset::of(corpus, &open.tokenizer, &config.data_options())?;
        let mut found = open.take_checkpoint()?;
        let OpenRun { dir, config: before, tokenizer, .. } = open;
        let (progress, passed_over) = (found.progress.clone(), found.passed_over.clone());
        let own = (progress.device == gpu.name()).then(|| Choice::of_tuned(progress.tuned.clone()));
        let steps = config.train.steps;
        if steps != before.train.steps && steps < progress.step {
            return Err(RunError::Behind { steps, step: progress.step });
        }
        config.validate()?;
        let mut session = Session::with_kernels(gpu, config.session(), own.as_ref().unwrap_or(choice))?;
        session.load(&mut found)?;
        let here = session.progress();
        // before the first step nothing has been computed, so nothing can differ
        let has_other_kernels = here.kernels != progress.kernels && config.train.recompute == before.train.recompute;
        let is_moved = progress.step > 0 && (here.device != progress.device || has_other_kernels);
        let moved_from = is_moved.then(|| progress.device.clone());
        let Progress { device, kernels, tuned, .. } = here;
        let progress = Progress { device, kernels, tuned, ..progress };
        let mut run = Self::assemble((dir, lock), config, session, dataset, tokenizer, progress)?;
        // nothing on disk is changed before everything fits
        let restored = run.dir.restore()?;
        if run.config != before {
            run.dir.write("config.toml", run.config.to_toml().as_bytes())?;
        }
        run.moved_from = moved_from;
        run.warnings = passed_over;
        run.warnings.extend(restored);
        run.warnings.extend(run.dir.truncate_metrics(&run.progress));
        // the first evaluation is repeated
        if run.evaluates_start() {
            let _ = run.dir.write(METRICS, b"");
        }
        run.metrics = Metrics::open(&run.dir);
        run.repair_model(&mut found)?;
        Ok(run)
    }

    /// Assembles a run; the directory comes with its lock.
    fn assemble(
        (dir, lock): (RunDir, File),
        config: RunConfig,
        session: Session,
        dataset: Dataset,
        tokenizer: Tokenizer,
        progress: Progress,
    ) -> Result<Self, RunError> {
        let extent = dataset.eval_extent(config.eval_limit());
        let evaluator = if extent.targets > 0 { Some(session.evaluator()?) } else { None };
        let n_skipped = session.n_skipped()?;
        Ok(Self {
            lock,
            metrics: Metrics::open(&dir),
            schedule: config.schedule(),
            decoder: None,
            elapsed_before: progress.elapsed_s,
            started: Instant::now(),
            arrivals: VecDeque::new(),
            dir,
            config,
            session,
            dataset,
            tokenizer,
            evaluator,
            extent,
            progress,
            n_skipped,
            moved_from: None,
            warnings: vec![],
            unsaved: None,
            unexamined: None,
            nonfinite: None,
            profiling: None,
            token_s: 0.0,
        })
    }

    /// The settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The checkpoint's device, if a resumed run continues on another device or with other kernels: from here on its
    /// results differ in rounding from those of an uninterrupted run.
    pub fn moved_from(&self) -> Option<&str> {
        self.moved_from.as_deref()
    }

    /// What a resumed run found wrong with its files, and how it was fixed: a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The text's two splits.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The model in training.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.session.step_count()
    }

    /// Requests a profile of `n_step` steps after a warm-up, or of fewer if not as many are left. Its trace goes to
    /// `trace`, by default `trace.json` in the run's directory.
    ///
    /// # Errors
    ///
    /// [`RunError::NoProfile`] if the run ends too soon.
    pub fn profile(&mut self, n_step: u64, trace: Option<PathBuf>) -> Result<(), RunError> {
        let left = self.config.train.steps.saturating_sub(self.step());
        let profiling = Profiling::new(n_step, left).ok_or(RunError::NoProfile { left })?;
        self.profiling = Some((profiling, trace.unwrap_or_else(|| self.dir.path("trace.json"))));
        Ok(())
    }

    /// Trains to the last step, or until `stop` is set: then it finishes the current step and saves everything. An
    /// evaluation or a sample is then abandoned, and repeated on resume.
    ///
    /// # Errors
    ///
    /// [`RunError`]; the last checkpoint is intact.
    pub fn train(&mut self, stop: &AtomicBool, mut on: impl FnMut(&Event)) -> Result<Summary, RunError> {
        let (model, t) = (&self.config.model, self.config.row_size());
        on(&Event::Doing(Doing::Measuring));
        let peak = matmul_peak(self.session.program().gpu(), &self.session.program().plan().choice)
            .map_err(SessionError::from)?;
        self.token_s = model.train_flops(1, t) as f64 / t as f64 / peak;
        if self.evaluates_start() && !stop.load(Ordering::Relaxed) {
            self.evaluate(stop, &mut on)?;
            self.save(&mut on)?;
        }
        let train = self.config.train.clone();
        let every = |n: u64, step: u64| n > 0 && step.is_multiple_of(n);
        let saves = |step: u64| every(train.checkpoint_every, step) || step == train.steps;
        if self.progress.left.is_any() && self.settle(stop, &mut on)? && saves(self.step()) {
            self.save(&mut on)?;
        }
        self.restart_clock(&mut on);
        while self.step() < train.steps && !stop.load(Ordering::Relaxed) {
            let micro = self.batches(self.step());
            if let Some((profiling, _)) = &mut self.profiling {
                profiling.before(&self.session)?;
            }
            if train.on_spike == OnSpike::Skip {
                let [loss, grad_norm] = self.progress.spikes.limits(self.step() + 1);
                self.session.set_limits(loss, grad_norm)?;
            }
            self.session.train_step(&micro, self.schedule.at(self.step()))?;
            self.profile_step(stop, &mut on)?;
            while let Some(result) = self.session.poll()? {
                self.arrived(result, &mut on)?;
            }
            if self.step_time() >= LONG_STEP {
                self.drain(&mut on)?;
            }
            if self.progress.in_a_row > 0 && self.react(&mut on)? {
                continue;
            }
            let (step, last) = (self.step(), self.step() == train.steps);
            let evaluation = every(train.eval_every, step) || last;
            let sample = every(train.sample_every, step) || last && train.sample_every > 0;
            if evaluation || sample || saves(step) {
                self.drain(&mut on)?;
                if self.progress.in_a_row > 0 && self.react(&mut on)? {
                    continue;
                }
            }
            self.progress.left = Left { evaluation, sample };
            if self.settle(stop, &mut on)? && saves(step) {
                self.save(&mut on)?;
            }
            if evaluation || sample || saves(step) {
                self.restart_clock(&mut on);
            }
        }
        self.drain(&mut on)?;
        let interrupted = self.step() < train.steps || self.progress.left.is_any();
        if interrupted {
            self.save(&mut on)?;
        }
        if let Some(reason) = self.unsaved.take() {
            return Err(RunError::Unsaved { reason });
        }
        if self.progress.in_a_row > 0 {
            return Err(self.diverged(""));
        }
        let Progress { best, model, model_loss, .. } = self.progress;
        Ok(Summary { step: self.step(), interrupted, best, saved: model_loss.zip(model), n_skipped: self.n_skipped })
    }

    /// Does the work due after a step, or left over from a stop. Returns whether all of it is done.
    fn settle(&mut self, stop: &AtomicBool, on: &mut impl FnMut(&Event)) -> Result<bool, RunError> {
        let left = self.progress.left;
        if left.evaluation && self.evaluate(stop, on)? {
            self.progress.left.evaluation = false;
        }
        if left.sample && !self.progress.left.evaluation && self.sample(stop, on)? {
            self.progress.left.sample = false;
        }
        Ok(!self.progress.left.is_any())
    }

    /// Whether an imported model is about to be trained: then its initial validation loss must be known.
    fn evaluates_start(&self) -> bool {
        let Progress { imported, best, .. } = self.progress;
        imported && self.step() == 0 && best.is_none() && self.evaluator.is_some()
    }

    /// The micro-batches of the step that follows `step`.
    fn batches(&self, step: u64) -> Vec<Batch> {
        let train = &self.config.train;
        let first = (step + self.progress.shift) * train.grad_accum;
        let b = usize::try_from(train.batch_size).unwrap_or(usize::MAX);
        (0..train.grad_accum).map(|i| self.dataset.train_batch(train.seed, first + i, b)).collect()
    }

    fn profile_step(&mut self, stop: &AtomicBool, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        // finishing a profile takes a while
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some((profiling, _)) = &mut self.profiling else { return Ok(()) };
        let Some(profile) = profiling.after(&self.session)? else { return Ok(()) };
        let Some((_, trace)) = self.profiling.take() else { return Ok(()) };
        let written = std::fs::write(&trace, profile.trace().to_string()).map_err(io_error(&trace));
        self.note(written.map_err(Into::into), on);
        on(&Event::Profile { profile: Box::new(profile), trace });
        self.drain(on)?;
        self.restart_clock(on);
        Ok(())
    }

    /// Restarts the speed measurement, so that evaluations and saves don't count.
    fn restart_clock(&mut self, on: &mut impl FnMut(&Event)) {
        self.arrivals = VecDeque::from([(Instant::now(), 0)]);
        on(&Event::Doing(Doing::Stepping));
    }

    /// The duration of a recent step; 0 if unknown.
    fn step_time(&self) -> Duration {
        let span = self.arrivals.front().zip(self.arrivals.back()).map_or(Duration::ZERO, |(a, b)| b.0 - a.0);
        span / u32::try_from(self.arrivals.len()).unwrap_or(1).saturating_sub(1).max(1)
    }

    fn drain(&mut self, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        while let Some(result) = self.session.wait()? {
            self.arrived(result, on)?;
        }
        Ok(())
    }

    fn arrived(&mut self, result: StepResult, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        // from here on the run is worth keeping
        self.dir.keep();
        // several results may arrive at once, so speed is averaged over the last few
        self.arrivals.push_back((Instant::now(), result.n_target));
        if self.arrivals.len() > RATE_STEPS {
            self.arrivals.pop_front();
        }
        let seconds = self.arrivals.front().map_or(0.0, |(first, _)| first.elapsed().as_secs_f64()).max(1e-3);
        let tokens: u64 = self.arrivals.iter().skip(1).map(|(_, n)| n).sum();
        self.progress.tokens += result.n_target;
        self.n_skipped = result.n_skipped;
        if !result.finite && self.progress.in_a_row == 0 {
            self.unexamined = Some(result.step);
        }
        if !result.finite {
            let first = result.step.saturating_sub(self.progress.in_a_row);
            self.nonfinite = Some((first, result.step));
        }
        self.progress.in_a_row = if result.finite { 0 } else { self.progress.in_a_row + 1 };
        let (lr, tokens_per_s) = (self.schedule.at(result.step - 1), tokens as f64 / seconds);
        // a model faster than the measured product has found a higher peak
        self.token_s = self.token_s.min(tokens_per_s.recip());
        let mfu = tokens_per_s * self.token_s;
        let mut line = json!({
            "step": result.step, "loss": number(result.loss), "lr": lr, "grad_norm": number(result.grad_norm),
            "tokens": self.progress.tokens, "tokens_per_s": tokens_per_s, "mfu": mfu, "elapsed_s": self.elapsed(),
        });
        if !result.applied {
            line["skipped"] = json!(true);
        }
        if !result.finite {
            line["nonfinite_gradients"] = json!(result.n_nonfinite);
        }
        let spikes = self.progress.spikes.take(result.step, result.for_spikes());
        if !spikes.is_empty() {
            line["spikes"] =
                spikes.iter().map(|&(name, z)| (name.to_string(), json!(z))).collect::<serde_json::Map<_, _>>().into();
        }
        self.log(&line, on);
        for (what, z) in spikes {
            on(&Event::Spike { step: result.step, what, z });
        }
        on(&Event::Step { result, lr, tokens_per_s, mfu });
        Ok(())
    }

    fn elapsed(&self) -> f64 {
        self.elapsed_before + self.started.elapsed().as_secs_f64()
    }

    fn log(&mut self, line: &Value, on: &mut impl FnMut(&Event)) {
        let written = self.metrics.log(line);
        self.note(written, on);
        self.note_metrics(on);
    }

    /// `None` if a stop came.
    fn sample_tokens(
        &mut self,
        start: u32,
        sampling: SamplerConfig,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<u32>>, ExecError> {
        let (session, model) = (&self.session, &self.config.model);
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                let decoder = none.insert(Decoder::new(session.program(), model, 1, sampling)?);
                decoder.forbid(|id| !self.tokenizer.is_in_texts(id));
                decoder
            }
        };
        decoder.set_sampling(sampling);
        decoder.start(&[&[start]], 0)?;
        let mut tokens = vec![];
        while tokens.len() < SAMPLE_TOKENS {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            for token in decoder.next(SAMPLE_TOKENS - tokens.len())?.concat() {
                // a diverged model gives no token; the loss reports that
                if Some(token) == self.tokenizer.end_id() || token == Decoder::NO_TOKEN {
                    return Ok(Some(tokens));
                }
                tokens.push(token);
            }
        }
        Ok(Some(tokens))
    }

    /// Generates a sample; returns whether it was done, not abandoned because of a stop.
    fn sample(&mut self, stop: &AtomicBool, on: &mut impl FnMut(&Event)) -> Result<bool, RunError> {
        on(&Event::Doing(Doing::Sampling));
        let start = self.tokenizer.opening_id();
        let sampling = SamplerConfig { seed: self.step(), ..SamplerConfig::default() };
        let drawn = self.sample_tokens(start, sampling, stop).map_err(SessionError::from)?;
        let Some(tokens) = drawn else { return Ok(false) };
        let (step, text) = (self.step(), self.tokenizer.decode(&tokens));
        self.log(&json!({ "step": step, "sample": text }), on);
        on(&Event::Sample { step, text });
        Ok(true)
    }
}

/// A JSON number; `null` if it isn't finite.
fn number(x: f32) -> Value {
    if x.is_finite() { json!(x) } else { Value::Null }
}
