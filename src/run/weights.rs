use std::collections::HashMap;
use std::io::ErrorKind;

use super::dir::MODEL;
use super::{RunDir, RunDirError, checkpoint};
use crate::files::shell::quoted;
use crate::files::tensor_file::Reader;
use crate::model::ModelConfig;

/// The weights of a run on disk, read one tensor at a time.
#[derive(Debug)]
pub struct Weights {
    file: Reader,
    dims: HashMap<String, Vec<u64>>,
    /// The step of their checkpoint; `None` for the best model.
    pub step: Option<u64>,
    /// What is wrong with newer checkpoints: a line each.
    pub passed_over: Vec<String>,
}

impl Weights {
    /// The weights with the best validation loss: the run's `model.safetensors`.
    ///
    /// # Errors
    ///
    /// A missing or damaged file.
    pub fn best(dir: &RunDir, model: &ModelConfig) -> Result<Self, RunDirError> {
        Self::whole(dir, model).map_err(|error| match reason(&error) {
            Some(reason) => without_model(dir, model, reason),
            None => error,
        })
    }

    /// The same, with the bare error.
    pub(crate) fn whole(dir: &RunDir, model: &ModelConfig) -> Result<Self, RunDirError> {
        let file = checkpoint::open_model(dir, model)?;
        Ok(Self { file, dims: model.param_shapes().into_iter().collect(), step: None, passed_over: vec![] })
    }

    /// The step recorded in the best model; older files don't record it.
    pub(crate) fn step_of_best(&self) -> Option<u64> {
        self.file.meta(checkpoint::STEP).ok()?.parse().ok()
    }

    /// The weights of the newest complete checkpoint.
    ///
    /// # Errors
    ///
    /// No checkpoint, or only damaged ones.
    pub fn last(dir: &RunDir, model: &ModelConfig) -> Result<Self, RunDirError> {
        let found = checkpoint::find(dir, model)?;
        let (step, passed_over) = (Some(found.progress.step), found.passed_over);
        Ok(Self { file: found.file, dims: model.param_shapes().into_iter().collect(), step, passed_over })
    }

    /// The step of the newest checkpoint, if these are still the imported weights because training has found nothing
    /// better.
    pub fn imported_before(&self, dir: &RunDir) -> Option<u64> {
        // only an imported model is evaluated and saved before the first step
        let is_imported = self.step.is_none() && self.step_of_best() == Some(0);
        checkpoint::newest_step(dir).filter(|&newest| is_imported && newest > 0)
    }

    /// Every parameter of the model.
    ///
    /// # Errors
    ///
    /// As [`Weights::read`].
    pub fn read_all(&mut self, model: &ModelConfig) -> Result<Vec<(String, Vec<f32>)>, RunDirError> {
        model.param_shapes().into_iter().map(|(name, _)| Ok((name.clone(), self.read(&name)?))).collect()
    }

    /// Whether the model has a parameter.
    pub fn has(&self, name: &str) -> bool {
        self.dims.contains_key(name)
    }

    /// A parameter by its GPT-2 name.
    ///
    /// # Errors
    ///
    /// A parameter that the model or the file lacks, or the operating system's error.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>, RunDirError> {
        let dims = self.dims.get(name).ok_or_else(|| self.file.damaged(format!("the model has no tensor {name}")))?;
        self.file.seek(name, dims)?;
        let mut values = vec![0.0; dims.iter().product::<u64>() as usize];
        self.file.read(&mut values)?;
        Ok(values)
    }
}

/// Why a file can't be used if it is missing, unreadable or damaged; `None` if the error is about something else.
pub(crate) fn reason(error: &RunDirError) -> Option<String> {
    match error {
        RunDirError::Damaged { reason, .. } => Some(format!("is damaged ({reason})")),
        RunDirError::Io { source, .. } if source.kind() == ErrorKind::NotFound => Some("is missing".into()),
        RunDirError::Io { source, .. } => Some(format!("can't be read ({source})")),
        _ => None,
    }
}

fn without_model(dir: &RunDir, model: &ModelConfig, reason: String) -> RunDirError {
    let root = quoted(dir.root());
    let remedy = match checkpoint::find(dir, model) {
        Ok(found) => format!(
            "the checkpoint of step {} is intact: rebuild the model with tril train --resume {root}, or use the checkpoint with --last",
            found.progress.step
        ),
        Err(_) => "no checkpoint is intact, either; restore one of them, or start a new run with --out".into(),
    };
    RunDirError::NoModel { path: dir.path(MODEL).display().to_string(), reason, remedy }
}
