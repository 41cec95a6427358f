use std::collections::HashMap;

use super::kept::check_heads;
use super::tensor_file::Reader;
use super::{RunDir, RunDirError, checkpoint};
use crate::model::ModelConfig;

/// The weights of a run on the disk, read a tensor at a time.
#[derive(Debug)]
pub struct Weights {
    file: Reader,
    dims: HashMap<String, Vec<u64>>,
    /// The step of the checkpoint that they are from; `None` for the best model, which doesn't tell.
    pub step: Option<u64>,
    /// What is wrong with newer checkpoints: a line each.
    pub passed_over: Vec<String>,
}

impl Weights {
    /// Those with the best validation loss: the run's `model.safetensors`.
    ///
    /// # Errors
    ///
    /// A missing or damaged file.
    pub fn best(dir: &RunDir, model: &ModelConfig) -> Result<Self, RunDirError> {
        let mut file = Reader::open(&dir.path(checkpoint::MODEL)).map_err(|e| match e {
            RunDirError::Io { source, .. } => RunDirError::Foreign {
                path: dir.root().display().to_string(),
                reason: format!("{} can't be read ({source})", checkpoint::MODEL),
            },
            other => other,
        })?;
        if file.is_checked() {
            file.verify(&model.params())?;
        }
        check_heads(&file, model)?;
        Ok(Self { file, dims: model.params().into_iter().collect(), step: None, passed_over: vec![] })
    }

    /// Those of the newest checkpoint that is whole.
    ///
    /// # Errors
    ///
    /// No checkpoint, or none but damaged ones.
    pub fn last(dir: &RunDir, model: &ModelConfig) -> Result<Self, RunDirError> {
        let found = checkpoint::find(dir, model)?;
        let (step, passed_over) = (Some(found.progress.step), found.passed_over);
        Ok(Self { file: found.file, dims: model.params().into_iter().collect(), step, passed_over })
    }

    /// A parameter by its GPT-2 name.
    ///
    /// # Errors
    ///
    /// A parameter that the model or the file lacks, or the operating system's refusal.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>, RunDirError> {
        let dims = self.dims.get(name).ok_or_else(|| self.file.damaged(format!("the model has no tensor {name}")))?;
        self.file.seek(name, dims)?;
        let mut values = vec![0.0; dims.iter().product::<u64>() as usize];
        self.file.read(&mut values)?;
        Ok(values)
    }
}
