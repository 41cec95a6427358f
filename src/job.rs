//! A whole training in one call, as `tril train` does it: read the text, make the tokenizer, open and check the device, choose
//! a batch that fits and the fastest kernels, create the run, train it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::data::{DataError, Findings, Loading, tokens};
use crate::doctor::{self, ModelFailure};
use crate::exec::ExecError;
use crate::gpu::{Gpu, GpuError, GpuOptions};
use crate::kernel::Choice;
use crate::model::{ConfigError, ModelConfig};
use crate::run::prepare::{self, PrepareError};
use crate::run::{RunClaim, RunConfig, RunDirError};
use crate::train::memory::{self, FitError, Free, MemoryBudget, MemoryEstimate, Process, SharesMemory};
use crate::train::{Event, Run, RunError, SessionError, Summary};
use crate::tune::{Cache, at_first_use, cache_dir, shapes_of};

/// What to train, and where.
#[derive(Debug, Clone)]
pub struct TrainJob {
    /// Text files, folders or token files; none for the embedded stories.
    pub paths: Vec<PathBuf>,
    /// The settings. Source, checksum, vocabulary and an automatic tokenizer are filled in.
    pub config: RunConfig,
    /// The run's folder, which must not exist yet; `None` for `runs/NAME-N`, the first that is free.
    pub out: Option<PathBuf>,
    /// The device.
    pub device: GpuOptions,
    /// The most memory to take, bytes; `None` for what is free.
    pub memory: Option<u64>,
    /// Tokens of a step: chooses the batch by the memory there is. `None` for the batch of the settings.
    pub batch_tokens: Option<u64>,
    /// Whether a GPU measures which kernels are the fastest, and what was measured before is used.
    pub tune: bool,
}

impl TrainJob {
    /// A job with the settings of a preset, such as `nano`, on text; without paths, on the embedded stories.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] on a preset that doesn't exist.
    pub fn of_preset(preset: &str, paths: Vec<PathBuf>) -> Result<Self, ConfigError> {
        Ok(Self {
            paths,
            config: RunConfig::preset(preset)?,
            out: None,
            device: GpuOptions::default(),
            memory: None,
            batch_tokens: None,
            tune: true,
        })
    }
}

/// What a job reports while it works.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The text is being read, learned from or encoded.
    Loading(Loading<'a>),
    /// The text has become tokens: how well the tokenizer fits it.
    Encoded(&'a Findings),
    /// The device is open. Small models on it are checked next.
    Device(&'a Gpu),
    /// A shape's kernels were measured.
    Tuning {
        /// Shapes done.
        done: usize,
        /// Shapes in all.
        of: usize,
    },
    /// The run exists, and its first step follows.
    Created {
        /// Its folder.
        root: &'a Path,
        /// Its settings.
        config: &'a RunConfig,
        /// The memory it takes.
        memory: &'a MemoryEstimate,
    },
    /// What the run itself reports.
    Training(&'a Event),
}

/// Why a job ended.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The text, or settings that contradict it.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run's folder.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A device that computes wrongly.
    #[error("the device computes a small model wrongly: {0}")]
    Wrong(#[from] ModelFailure),
    /// Too little memory.
    #[error(transparent)]
    Memory(#[from] FitError),
    /// Tuning.
    #[error(transparent)]
    Tuning(#[from] ExecError),
    /// A model that can't be planned.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<DataError> for JobError {
    fn from(error: DataError) -> Self {
        Self::Prepare(error.into())
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Trained {
    /// Its folder.
    pub root: PathBuf,
    /// How it ended.
    pub summary: Summary,
}

impl TrainJob {
    /// Trains until the last step, or until `stop` is set: then the run is saved and can be resumed. `on` hears of everything.
    ///
    /// # Errors
    ///
    /// [`JobError`]. Before the first step, nothing is left behind then.
    pub fn run(&self, stop: &AtomicBool, on: &mut dyn FnMut(Progress<'_>)) -> Result<Trained, JobError> {
        let mut config = self.config.clone();
        if !self.paths.is_empty() {
            config.data.source = tokens::find(&self.paths, &[])?;
        }
        prepare::set_separator(&mut config, false);
        prepare::set_packing(&mut config);
        RunConfig { model: ModelConfig { vocab_size: 1, ..config.model.clone() }, ..config.clone() }.validate()?;
        // before anything that takes long, so that a folder that can't be written to is found at once
        let claim = match &self.out {
            Some(root) => RunClaim::take(root)?,
            None => RunClaim::next(Path::new("runs"), &prepare::name_of(&config.data.source))?,
        };
        let (corpus, tokenizer) = {
            let on = std::cell::RefCell::new(&mut *on);
            let watch = |loading: Loading<'_>| {
                on.borrow_mut()(Progress::Loading(loading));
                Ok(())
            };
            let corpus = prepare::load(&mut config, &watch)?;
            let asked = config.data.tokenizer.clone();
            let (tokenizer, _) = prepare::tokenizer(&mut config, &corpus, Some(&asked), &watch)?;
            let findings = corpus.prepare(&tokenizer, &config.data_options(), &watch)?;
            findings.check()?;
            on.borrow_mut()(Progress::Encoded(&findings));
            (corpus, tokenizer)
        };
        let gpu = Gpu::open(&self.device)?;
        on(Progress::Device(&gpu));
        doctor::self_check(&gpu, &mut |_| Ok(()))?;
        let memory = self.fit(&mut config, &gpu)?;
        let choice = if self.tune { tune(&gpu, &config, on)? } else { Choice::default() };
        let mut run = Run::create(&gpu, &claim, config, &corpus, tokenizer, &choice)?;
        let root = claim.root().to_path_buf();
        on(Progress::Created { root: &root, config: run.config(), memory: &memory });
        let summary = run.train(stop, |event| on(Progress::Training(event)))?;
        Ok(Trained { root, summary })
    }

    /// Chooses the batch where that is left open, and fails where the run doesn't fit.
    fn fit(&self, config: &mut RunConfig, gpu: &Gpu) -> Result<MemoryEstimate, FitError> {
        let budget = MemoryBudget::of(SharesMemory(gpu.report().shares_memory()), self.memory);
        if let Some(tokens) = self.batch_tokens {
            let (b, n) = memory::choose_batch(config, gpu.caps(), budget, Process::now(), tokens)?;
            (config.train.batch_size, config.train.grad_accum) = (b, n);
        }
        memory::check(config, gpu.caps(), budget, Process::now(), Free::Batch)
    }
}

/// Chooses the fastest kernels that are known; a GPU measures those that aren't.
fn tune(gpu: &Arc<Gpu>, config: &RunConfig, on: &mut dyn FnMut(Progress<'_>)) -> Result<Choice, JobError> {
    let Some(dir) = cache_dir() else { return Ok(Choice::default()) };
    let (mut cache, shapes) = (Cache::open(&dir, gpu), shapes_of(gpu, &[config.session()])?);
    let mut done = 0;
    let tuned = at_first_use(
        gpu,
        &mut cache,
        &shapes,
        |_| Ok(false),
        |_, _| {
            done += 1;
            on(Progress::Tuning { done, of: shapes.len() });
        },
    )?;
    Ok(tuned.choice)
}
