//! What a run does about gradients that aren't finite.

use super::Run;
use crate::files::shell::quoted;
use crate::run::OnNonfinite;
use crate::run::checkpoint::{self, Left, Progress};
use crate::run::metrics::Metrics;
use crate::train::evidence::{Batches, Evidence, MAX_BEFORE};
use crate::train::{Event, RunError};

impl Run {
    /// Does what is to be done about steps whose gradients weren't finite; whether training is somewhere else then.
    pub(super) fn react(&mut self, on: &mut impl FnMut(&Event)) -> Result<bool, RunError> {
        // so many in a row are no bad batch: the weights themselves give nothing finite any more
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

    /// Keeps the evidence of a step. Where it can't be written, that is said.
    fn examine(&mut self, step: u64, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        let from = self.progress.step;
        let n_before = (step - 1).saturating_sub(from).saturating_mul(self.config.tokens_per_step());
        let before = if n_before <= MAX_BEFORE { (from..step - 1).map(|s| self.batches(s)).collect() } else { vec![] };
        let batches = Batches { own: self.batches(step - 1), before };
        let mut evidence = Evidence::gather(&self.session, step, &batches.own)?;
        // steps that were skipped since have changed nothing
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

    /// That training has diverged, with the steps that showed it behind what is said of them.
    pub(super) fn diverged(&self, of_them: &str) -> RunError {
        let (step, root) = (self.step(), quoted(self.dir.root()));
        // those of a run that was resumed are the last ones of its checkpoint
        let before = Some((step + 1 - self.progress.in_a_row.min(step), step)).filter(|&(first, last)| first <= last);
        let steps = match self.nonfinite.or(before) {
            Some((first, last)) if first < last => format!("steps {first} to {last} gave nothing finite"),
            Some((only, _)) => format!("step {only} gave nothing finite"),
            None => format!("that was the work of step {step}"),
        };
        RunError::Diverged {
            reason: format!(
                "{of_them}{steps}: training has diverged; lower --lr in a new run, or in one that goes on from the best model so far: tril import {root} --out NEW, then tril train TEXT --resume NEW --lr LR"
            ),
        }
    }

    /// Goes back to the last checkpoint, and on from there with the batches after those that were tried.
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
            // what is on the disk stays the best
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
        // what this finds was found before, or is lost with the steps that are given up
        let _ = self.dir.truncate_metrics(&Progress { step: to, ..Progress::default() });
        self.metrics = Metrics::open(&self.dir);
        on(&Event::RolledBack { to, from });
        // so that a resumed run passes the same batches over
        self.save(on)
    }
}
