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

/// What ends a run.
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
    /// Training that has nothing finite to go on with.
    #[error("{reason}")]
    Diverged {
        /// What was seen, and what to do.
        reason: String,
    },
    /// A beginning that could not be saved.
    #[error("the run could not be saved, so it was not begun: {reason}; free the disk and give the command again")]
    NotBegun {
        /// The failure.
        reason: String,
    },
    /// An end that could not be saved.
    #[error(
        "the last state could not be saved: {reason}; free the disk or restore the folder, and train on with --resume"
    )]
    Unsaved {
        /// The last failure.
        reason: String,
    },
    /// Fewer steps left than a profile takes.
    #[error("--profile takes at least 5 steps, and {left} are left; give more --steps")]
    NoProfile {
        /// Steps left.
        left: u64,
    },
    /// Fewer steps than were done.
    #[error("--steps {steps} is behind the checkpoint's step {step}; give more steps, or start a new run with --out")]
    Behind {
        /// What was asked for.
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

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Measuring what the device can do at best.
    Measuring,
    /// One step after another.
    Stepping,
    /// Evaluating the validation split.
    Evaluating {
        /// Windows done.
        done: u64,
        /// Windows in all.
        of: u64,
    },
    /// Drawing a sample.
    Sampling,
    /// Writing a checkpoint.
    Saving,
}

/// What a run reports while it goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something else is done from now on, or has got further.
    Doing(Doing),
    /// A step's results have arrived.
    Step {
        /// What the device computed.
        result: StepResult,
        /// Its learning rate.
        lr: f64,
        /// Real tokens per second over the last few steps.
        tokens_per_s: f64,
        /// The model's floating-point operations on them, as a share of what this device's fastest matrix product does.
        mfu: f64,
    },
    /// The steps that were to be profiled are done.
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
    /// A sample was drawn.
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
    /// Something could not be written. Training goes on, and the next save tries again.
    NotSaved {
        /// Steps done.
        step: u64,
        /// Why.
        reason: String,
    },
    /// The best model could not be saved before, and what is the best at hand now is saved.
    Repaired {
        /// Steps done.
        step: u64,
        /// What is saved.
        repaired: Repaired,
    },
    /// `metrics.jsonl` was removed while the run goes on: the lines before are lost, and another file is begun.
    MetricsAnew {
        /// Steps done.
        step: u64,
    },
    /// A loss or gradient norm far above those before.
    Spike {
        /// The step.
        step: u64,
        /// Which of the two.
        what: &'static str,
        /// Its distance from the mean in standard deviations.
        z: f64,
    },
    /// What is known of a step whose loss or gradients weren't finite is kept.
    Evidence {
        /// What is known.
        evidence: Box<Evidence>,
        /// Where it is kept.
        path: PathBuf,
    },
    /// After gradients that weren't finite, training goes on from an earlier checkpoint with other batches.
    RolledBack {
        /// The checkpoint's step.
        to: u64,
        /// Steps that are given up.
        from: u64,
    },
}

/// Weights that were saved as the best model later than they were there.
#[derive(Debug, Clone, PartialEq)]
pub struct Repaired {
    /// The step that they are of.
    pub of: u64,
    /// Their validation loss, where it is known.
    pub loss: Option<f64>,
    /// Loss and step of better ones, which are not at hand any more.
    pub lost: Option<(f64, u64)>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weights of step {} are saved there as the best at hand", self.of)?;
        if let Some(loss) = self.loss {
            write!(f, ", with a validation loss of {loss:.4}")?;
        }
        if let Some((loss, step)) = self.lost {
            write!(f, "; those of step {step}, with {loss:.4}, are lost")?;
        }
        Ok(())
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Steps done.
    pub step: u64,
    /// Whether it was stopped before its last step.
    pub interrupted: bool,
    /// Best validation loss and its step.
    pub best: Option<(f64, u64)>,
    /// Those of the model that is saved, where they are known: others only where the best one could not be saved.
    pub saved: Option<(f64, u64)>,
    /// Steps that changed nothing: not finite, or spikes that were to be skipped.
    pub n_skipped: u64,
}

impl Summary {
    /// Whether training has found no better model than the one that was imported, the only one that is evaluated before
    /// the first step.
    pub fn imported_is_best(&self) -> bool {
        self.step > 0 && self.best.is_some_and(|(_, step)| step == 0)
    }
}
