//! Weights and training state to disk and back.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::run_dir::io_error;
use super::{Moment, RunDir, RunDirError, Session, SessionError};
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
    /// Kernel variants that the run used, as `kernel/variant`: other ones round differently.
    pub kernels: Vec<String>,
    /// The adapter.
    pub device: String,
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

const MODEL: &str = "model.safetensors";
const STATE: &str = "state.safetensors";

type Tensors = Vec<(String, Vec<u64>, Vec<f32>)>;

/// Saves the weights under GPT-2's names as `model.safetensors`.
///
/// # Errors
///
/// A failure of the device or the disk; the old file is untouched then.
pub fn save_model(dir: &RunDir, session: &Session) -> Result<(), CheckpointError> {
    let part = dir.path("model.safetensors.part");
    write_tensors(&part, &weights(session)?, HashMap::from([("format".into(), "pt".into())]))?;
    let path = dir.path(MODEL);
    fs::rename(&part, &path).map_err(io_error(&path))?;
    Ok(())
}

fn weights(session: &Session) -> Result<Tensors, SessionError> {
    let params = session.config().model.params().into_iter();
    params.map(|(name, dims)| session.weight(&name).map(|values| (name, dims, values))).collect()
}

/// Saves everything that a bit-exact resume needs, beside the old checkpoint, and puts it in its place.
///
/// # Errors
///
/// As [`save_model`].
pub fn save(dir: &RunDir, session: &Session, progress: &Progress) -> Result<(), CheckpointError> {
    let mut tensors = weights(session)?;
    for (name, dims) in session.config().model.params() {
        for (prefix, which) in [("moment1.", Moment::First), ("moment2.", Moment::Second)] {
            tensors.push((format!("{prefix}{name}"), dims.clone(), session.moment(&name, which)?));
        }
    }
    tensors.push(("corrections".into(), vec![4], session.corrections()?));
    let json = serde_json::to_string(progress).unwrap_or_else(|e| panic!("progress has a JSON form: {e}"));
    // the checksum goes over every tensor's bytes in order, so that a damaged file is recognised
    let mut crc = crc32fast::Hasher::new();
    tensors.iter().for_each(|(_, _, values)| crc.update(bytemuck::cast_slice(values)));
    let meta = HashMap::from([("progress".into(), json), ("crc32".into(), format!("{:08x}", crc.finalize()))]);

    let (new, current, old) = (dir.path("checkpoint.new"), dir.path("checkpoint"), dir.path("checkpoint.old"));
    remove(&new)?;
    fs::create_dir(&new).map_err(io_error(&new))?;
    write_tensors(&new.join(STATE), &tensors, meta)?;
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

fn write_tensors(path: &Path, tensors: &Tensors, meta: HashMap<String, String>) -> Result<(), RunDirError> {
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, dims, values)| {
            let shape = dims.iter().map(|&d| d as usize).collect();
            let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values));
            (name.as_str(), view.unwrap_or_else(|e| panic!("{name}: the shape fits the data: {e}")))
        })
        .collect();
    let io = |e: std::io::Error| io_error(path)(e);
    safetensors::serialize_to_file(views, Some(meta), path).map_err(|e| io(std::io::Error::other(e.to_string())))?;
    File::open(path).and_then(|f| f.sync_all()).map_err(io)
}

/// Loads the newest whole checkpoint into a session made from the run's config.
///
/// # Errors
///
/// No checkpoint, a damaged one, or a failure of the device.
pub fn load(dir: &RunDir, session: &mut Session) -> Result<Progress, CheckpointError> {
    // checkpoint.old is there only when a save was cut off between its two renames
    let found =
        ["checkpoint", "checkpoint.old"].map(|name| dir.path(name).join(STATE)).into_iter().find(|p| p.exists());
    let path = found.ok_or_else(|| RunDirError::Foreign {
        path: dir.root().display().to_string(),
        reason: "it holds no checkpoint yet".into(),
    })?;
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    let damaged = |reason: String| RunDirError::Damaged { path: path.display().to_string(), reason };
    let (_, meta) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let meta = meta.metadata().clone().unwrap_or_default();
    let entry = |key: &str| meta.get(key).ok_or_else(|| damaged(format!("it has no {key}")));
    let progress: Progress = serde_json::from_str(entry("progress")?).map_err(|e| damaged(e.to_string()))?;

    let params = session.config().model.params();
    let mut crc = crc32fast::Hasher::new();
    let mut read = |name: &str, dims: &[u64]| -> Result<Vec<f32>, RunDirError> {
        let values = read_tensor(&file, name, dims).map_err(damaged)?;
        crc.update(bytemuck::cast_slice(&values));
        Ok(values)
    };
    let mut weights = vec![];
    for (name, dims) in &params {
        weights.push(read(name, dims)?);
    }
    let mut moments = vec![];
    for (name, dims) in &params {
        for (prefix, which) in [("moment1.", Moment::First), ("moment2.", Moment::Second)] {
            moments.push((name, which, read(&format!("{prefix}{name}"), dims)?));
        }
    }
    let corrections = read("corrections", &[4])?;
    if format!("{:08x}", crc.finalize()) != *entry("crc32")? {
        return Err(damaged("its checksum doesn't match".into()).into());
    }
    for ((name, _), values) in params.iter().zip(&weights) {
        session.set_weight(name, values)?;
    }
    for (name, which, values) in &moments {
        session.set_moment(name, *which, values)?;
    }
    session.restore(progress.step, &corrections)?;
    Ok(progress)
}

fn read_tensor(file: &SafeTensors<'_>, name: &str, dims: &[u64]) -> Result<Vec<f32>, String> {
    let tensor = file.tensor(name).map_err(|_| format!("it has no tensor {name}"))?;
    let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
    if tensor.dtype() != Dtype::F32 || shape != dims {
        return Err(format!("{name} is {:?} {shape:?}, expected F32 {dims:?}", tensor.dtype()));
    }
    Ok(bytemuck::pod_collect_to_vec(tensor.data()))
}

/// Reads `model.safetensors` of a run: every parameter of the model.
///
/// # Errors
///
/// A missing or damaged file.
pub fn load_model(dir: &RunDir, model: &ModelConfig) -> Result<Vec<(String, Vec<f32>)>, RunDirError> {
    let path = dir.path(MODEL);
    let bytes = fs::read(&path).map_err(|e| RunDirError::Foreign {
        path: dir.root().display().to_string(),
        reason: format!("{MODEL} can't be read ({e})"),
    })?;
    let damaged = |reason: String| RunDirError::Damaged { path: path.display().to_string(), reason };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let params = model.params().into_iter();
    params.map(|(name, dims)| read_tensor(&file, &name, &dims).map(|v| (name, v)).map_err(damaged)).collect()
}
