use clap::Args;

use crate::model::ModelConfig;
use crate::run::{RunDir, RunDirError, Weights};

/// Which of a run's weights a command uses.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// Use the weights of the last checkpoint instead of those with the best validation loss.
    #[arg(long)]
    last: bool,
}

impl WhichArgs {
    /// Opens the weights, and prints warnings and notes about them on standard error.
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
                "note: this is still the imported model, as no step improved on it; --last uses the checkpoint of \
                 step {step}"
            );
        }
        Ok(weights)
    }

    /// A name for the weights.
    pub fn name(weights: &Weights) -> String {
        match weights.step {
            Some(step) => format!("the checkpoint of step {step}"),
            None => "the best model".into(),
        }
    }
}
