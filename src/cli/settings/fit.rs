//! Whether a run fits into the available memory.

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

/// The memory of a run that fits.
#[derive(Debug)]
pub(in crate::cli) struct Fit {
    pub footprint: MemoryEstimate,
    pub room: MemoryBudget,
    /// The batch chosen for `--batch-tokens`, and why.
    pub batch: Option<String>,
}

impl SettingsArgs {
    /// Whether the micro-batch is chosen by the available memory.
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

    /// Chooses the batch for `--batch-tokens`, and checks that the run fits. `process` is the memory of the process
    /// without the run.
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
            let rows = if n == 1 { "all rows fit" } else { "the most rows that fit" };
            batch = Some(format!(
                "--batch-size {b} --grad-accum {n} for {} a step: {rows} into {room}",
                count(tokens, "token")
            ));
        }
        let footprint = memory::check(config, caps, room, process, Free::Batch)?;
        Ok(Fit { footprint, room, batch })
    }

    /// Checks that a resumed run, which keeps its batch, fits.
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

    /// Applies `--memory` before a text is read: fails if the run can't fit with any text, and limits the memory of
    /// reading it.
    ///
    /// # Errors
    ///
    /// [`FitError::Memory`], or if there is no device.
    pub fn fit_any_text(&self, config: &RunConfig, device: &DeviceArgs, free: Free) -> Result<(), Box<dyn Error>> {
        let Some(limit) = self.train.memory else { return Ok(()) };
        let adapter = device.find()?;
        let shares = SharesMemory(adapter.shares_memory());
        if shares.0 {
            reading::keep_below(limit);
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
            // the check of the settings reports any other error
            _ => Ok(()),
        }
    }
}
