//! Handles non-finite losses and gradients in a run.

use super::Run;
use crate::files::shell::quoted;
use crate::run::OnNonfinite;
use crate::run::checkpoint::{self, Left, Progress};
use crate::run::metrics::Metrics;
use crate::train::evidence::{Batches, Evidence, MAX_BEFORE};
use crate::train::{Event, RunError};

impl Run {
    /// Handles steps with non-finite gradients; returns whether it rolled back.
    pub(super) fn react(&mut self, on: &mut impl FnMut(&Event)) -> Result<bool, RunError> {
        // this many in a row are not caused by a bad batch: the weights themselves produce non-finite values
        const MAX_IN_A_ROW: u64 = 20;
        if let Some(step) = self.unexamined.take() {
            self.drain(on)?;
            self.examine(step, on)?;
        }
        match self.config.train.on_nonfinite {
            OnNonfinite::Skip if self.progress.in_a_row >= MAX_IN_A_ROW => Err(self.diverged("")),
            OnNonfinite::Skip => Ok(false),
            OnNonfinite::Stop => Err(self.diverged("")),
            OnNonfinite::Rollback => self.roll_back(on).map(|()| true),
        }
    }

    /// Saves the evidence of a step. If that fails, reports it.
    fn examine(&mut self, step: u64, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        let from = self.progress.step;
        let n_before = (step - 1).saturating_sub(from).saturating_mul(self.config.tokens_per_step());
        let before = if n_before <= MAX_BEFORE { (from..step - 1).map(|s| self.batches(s)).collect() } else { vec![] };
        let batches = Batches { own: self.batches(step - 1), before };
        let mut evidence = Evidence::gather(&self.session, step, &batches.own)?;
        // steps skipped since then have changed nothing
        if self.step() + 1 == step + self.progress.in_a_row {
            evidence.params_after = step - 1;
        }
        match evidence.clone().keep(&self.dir, &batches, from) {
            Ok(Some(path)) => on(&Event::Evidence { evidence: Box::new(evidence), path }),
            Ok(None) => {}
            Err(error) => on(&Event::NotSaved { step, reason: error.to_string() }),
        }
        Ok(())
    }

    /// The error for diverged training; `of_them` precedes the steps that showed it.
    pub(super) fn diverged(&self, of_them: &str) -> RunError {
        let (step, root) = (self.step(), quoted(self.dir.root()));
        // for a resumed run, the last ones of its checkpoint
        let before = Some((step + 1 - self.progress.in_a_row.min(step), step)).filter(|&(first, last)| first <= last);
        let steps = match self.nonfinite.or(before) {
            Some((first, last)) if first < last => format!("steps {first} to {last} produced non-finite values"),
            Some((only, _)) => format!("step {only} produced non-finite values"),
            None => format!("caused by step {step}"),
        };
        RunError::Diverged {
            reason: format!(
                "{of_them}{steps}: training has diverged; lower --lr in a new run, or continue from the best model so far: tril import {root} --out NEW, then tril train TEXT --resume NEW --lr LR"
            ),
        }
    }

    /// Returns to the last checkpoint, and continues with the batches after those that were tried.
    fn roll_back(&mut self, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        const MAX_FROM_ONE_CHECKPOINT: u64 = 5;
        self.drain(on)?;
        let from = self.step();
        let mut found = checkpoint::find(&self.dir, &self.config.model)?;
        let to = found.progress.step;
        let tries = if self.progress.rolled_back.is_some_and(|(step, _)| step == to) {
            self.progress.rolled_back.map_or(0, |(_, tries)| tries)
        } else {
            0
        };
        if tries >= MAX_FROM_ONE_CHECKPOINT {
            return Err(self.diverged(&format!("after {tries} rollbacks to step {to}, ")));
        }
        self.session.load(&mut found)?;
        self.progress = Progress {
            shift: self.progress.shift + (from - to),
            rolled_back: Some((to, tries + 1)),
            // the best model on disk stays the best
            best: self.progress.best,
            model: self.progress.model,
            model_loss: self.progress.model_loss,
            in_a_row: 0,
            left: Left::default(),
            device: self.progress.device.clone(),
            kernels: self.progress.kernels.clone(),
            tuned: self.progress.tuned.clone(),
            ..found.progress
        };
        self.n_skipped = self.session.n_skipped()?;
        let synced = self.metrics.sync();
        self.note(synced, on);
        // what this finds was found before, or is lost with the undone steps
        let _ = self.dir.truncate_metrics(&Progress { step: to, ..Progress::default() });
        self.metrics = Metrics::open(&self.dir);
        on(&Event::RolledBack { to, from });
        // so that a resumed run skips the same batches
        self.save(on)
    }
}
