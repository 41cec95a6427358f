use clap::Args;

use crate::model::ModelConfig;
use crate::run::{RunDir, RunDirError, Weights};

/// Which of a run's weights a command takes.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// Take the weights of the last checkpoint, not the ones with the best validation loss.
    #[arg(long)]
    last: bool,
}

impl WhichArgs {
    /// Opens them, and says on standard error what the user may not expect of them.
    pub fn open(&self, dir: &RunDir, model: &ModelConfig) -> Result<Weights, RunDirError> {
        for line in dir.warnings() {
            errln!("warning: {line}");
        }
        let weights = if self.last { Weights::last(dir, model)? } else { Weights::best(dir, model)? };
        for line in &weights.passed_over {
            errln!("{line}");
        }
        if let Some(step) = weights.imported_before(dir) {
            errln!(
                "note: no step of training has improved on the imported model, so this is still it; --last takes the \
                 checkpoint of step {step}"
            );
        }
        Ok(weights)
    }

    /// The weights in words.
    pub fn name(weights: &Weights) -> String {
        match weights.step {
            Some(step) => format!("the checkpoint of step {step}"),
            None => "the best model".into(),
        }
    }
}
