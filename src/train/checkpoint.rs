//! Weights and training state to disk and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::run_dir::io_error;
use super::session::Part;
use super::tensor_file::{Checked, Entries, Reader, Writer};
use super::{RunDir, RunDirError, Session, SessionError};
use crate::exec::ExecError;
use crate::model::ModelConfig;

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done. With the seed of the config it also fixes the data position and the dropout masks.
    pub step: u64,
    /// Best validation loss so far, and its step.
    pub best: Option<(f64, u64)>,
    /// Seconds of training so far.
    pub elapsed_s: f64,
    /// Real tokens trained on so far.
    pub tokens: u64,
    /// What was tuned for the run: `kernel/variant` by the key of a task.
    #[serde(default)]
    pub tuned: BTreeMap<String, String>,
    /// Kernel variants that the run used, as `kernel/variant`: other ones round differently.
    pub kernels: Vec<String>,
    /// The adapter.
    pub device: String,
}

impl Progress {
    /// Of a session before its first step, on its device with its kernels.
    pub(super) fn of(session: &Session) -> Self {
        let program = session.program();
        let kernels: BTreeSet<String> = program.plan().steps.iter().map(|step| step.dispatch.name()).collect();
        let tuned = program.gpu().choice().tuned().clone();
        Self { device: program.gpu().name(), kernels: kernels.into_iter().collect(), tuned, ..Self::default() }
    }
}

/// Why a checkpoint can't be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Files.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// The device.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl From<ExecError> for CheckpointError {
    fn from(error: ExecError) -> Self {
        Self::Session(error.into())
    }
}

const MODEL: &str = "model.safetensors";
const STATE: &str = "state.safetensors";

/// Saves the weights under GPT-2's names as `model.safetensors`.
///
/// # Errors
///
/// A failure of the device or the disk; the old file is untouched then.
pub fn save_model(dir: &RunDir, session: &Session) -> Result<(), CheckpointError> {
    let part = dir.path("model.safetensors.part");
    let entries = weights(session);
    let meta = HashMap::from([("format".into(), "pt".into())]);
    let mut file = Writer::create(&part, &entries, meta, Checked::No)?;
    for (name, _) in &entries {
        write(&mut file, session, Part::Weight, name)?;
    }
    file.finish()?;
    let path = dir.path(MODEL);
    fs::rename(&part, &path).map_err(io_error(&path))?;
    Ok(())
}

fn weights(session: &Session) -> Entries {
    session.config().model.params()
}

/// AdamW's moments, and the prefix of their names.
const MOMENTS: [(&str, Part); 2] = [("moment1.", Part::FirstMoment), ("moment2.", Part::SecondMoment)];
const CORRECTIONS: &str = "corrections";

/// Every tensor of a checkpoint, in the order of the data.
fn state(session: &Session) -> Entries {
    let weights = weights(session);
    let moments = weights.iter().flat_map(|(name, dims)| {
        MOMENTS.iter().map(move |(prefix, _)| (format!("{prefix}{name}"), dims.clone())).collect::<Vec<_>>()
    });
    weights.iter().cloned().chain(moments).chain([(CORRECTIONS.to_string(), vec![4])]).collect()
}

fn write(file: &mut Writer, session: &Session, part: Part, name: &str) -> Result<(), CheckpointError> {
    let (tensor, start, len) = session.place(part, name)?;
    session.program().read_pieces(tensor, start, len, |piece| Ok(file.write(piece)?))
}

/// Saves everything that a bit-exact resume needs, beside the old checkpoint, and puts it in its place.
///
/// # Errors
///
/// As [`save_model`].
pub fn save(dir: &RunDir, session: &Session, progress: &Progress) -> Result<(), CheckpointError> {
    let json = serde_json::to_string(progress).unwrap_or_else(|e| panic!("progress has a JSON form: {e}"));
    let meta = HashMap::from([("progress".into(), json)]);
    let (new, current, old) = (dir.path("checkpoint.new"), dir.path("checkpoint"), dir.path("checkpoint.old"));
    remove(&new)?;
    fs::create_dir(&new).map_err(io_error(&new))?;
    // the checksum goes over every tensor's bytes in order, so that a damaged file is recognised
    let mut file = Writer::create(&new.join(STATE), &state(session), meta, Checked::Yes)?;
    let params = weights(session);
    for (name, _) in &params {
        write(&mut file, session, Part::Weight, name)?;
    }
    for (name, _) in &params {
        for (_, part) in MOMENTS {
            write(&mut file, session, part, name)?;
        }
    }
    file.write(&session.corrections()?)?;
    file.finish()?;
    // a kill between the two renames leaves checkpoint.old, which `load` takes
    if current.exists() {
        remove(&old)?;
        fs::rename(&current, &old).map_err(io_error(&current))?;
    }
    fs::rename(&new, &current).map_err(io_error(&current))?;
    remove(&old)?;
    Ok(())
}

fn remove(path: &Path) -> Result<(), RunDirError> {
    if path.exists() { fs::remove_dir_all(path).map_err(io_error(path)) } else { Ok(()) }
}

/// Loads the newest whole checkpoint into a session made from the run's config.
///
/// # Errors
///
/// No checkpoint, a damaged one, or a failure of the device.
pub fn load(dir: &RunDir, session: &mut Session) -> Result<Progress, CheckpointError> {
    let (mut file, progress) = open(dir)?;
    // nothing on the device has changed before the whole file was found to be sound
    file.verify(&state(session))?;
    let params = weights(session);
    for (name, dims) in &params {
        for (prefix, part) in [("", Part::Weight)].into_iter().chain(MOMENTS) {
            file.seek(&format!("{prefix}{name}"), dims)?;
            let (tensor, start, len) = session.place(part, name)?;
            session
                .program()
                .write_pieces(tensor, start, len, |piece| -> Result<(), CheckpointError> { Ok(file.read(piece)?) })?;
        }
    }
    let mut corrections = [0.0; 4];
    file.seek(CORRECTIONS, &[4])?;
    file.read(&mut corrections)?;
    session.restore(progress.step, &corrections)?;
    Ok(progress)
}

/// What the newest whole checkpoint holds besides tensors.
///
/// # Errors
///
/// No checkpoint, or a damaged one.
pub fn progress(dir: &RunDir) -> Result<Progress, RunDirError> {
    open(dir).map(|(_, progress)| progress)
}

fn open(dir: &RunDir) -> Result<(Reader, Progress), RunDirError> {
    // checkpoint.old is there only when a save was cut off between its two renames
    let found =
        ["checkpoint", "checkpoint.old"].map(|name| dir.path(name).join(STATE)).into_iter().find(|p| p.exists());
    let path = found.ok_or_else(|| RunDirError::Foreign {
        path: dir.root().display().to_string(),
        reason: "it holds no checkpoint yet".into(),
    })?;
    let file = Reader::open(&path)?;
    let progress: Progress = serde_json::from_str(file.meta("progress")?).map_err(|e| file.damaged(e.to_string()))?;
    Ok((file, progress))
}

/// Reads `model.safetensors` of a run: every parameter of the model.
///
/// # Errors
///
/// A missing or damaged file.
pub fn load_model(dir: &RunDir, model: &ModelConfig) -> Result<Vec<(String, Vec<f32>)>, RunDirError> {
    let mut file = Reader::open(&dir.path(MODEL)).map_err(|e| match e {
        RunDirError::Io { source, .. } => RunDirError::Foreign {
            path: dir.root().display().to_string(),
            reason: format!("{MODEL} can't be read ({source})"),
        },
        other => other,
    })?;
    let mut read = |name: String, dims: Vec<u64>| {
        file.seek(&name, &dims)?;
        let mut values = vec![0.0; dims.iter().product::<u64>() as usize];
        file.read(&mut values)?;
        Ok((name, values))
    };
    model.params().into_iter().map(|(name, dims)| read(name, dims)).collect()
}
