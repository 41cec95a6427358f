use std::fmt;
use std::path::PathBuf;

use super::CheckpointError;
use super::evidence::Evidence;
use super::{SessionError, StepResult};
use crate::data::DataError;
use crate::files::FileError;
use crate::model::ConfigError;
use crate::run::RunDirError;
use crate::speed::Profile;

/// An error that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The device.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The run directory.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// Training that produces non-finite values and can't continue.
    #[error("{reason}")]
    Diverged {
        /// What happened, and what to do.
        reason: String,
    },
    /// A new run that could not be saved.
    #[error("the run could not be saved, so it was not started: {reason}; free disk space and repeat the command")]
    NotBegun {
        /// The error.
        reason: String,
    },
    /// A final state that could not be saved.
    #[error(
        "the last state could not be saved: {reason}; free disk space or restore the folder, and continue with --resume"
    )]
    Unsaved {
        /// The last error.
        reason: String,
    },
    /// Fewer steps left than a profile needs.
    #[error("--profile needs at least 5 steps, but only {left} are left; raise --steps")]
    NoProfile {
        /// Steps left.
        left: u64,
    },
    /// Fewer steps requested than are done.
    #[error("--steps {steps} is before the checkpoint's step {step}; raise it, or start a new run with --out")]
    Behind {
        /// The steps requested.
        steps: u64,
        /// Steps done.
        step: u64,
    },
}

impl From<FileError> for RunError {
    fn from(error: FileError) -> Self {
        Self::Dir(error.into())
    }
}

impl From<CheckpointError> for RunError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Dir(e) => Self::Dir(e),
            CheckpointError::Session(e) => Self::Session(e),
            CheckpointError::NotFinite { .. } => Self::Diverged { reason: error.to_string() },
        }
    }
}

/// The current activity of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Measuring the device's peak throughput.
    Measuring,
    /// Training.
    Stepping,
    /// Evaluating the validation split.
    Evaluating {
        /// Windows done.
        done: u64,
        /// Windows in total.
        of: u64,
    },
    /// Generating a sample.
    Sampling,
    /// Writing a checkpoint.
    Saving,
}

/// An event that a run reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The activity has changed or progressed.
    Doing(Doing),
    /// A step's results have arrived.
    Step {
        /// What the device computed.
        result: StepResult,
        /// Its learning rate.
        lr: f64,
        /// Real tokens per second over the last few steps.
        tokens_per_s: f64,
        /// Model FLOP utilisation: the model's floating-point operations as a share of this device's fastest matrix
        /// product.
        mfu: f64,
    },
    /// The profiled steps are done.
    Profile {
        /// Where their time went.
        profile: Box<Profile>,
        /// Where the trace was written.
        trace: PathBuf,
    },
    /// The validation split was evaluated.
    Eval {
        /// Steps done.
        step: u64,
        /// Mean loss, nats per target.
        loss: f64,
        /// Bits per byte of text.
        bits_per_byte: Option<f64>,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A sample was generated.
    Sample {
        /// Steps done.
        step: u64,
        /// The text.
        text: String,
    },
    /// A checkpoint was written.
    Saved {
        /// Steps done.
        step: u64,
    },
    /// Something could not be written. Training continues, and the next save tries again.
    NotSaved {
        /// Steps done.
        step: u64,
        /// Why.
        reason: String,
    },
    /// The best model could not be saved earlier, and the best one available now was saved.
    Repaired {
        /// Steps done.
        step: u64,
        /// What was saved.
        repaired: Repaired,
    },
    /// `metrics.jsonl` was removed during the run: earlier lines are lost, and a new file was begun.
    MetricsAnew {
        /// Steps done.
        step: u64,
    },
    /// A loss or gradient norm far above the previous ones.
    Spike {
        /// The step.
        step: u64,
        /// The loss or the gradient norm.
        what: &'static str,
        /// Its distance from the mean in standard deviations.
        z: f64,
    },
    /// Evidence of a step with a non-finite loss or gradients was saved.
    Evidence {
        /// The evidence.
        evidence: Box<Evidence>,
        /// Its folder.
        path: PathBuf,
    },
    /// After non-finite gradients, training continues from an earlier checkpoint with other batches.
    RolledBack {
        /// The checkpoint's step.
        to: u64,
        /// The step reached before rolling back.
        from: u64,
    },
}

/// Weights that were saved as the best model late.
#[derive(Debug, Clone, PartialEq)]
pub struct Repaired {
    /// Their step.
    pub of: u64,
    /// Their validation loss, if known.
    pub loss: Option<f64>,
    /// Loss and step of better ones that are no longer available.
    pub lost: Option<(f64, u64)>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "saved the weights of step {}, the best available", self.of)?;
        if let Some(loss) = self.loss {
            write!(f, ", with a validation loss of {loss:.4}")?;
        }
        if let Some((loss, step)) = self.lost {
            write!(f, "; those of step {step}, with {loss:.4}, are lost")?;
        }
        Ok(())
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Steps done.
    pub step: u64,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
    /// Best validation loss and its step.
    pub best: Option<(f64, u64)>,
    /// Loss and step of the saved model, if known: differs from the best only if that could not be saved.
    pub saved: Option<(f64, u64)>,
    /// Steps that changed nothing: not finite, or skipped spikes.
    pub n_skipped: u64,
}

impl Summary {
    /// Whether training has found no better model than the imported one, which is the only one evaluated before
    /// the first step.
    pub fn imported_is_best(&self) -> bool {
        self.step > 0 && self.best.is_some_and(|(_, step)| step == 0)
    }
}
