//! Repairs the best model if it couldn't be saved in time, or if its file is missing, damaged or of another step.

use super::Run;
use crate::run::MODEL;
use crate::run::Weights;
use crate::run::checkpoint::{self, LoadedCheckpoint, Progress};
use crate::run::reason;
use crate::train::event::Repaired;
use crate::train::{Event, RunError};

impl Run {
    /// Saves the best weights available as the model, if the best ones so far couldn't be saved. Returns whether
    /// nothing is left to save.
    pub(super) fn keep_best(&mut self, on: &mut impl FnMut(&Event)) -> Result<bool, RunError> {
        let Progress { best, last, model_loss, .. } = self.progress;
        let Some(best) = best.filter(|&(loss, _)| model_loss != Some(loss)) else { return Ok(true) };
        let here = last.filter(|&(_, step)| step == self.step()).map(|(loss, _)| loss);
        let is_better = |loss: f64, than: Option<f64>| than.is_none_or(|than| loss < than);
        let here = here.filter(|&loss| is_better(loss, model_loss));
        let wanted = |kept: &Progress| kept.loss().is_some_and(|l| is_better(l, model_loss) && is_better(l, here));
        let kept = self.best_kept(wanted, |_, found| Ok(found.progress.loss()))?;
        let (loss, from) = match (kept, here) {
            (Some((loss, found)), _) => (loss, Some(found)),
            (None, Some(loss)) => (loss, None),
            (None, None) => return Ok(true),
        };
        let of = from.as_ref().map_or(self.step(), |found| found.progress.step);
        let saved = self.save_model(from, Some(loss), on)?;
        if saved {
            let repaired = Repaired { of, loss: Some(loss), lost: Some(best).filter(|&(best, _)| best < loss) };
            on(&Event::Repaired { step: self.step(), repaired });
        }
        Ok(saved)
    }

    /// Saves the best model again if its file isn't the one that the checkpoint records, or if it couldn't be saved
    /// before. The session must be at the newest checkpoint.
    pub(super) fn repair_model(&mut self, newest: &mut LoadedCheckpoint) -> Result<(), RunError> {
        let mut lines = vec![];
        let saved = match self.fault_of_model() {
            None => self.keep_best(&mut |event| {
                if let Event::Repaired { repaired, .. } = event {
                    lines.push(format!("{MODEL} could not be saved before; {repaired}"));
                }
            })?,
            Some(fault) => self.replace_model(newest)?.is_some_and(|repaired| {
                lines.push(format!("{MODEL} {fault}; {repaired}"));
                true
            }),
        };
        if saved && lines.is_empty() {
            return Ok(());
        }
        self.warnings.append(&mut lines);
        self.save_or_fail(|reason| RunError::Unsaved { reason })
    }

    /// Saves the best of all complete checkpoints as the model; before the first evaluation, when the last model is the
    /// best one known, the newest.
    fn replace_model(&mut self, newest: &mut LoadedCheckpoint) -> Result<Option<Repaired>, RunError> {
        (self.progress.model, self.progress.model_loss) = (None, None);
        let mut kept = None;
        if self.progress.best.is_some() {
            kept = self.best_kept(|_| true, Self::loss_of)?;
            // other weights may have been loaded for evaluation
            self.session.load(newest)?;
        }
        let (loss, from) = kept.map_or((None, None), |(loss, found)| (Some(loss), Some(found)));
        let of = from.as_ref().map_or(self.step(), |found| found.progress.step);
        if !self.save_model(from, loss, &mut |_| {})? {
            return Ok(None);
        }
        if let Some(loss) = loss.filter(|&loss| self.is_better(loss)) {
            self.progress.best = Some((loss, of));
        }
        let lost = self.progress.best.filter(|&(best, _)| loss.is_none_or(|loss| best < loss));
        Ok(Some(Repaired { of, loss, lost }))
    }

    /// Of the wanted complete checkpoints, the one with the lowest loss; among equals the newest.
    fn best_kept(
        &mut self,
        wanted: impl Fn(&Progress) -> bool,
        loss_of: impl Fn(&mut Self, &mut LoadedCheckpoint) -> Result<Option<f64>, RunError>,
    ) -> Result<Option<(f64, LoadedCheckpoint)>, RunError> {
        let mut best: Option<(f64, LoadedCheckpoint)> = None;
        for mut found in checkpoint::whole(&self.dir, &self.config.model, wanted) {
            if let Some(loss) = loss_of(self, &mut found)?
                && best.as_ref().is_none_or(|&(least, _)| loss < least)
            {
                best = Some((loss, found));
            }
        }
        Ok(best)
    }

    /// The validation loss of a checkpoint's weights: recorded, or else measured, which loads them into the
    /// session.
    fn loss_of(&mut self, found: &mut LoadedCheckpoint) -> Result<Option<f64>, RunError> {
        // weights that produce non-finite values are bad, whatever the loss of a forward pass
        if found.progress.loss().is_some() || found.progress.in_a_row > 0 {
            return Ok(found.progress.loss());
        }
        self.session.load_weights(found)?;
        Ok(self.validate(&mut |_| true)?.map(|(loss, _)| loss).filter(|loss| loss.is_finite()))
    }

    /// Describes what is wrong with `model.safetensors`.
    fn fault_of_model(&self) -> Option<String> {
        let found = match Weights::whole(&self.dir, &self.config.model) {
            Ok(weights) => weights.step_of_best()?,
            Err(error) => return Some(reason(&error).unwrap_or_else(|| format!("can't be used ({error})"))),
        };
        let expected = self.progress.model?;
        // a process killed before its next checkpoint had gone further; this one will save the same model again
        let next = self.step() + u64::from(!self.progress.left.evaluation);
        let comes_again = (next..=self.config.train.steps).contains(&found);
        (found != expected && !comes_again).then(|| format!("is of step {found}, not {expected}"))
    }
}
