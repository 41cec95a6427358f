//! Saves and loads weights and training state.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dir::{CHECKPOINTS, MODEL, TOKENIZER, set_aside};
use super::saved_settings::{self, SavedSettings};
use super::spikes::Spikes;
use super::{RunConfig, RunDir, RunDirError};
use crate::files::atomic::{self, sync_dir};
use crate::files::io_error;
use crate::files::shell::quoted;
use crate::files::tensor_file::{Entries, PIECE, Reader, Writer};
use crate::graph::{AdamwConfig, Optimizer};
use crate::model::ModelConfig;

/// The contents of a checkpoint other than tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done. With the config's seed it also fixes the data position and the dropout masks.
    pub step: u64,
    /// Best validation loss so far, and its step.
    pub best: Option<(f64, u64)>,
    /// The last validation loss, and its step; older checkpoints don't record it.
    #[serde(default)]
    pub last: Option<(f64, u64)>,
    /// Seconds of training so far.
    pub elapsed_s: f64,
    /// Real tokens trained on so far.
    pub tokens: u64,
    /// Statistics of losses and gradient norms.
    #[serde(default)]
    pub spikes: Spikes,
    /// Batches skipped by rollbacks, in steps.
    #[serde(default)]
    pub shift: u64,
    /// The checkpoint of the last rollback, and how often it was rolled back to.
    #[serde(default)]
    pub rolled_back: Option<(u64, u64)>,
    /// The step of the weights in `model.safetensors`; older checkpoints don't record it.
    #[serde(default)]
    pub model: Option<u64>,
    /// Their validation loss, if known.
    #[serde(default)]
    pub model_loss: Option<f64>,
    /// Steps in a row, up to this one, that produced non-finite values.
    #[serde(default)]
    pub in_a_row: u64,
    /// Work left over after this step because of a stop.
    #[serde(default)]
    pub left: Left,
    /// Whether the weights at step 0 were those of a trained model.
    #[serde(default)]
    pub imported: bool,
    /// The tuned kernels of the run: `kernel/variant` by the key of a task.
    #[serde(default)]
    pub tuned: BTreeMap<String, String>,
    /// Kernel variants that the run used, as `kernel/variant`: others round differently.
    pub kernels: Vec<String>,
    /// The adapter.
    pub device: String,
}

/// Work that remains after a step, before the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The validation split remains to be evaluated.
    pub evaluation: bool,
    /// A sample remains to be generated.
    pub sample: bool,
}

impl Left {
    /// Whether any work remains.
    pub fn is_any(self) -> bool {
        self.evaluation || self.sample
    }
}

impl Progress {
    /// The validation loss of the checkpoint's own weights, if they were evaluated.
    pub(crate) fn loss(&self) -> Option<f64> {
        self.last.filter(|&(_, step)| step == self.step).map(|(loss, _)| loss)
    }

    fn of_file(file: &Reader) -> Result<Self, RunDirError> {
        let mut progress: Self =
            serde_json::from_str(file.meta("progress")?).map_err(|e| file.damaged(e.to_string()))?;
        // the same limit as for a config's steps: neither sums nor products with the micro-batches overflow
        if progress.step.max(progress.shift) > u32::MAX.into() {
            return Err(file.damaged(format!("its step is {}", progress.step.max(progress.shift))).into());
        }
        // before `last` existed, the best loss was that of the saved model
        if progress.last.is_none() {
            progress.model_loss = progress.best.map(|(loss, _)| loss);
        }
        Ok(progress)
    }
}

/// A source of a checkpoint's tensors.
pub trait TensorSource {
    /// The error of reading them.
    type Error: From<RunDirError>;

    /// Passes all elements of a tensor to `sink`: in order, in pieces.
    ///
    /// # Errors
    ///
    /// Its own errors, and those of `sink`.
    fn read(
        &mut self,
        tensor: Tensor<'_>,
        dims: &[u64],
        sink: &mut dyn FnMut(&[f32]) -> Result<(), RunDirError>,
    ) -> Result<(), Self::Error>;
}

/// A tensor of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tensor<'a> {
    /// A parameter, by its name.
    Weight(&'a str),
    /// The optimizer's state for each element of a parameter.
    State {
        /// Which state, as [`Optimizer::element_state`] names it.
        state: &'static str,
        /// The parameter.
        of: &'a str,
    },
    /// A shared tensor of the optimizer.
    Shared(&'static str),
}

pub(crate) const STATE: &str = "state.safetensors";

/// Saves the weights under GPT-2's names as `model.safetensors`, with their step in its metadata.
///
/// # Errors
///
/// The error of the source or the disk; the old file is untouched then.
pub(crate) fn write_model<S: TensorSource>(
    dir: &RunDir,
    model: &ModelConfig,
    step: u64,
    source: &mut S,
) -> Result<(), S::Error> {
    let part = dir.path("model.safetensors.part");
    let entries = model.param_shapes();
    let begin = || Ok::<_, RunDirError>(Writer::create(&part, &entries, model_meta(dir, model, step))?);
    let finish = |file: Writer| {
        file.finish()?;
        let path = dir.path(MODEL);
        // a rename can't replace a folder
        if path.is_dir() {
            set_aside(dir, MODEL).map_err(io_error(&path))?;
        }
        Ok::<_, RunDirError>(atomic::rename(&part, &path)?)
    };
    let mut save = || {
        let mut file = begin()?;
        for (name, dims) in &entries {
            source.read(Tensor::Weight(name), dims, &mut |piece| Ok(file.write(piece)?))?;
        }
        Ok::<_, S::Error>(finish(file)?)
    };
    // best effort: a half-written file is of no use, and the disk may be full
    save().inspect_err(|_| drop(fs::remove_file(&part)))
}

/// Opens `model.safetensors` and checks all of it.
pub(crate) fn open_model(dir: &RunDir, model: &ModelConfig) -> Result<Reader, RunDirError> {
    let mut file = Reader::open(&dir.path(MODEL))?;
    if file.is_checked() {
        file.verify(&model.param_shapes())?;
    }
    saved_settings::check_heads(&file, model)?;
    Ok(file)
}

/// Saves a checkpoint's weights as [`write_model`] does: the same bytes.
pub(crate) fn copy_model(dir: &RunDir, found: &mut LoadedCheckpoint, model: &ModelConfig) -> Result<(), RunDirError> {
    write_model(dir, model, found.progress.step, found)
}

impl TensorSource for LoadedCheckpoint {
    type Error = RunDirError;

    fn read(
        &mut self,
        tensor: Tensor<'_>,
        dims: &[u64],
        sink: &mut dyn FnMut(&[f32]) -> Result<(), RunDirError>,
    ) -> Result<(), RunDirError> {
        self.file.seek(&tensor.name(), dims)?;
        let (mut piece, mut left) = (vec![0.0; PIECE], dims.iter().product::<u64>());
        while left > 0 {
            let n = left.min(PIECE as u64);
            self.file.read(&mut piece[..n as usize])?;
            sink(&piece[..n as usize])?;
            left -= n;
        }
        Ok(())
    }
}

/// The key of the step in `model.safetensors`.
pub(super) const STEP: &str = "step";

/// The metadata of `model.safetensors`: PyTorch's layout, and the run and step of the weights.
pub(super) fn model_meta(dir: &RunDir, model: &ModelConfig, step: u64) -> HashMap<String, String> {
    let mut meta = saved_settings::of_weights(dir, model);
    meta.extend([("format".into(), "pt".into()), (STEP.into(), step.to_string())]);
    meta
}

/// The metadata of a checkpoint: its progress, added to what it records of its run.
pub(super) fn state_meta(mut meta: HashMap<String, String>, progress: &Progress) -> HashMap<String, String> {
    let json = serde_json::to_string(progress).unwrap_or_else(|e| panic!("progress has a JSON form: {e}"));
    meta.insert("progress".into(), json);
    meta
}

impl Tensor<'_> {
    /// The tensor's name in the file.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Weight(name) | Self::Shared(name) => name.to_string(),
            Self::State { state, of } => format!("{state}.{of}"),
        }
    }
}

/// Visits every tensor of a checkpoint with its shape, in the order of the data: weights, then each one's optimizer
/// state, then the optimizer's shared tensors.
pub(crate) fn each_tensor<E>(
    model: &ModelConfig,
    optimizer: &dyn Optimizer,
    mut take: impl FnMut(Tensor<'_>, &[u64]) -> Result<(), E>,
) -> Result<(), E> {
    let params = model.params();
    for param in &params {
        take(Tensor::Weight(&param.name), param.shape.dims())?;
    }
    for param in &params {
        for &state in optimizer.element_state(param.group) {
            take(Tensor::State { state, of: &param.name }, param.shape.dims())?;
        }
    }
    optimizer.shared_state().iter().try_for_each(|&(name, n)| take(Tensor::Shared(name), &[n]))
}

/// Names and shapes of all tensors of a checkpoint.
pub(super) fn state(model: &ModelConfig, optimizer: &dyn Optimizer) -> Entries {
    let mut entries = vec![];
    let Ok(()) = each_tensor(model, optimizer, |tensor, dims| {
        entries.push((tensor.name(), dims.to_vec()));
        Ok::<_, std::convert::Infallible>(())
    });
    entries
}

/// The folder of a step's checkpoint.
pub fn folder(dir: &RunDir, step: u64) -> PathBuf {
    dir.path(CHECKPOINTS).join(format!("{step:08}"))
}

/// Saves everything that a bit-exact resume needs. Keeps as many older checkpoints as the settings say.
///
/// # Errors
///
/// As [`write_model`]; the older checkpoints are untouched then.
pub(crate) fn write<S: TensorSource>(
    dir: &RunDir,
    source: &mut S,
    progress: &Progress,
    config: &RunConfig,
) -> Result<(), S::Error> {
    let path = folder(dir, progress.step);
    let part = path.with_extension("part");
    remove(&part)?;
    let mut save = || {
        let mut file = begin(dir, &part, progress, config)?;
        each_tensor(&config.model, &config.train.optimizer, |tensor, dims| {
            source.read(tensor, dims, &mut |piece| Ok(file.write(piece)?))
        })?;
        Ok::<_, S::Error>(finish(dir, file, &part, &path)?)
    };
    save().inspect_err(|_| drop(fs::remove_dir_all(&part)))?;
    // remains of an interrupted save, of steps undone by a rollback, and of the previous layout
    let (mut n_older, keep) = (0, config.train.keep.max(1));
    for (step, other) in candidates(dir) {
        n_older += u64::from(step.is_some_and(|s| s < progress.step));
        if other != path && (step.is_none_or(|s| s >= progress.step) || n_older >= keep) {
            remove(&other)?;
        }
    }
    Ok(())
}

/// Begins the file of a checkpoint in its own folder.
fn begin(dir: &RunDir, part: &Path, progress: &Progress, config: &RunConfig) -> Result<Writer, RunDirError> {
    let all = dir.path(CHECKPOINTS);
    // the run's own folder is not created: if it is gone, somebody has removed it
    if !all.exists() {
        fs::create_dir(&all).map_err(io_error(&all))?;
    }
    fs::create_dir(part).map_err(io_error(part))?;
    // the checksum covers every tensor's bytes in order, so that damage is detected
    let meta = state_meta(saved_settings::of_state(dir, config), progress);
    Ok(Writer::create(&part.join(STATE), &state(&config.model, &config.train.optimizer), meta)?)
}

/// Completes the file of a checkpoint, and renames its folder into place.
fn finish(dir: &RunDir, file: Writer, part: &Path, path: &Path) -> Result<(), RunDirError> {
    file.finish()?;
    copy_tokenizer(dir, part)?;
    sync_dir(part)?;
    // a kill between the two renames leaves the old one of the same step, which is valid as well
    if path.exists() {
        let old = path.with_extension("old");
        remove(&old)?;
        fs::rename(path, &old).map_err(io_error(path))?;
    }
    Ok(atomic::rename(part, path)?)
}

/// Copies the tokenizer, which may get lost, into the folder of a checkpoint.
pub(super) fn copy_tokenizer(dir: &RunDir, folder: &Path) -> Result<(), RunDirError> {
    let path = folder.join(TOKENIZER);
    Ok(atomic::write_synced(&path, dir.tokenizer().as_bytes()).map_err(io_error(&path))?)
}

/// All folders that may hold a checkpoint, the newest first, those of unknown step last.
fn candidates(dir: &RunDir) -> Vec<(Option<u64>, PathBuf)> {
    let entries = fs::read_dir(dir.path(CHECKPOINTS)).into_iter().flatten().flatten();
    let step = |path: &Path| path.file_stem()?.to_str()?.parse().ok();
    let mut found: Vec<_> = entries.map(|e| e.path()).filter_map(|path| Some((Some(step(&path)?), path))).collect();
    found.retain(|(_, path)| path.extension().is_none_or(|e| e == "old"));
    // of a step's two folders, the one without an extension is newer
    found.sort_by(|a, b| (b.0, &a.1).cmp(&(a.0, &b.1)));
    let before = ["checkpoint", "checkpoint.old"].map(|name| dir.path(name)).into_iter().filter(|p| p.exists());
    found.into_iter().chain(before.map(|path| (None, path))).collect()
}

/// The state files of all checkpoints, the newest first.
pub(super) fn states(dir: &RunDir) -> Vec<PathBuf> {
    candidates(dir).into_iter().map(|(_, folder)| folder.join(STATE)).collect()
}

/// The step of the newest checkpoint by name, complete or not.
pub(super) fn newest_step(dir: &RunDir) -> Option<u64> {
    candidates(dir).into_iter().find_map(|(step, _)| step)
}

fn remove(path: &Path) -> Result<(), RunDirError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    Ok(removed.map_err(io_error(path))?)
}

/// A complete checkpoint.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    pub(super) file: Reader,
    /// Its contents other than tensors.
    pub progress: Progress,
    /// What is wrong with newer checkpoints: a line each.
    pub passed_over: Vec<String>,
}

/// Finds the newest checkpoint that is complete and undamaged, reading all of it.
///
/// # Errors
///
/// No checkpoint, or only damaged ones.
pub fn find(dir: &RunDir, model: &ModelConfig) -> Result<LoadedCheckpoint, RunDirError> {
    let mut passed_over = vec![];
    for (_, path) in candidates(dir) {
        match open(dir, &path.join(STATE), model) {
            Ok((file, progress)) => {
                passed_over.iter_mut().for_each(|line: &mut String| line.push_str("; skipped"));
                return Ok(LoadedCheckpoint { file, progress, passed_over });
            }
            Err(error @ (RunDirError::Damaged { .. } | RunDirError::Io { .. })) => {
                let reason = match &error {
                    RunDirError::Damaged { reason, .. } => reason.clone(),
                    RunDirError::Io { source, .. } if is_absent(source) => format!("there is no {STATE} in it"),
                    other => other.to_string(),
                };
                passed_over.push(format!("{} is damaged ({reason})", path.display()));
            }
            Err(error) => return Err(error),
        }
    }
    let root = quoted(dir.root());
    let best = open_model(dir, model).ok();
    let best = best.map(|_| {
        format!("; the best model, {MODEL}, is intact; start a new run from it with tril import {root} --out NEW")
    });
    Err(none(dir.root(), best, &passed_over))
}

/// Whether a file doesn't exist, or its folder is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The error for a run without a usable checkpoint. `best` is about its best model; `damaged` has a line for each
/// damaged checkpoint.
pub(super) fn none(root: &Path, best: Option<String>, damaged: &[String]) -> RunDirError {
    let best = best.unwrap_or_default();
    let reason = match damaged {
        [] if RunDir::never_started(root) => {
            "was stopped before its first checkpoint; repeat the command that started it".into()
        }
        [] if !root.join(MODEL).exists() => format!(
            "was trained, but {CHECKPOINTS} and {MODEL} are both missing; restore them, or start a new run with --out"
        ),
        [] => format!("holds no checkpoint{best}; restore the folder {CHECKPOINTS}, or start a new run with --out"),
        [one] => format!("has no other checkpoint: {one}{best}; restore it, or start a new run with --out"),
        all => format!(
            "has {} checkpoints, all damaged: {}{best}; restore one, or start a new run with --out",
            all.len(),
            all.join(", ")
        ),
    };
    RunDirError::NoCheckpoint { path: root.display().to_string(), reason }
}

/// Finds all undamaged checkpoints whose progress is `wanted`, the newest first.
pub(crate) fn whole(dir: &RunDir, model: &ModelConfig, wanted: impl Fn(&Progress) -> bool) -> Vec<LoadedCheckpoint> {
    let is_wanted = |path: &Path| Progress::of_file(&Reader::open(path)?).map(|progress| wanted(&progress));
    let all = states(dir).into_iter().filter(|path| is_wanted(path).unwrap_or(false));
    all.filter_map(|path| find_at(dir, &path, model).ok()).collect()
}

/// Loads a checkpoint from its own path.
///
/// # Errors
///
/// A missing or damaged file.
pub(crate) fn find_at(dir: &RunDir, path: &Path, model: &ModelConfig) -> Result<LoadedCheckpoint, RunDirError> {
    open(dir, path, model).map(|(file, progress)| LoadedCheckpoint { file, progress, passed_over: vec![] })
}

fn open(dir: &RunDir, path: &Path, model: &ModelConfig) -> Result<(Reader, Progress), RunDirError> {
    let mut file = Reader::open(path)?;
    match SavedSettings::of(&file)? {
        Some(kept) => {
            // asking for another model is not damage
            file.verify(&state(kept.model(), kept.optimizer()))?;
            kept.check_model(dir, model)?;
        }
        None => {
            file.verify(&state(model, &AdamwConfig::DEFAULT))?;
            saved_settings::check_heads(&file, model)?;
        }
    }
    let progress = Progress::of_file(&file)?;
    Ok((file, progress))
}

impl LoadedCheckpoint {
    /// Seeks a tensor; [`LoadedCheckpoint::read_on`] then returns its elements in order.
    pub(crate) fn seek(&mut self, tensor: Tensor<'_>, dims: &[u64]) -> Result<(), RunDirError> {
        Ok(self.file.seek(&tensor.name(), dims)?)
    }

    /// Reads the next elements.
    pub(crate) fn read_on(&mut self, values: &mut [f32]) -> Result<(), RunDirError> {
        Ok(self.file.read(values)?)
    }
}
