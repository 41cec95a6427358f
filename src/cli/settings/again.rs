//! The settings of a run that is resumed.

use std::error::Error;

use super::SettingsArgs;
use crate::data::{Mode, TokenizerSpec};
use crate::run::{FixedSetting, RunConfig};

impl SettingsArgs {
    /// Applies file and flags to the settings of a run that is resumed. Settings that a flag merely implies for a new
    /// run stay as they are, so that repeating the run's original flags changes nothing.
    pub fn resolve_again(&self, run: &RunConfig) -> Result<RunConfig, Box<dyn Error>> {
        let (mut config, flags) = (self.resolve_over(run)?, &self.train);
        if flags.lr.is_some() && flags.min_lr.is_none() {
            config.train.min_lr = run.train.min_lr;
        }
        if config.data.tokenizer == TokenizerSpec::Auto {
            config.data.tokenizer = run.data.tokenizer.clone();
        }
        let is_documents = |mode: &Mode| *mode != Mode::Stream;
        if flags.separator.is_none() && is_documents(&config.data.mode) && is_documents(&run.data.mode) {
            config.data.mode = run.data.mode.clone();
        }
        Ok(config)
    }

    /// The refused change, if `--batch-tokens` differs from the run's batch.
    pub fn other_batch(&self, run: &RunConfig) -> Option<FixedSetting> {
        let (is, wanted) = (run.tokens_per_step(), self.train.batch_tokens?);
        let setting = || FixedSetting { flag: "--batch-tokens".into(), is: is.to_string(), wanted: wanted.to_string() };
        (is != wanted).then(setting)
    }
}
