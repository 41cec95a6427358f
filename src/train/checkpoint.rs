//! Saves a session's weights and state to checkpoints, and loads them.

use std::collections::BTreeSet;

use super::session::Part;
use super::{Session, SessionError};
use crate::exec::ExecError;
use crate::graph::Optimizer;
use crate::run::checkpoint::{self, LoadedCheckpoint, Progress, Tensor, TensorSource, each_tensor};
use crate::run::{RunConfig, RunDir, RunDirError};

/// Why a checkpoint can't be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file error.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// A device error.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Weights or optimizer state that aren't finite.
    #[error("{tensor} is not finite, so it is not saved; train with a lower --lr")]
    NotFinite {
        /// The parameter.
        tensor: String,
    },
}

impl From<ExecError> for CheckpointError {
    fn from(error: ExecError) -> Self {
        Self::Session(error.into())
    }
}

/// The tensors of a session, all of which must be finite.
struct FromSession<'a>(&'a Session);

impl TensorSource for FromSession<'_> {
    type Error = CheckpointError;

    fn read(
        &mut self,
        tensor: Tensor<'_>,
        _: &[u64],
        sink: &mut dyn FnMut(&[f32]) -> Result<(), RunDirError>,
    ) -> Result<(), CheckpointError> {
        let Self(session) = self;
        let (part, name) = match tensor {
            Tensor::Weight(name) => (Part::Weight, name),
            Tensor::State { state, of } => (Part::State(state), of),
            Tensor::Shared(name) => return Ok(sink(&session.shared_state(name)?)?),
        };
        let (id, start, len) = session.place(part, name)?;
        session.program().read_pieces(id, start, len, |piece| {
            if piece.iter().all(|x| x.is_finite()) {
                Ok(sink(piece)?)
            } else {
                Err(CheckpointError::NotFinite { tensor: name.into() })
            }
        })
    }
}

/// Saves the weights under GPT-2's names as `model.safetensors`, with their step in its metadata.
///
/// # Errors
///
/// A device or disk error, or weights that aren't finite; the old file is untouched then.
pub fn save_model(dir: &RunDir, session: &Session) -> Result<(), CheckpointError> {
    checkpoint::write_model(dir, &session.config().model, session.step_count(), &mut FromSession(session))
}

/// Saves everything that a bit-exact resume needs. Keeps as many older checkpoints as the settings say.
///
/// # Errors
///
/// As [`save_model`]; the older checkpoints are untouched then.
pub fn save(dir: &RunDir, session: &Session, progress: &Progress, config: &RunConfig) -> Result<(), CheckpointError> {
    checkpoint::write(dir, &mut FromSession(session), progress, config)
}

impl Session {
    /// The progress of a run before its first step, on this device with these kernels.
    pub(super) fn progress(&self) -> Progress {
        let program = self.program();
        let kernels: BTreeSet<String> = program.plan().steps.iter().map(|step| step.dispatch.name()).collect();
        let tuned = program.plan().choice.tuned().clone();
        Progress { device: program.gpu().name(), kernels: kernels.into_iter().collect(), tuned, ..Progress::default() }
    }

    /// Restores the state of a checkpoint of the same run.
    ///
    /// # Errors
    ///
    /// A device or disk error.
    pub fn load(&mut self, found: &mut LoadedCheckpoint) -> Result<(), CheckpointError> {
        let (model, optimizer) = (self.config().model.clone(), self.config().optimizer);
        each_tensor(&model, &optimizer as &dyn Optimizer, |tensor, dims| self.load_tensor(found, tensor, dims))?;
        self.set_step_count(found.progress.step);
        Ok(())
    }

    /// Loads only the weights of a checkpoint: to evaluate them, not to train on.
    pub(super) fn load_weights(&mut self, found: &mut LoadedCheckpoint) -> Result<(), CheckpointError> {
        let shapes = self.config().model.param_shapes();
        shapes.iter().try_for_each(|(name, dims)| self.load_tensor(found, Tensor::Weight(name), dims))
    }

    fn load_tensor(
        &self,
        found: &mut LoadedCheckpoint,
        tensor: Tensor<'_>,
        dims: &[u64],
    ) -> Result<(), CheckpointError> {
        found.seek(tensor, dims)?;
        let (part, name) = match tensor {
            Tensor::Weight(name) => (Part::Weight, name),
            Tensor::State { state, of } => (Part::State(state), of),
            Tensor::Shared(name) => {
                let mut values = vec![0.0; dims.iter().product::<u64>() as usize];
                found.read_on(&mut values)?;
                return Ok(self.set_shared_state(name, &values)?);
            }
        };
        let (id, start, len) = self.place(part, name)?;
        self.program().write_pieces(id, start, len, |piece: &mut [f32]| Ok(found.read_on(piece)?))
    }
}
