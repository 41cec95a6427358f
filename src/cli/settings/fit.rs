//! Whether a run fits the memory that there is.

use std::error::Error;

use super::{DeviceArgs, SettingsArgs, SharesMemory};
use crate::cli::misuse::misuse;
use crate::cli::plan::process_bytes;
use crate::cli::reading;
use crate::data::{Mode, TokenizerSpec};
use crate::kernel::Caps;
use crate::run::RunConfig;
use crate::train::memory::{self, FitError, Free, MemoryBudget, MemoryEstimate, Process};
use crate::units::count;

/// A run that fits.
#[derive(Debug)]
pub(in crate::cli) struct Fit {
    pub footprint: MemoryEstimate,
    pub room: MemoryBudget,
    /// The batch that was chosen, and why.
    pub batch: Option<String>,
}

impl SettingsArgs {
    /// Whether the rows of a micro-batch are chosen by the memory there is.
    pub fn chooses_batch(&self) -> bool {
        self.train.batch_tokens.is_some()
    }

    /// Fails on flags that ask for two different batches.
    pub fn check_batch(&self) -> Result<(), Box<dyn Error>> {
        let t = &self.train;
        if t.batch_tokens.is_some() && (t.batch_size.is_some() || t.grad_accum.is_some()) {
            return Err(misuse("--batch-tokens chooses --batch-size and --grad-accum itself; leave those two out"));
        }
        Ok(())
    }

    /// Chooses the batch where `--batch-tokens` asks for it, and checks that the run fits. `process` is what the process
    /// takes without it.
    pub fn fit(
        &self,
        config: &mut RunConfig,
        caps: &Caps,
        shares: SharesMemory,
        process: Process,
    ) -> Result<Fit, FitError> {
        let room = MemoryBudget::of(shares, self.train.memory);
        let mut batch = None;
        if let Some(tokens) = self.train.batch_tokens {
            let (b, n) = memory::choose_batch(config, caps, room, process, tokens)?;
            (config.train.batch_size, config.train.grad_accum) = (b, n);
            let rows = if n == 1 { "all at once" } else { "the most rows that fit" };
            batch = Some(format!(
                "--batch-size {b} --grad-accum {n} for {} a step: {rows} in {room}",
                count(tokens, "token")
            ));
        }
        let footprint = memory::check(config, caps, room, process, Free::Batch)?;
        Ok(Fit { footprint, room, batch })
    }

    /// Checks that a resumed run fits, which keeps its batch.
    pub fn fit_resumed(
        &self,
        config: &RunConfig,
        caps: &Caps,
        shares: SharesMemory,
        process: Process,
    ) -> Result<Fit, FitError> {
        let room = MemoryBudget::of(shares, self.train.memory);
        Ok(Fit { footprint: memory::check(config, caps, room, process, Free::Recompute)?, room, batch: None })
    }

    /// Sees to `--memory` before a text is read: refuses what is too much with any text, and ends the reading of one where it
    /// takes too much.
    ///
    /// # Errors
    ///
    /// [`FitError::Memory`], or no device.
    pub fn fit_any_text(&self, config: &RunConfig, device: &DeviceArgs, free: Free) -> Result<(), Box<dyn Error>> {
        let Some(most) = self.train.memory else { return Ok(()) };
        let adapter = device.find()?;
        let shares = SharesMemory(adapter.shares_memory());
        if shares.0 {
            reading::keep_below(most);
        }
        let mut least = config.clone();
        least.model.vocab_size = match &config.data.tokenizer {
            TokenizerSpec::Bpe(size) => (*size).into(),
            spec if spec.needs_no_text() => spec
                .make(&"".into(), &Mode::Stream, 0.0, &|_| Ok(()))
                .map_or(1, |tokenizer| tokenizer.vocab_size() as u64),
            _ => 1,
        };
        if self.chooses_batch() {
            (least.train.batch_size, least.train.grad_accum) = (1, 1);
        }
        let room = MemoryBudget::of(shares, self.train.memory);
        match memory::check_without_text(&least, &adapter.caps, room, process_bytes(false), free) {
            Err(error @ FitError::Memory { .. }) => Err(error.into()),
            // whatever else is wrong is found once the settings are checked
            _ => Ok(()),
        }
    }
}
