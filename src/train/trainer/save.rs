//! Saves a run's checkpoints and its best model.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::Run;
use crate::run::RunDirError;
use crate::run::checkpoint::{self, LoadedCheckpoint, Progress};
use crate::train::{CheckpointError, save, save_model};
use crate::train::{Doing, Event, RunError};

impl Run {
    /// Windows in an evaluation.
    pub fn eval_windows(&self) -> u64 {
        self.extent.windows
    }

    /// Reports that something couldn't be written, once until a write succeeds.
    pub(super) fn note(&mut self, written: Result<(), RunDirError>, on: &mut impl FnMut(&Event)) {
        let Err(error) = written else { return };
        let reason = error.to_string();
        if self.unsaved.as_ref() != Some(&reason) {
            on(&Event::NotSaved { step: self.step(), reason: reason.clone() });
        }
        self.unsaved = Some(reason);
    }

    /// Computes the loss over the validation split and its number of targets; `None` without a split, or if `goes_on`,
    /// called with the number of windows, returned `false`.
    pub(super) fn validate(&mut self, goes_on: &mut dyn FnMut(u64) -> bool) -> Result<Option<(f64, u64)>, RunError> {
        let Some(evaluator) = &mut self.evaluator else { return Ok(None) };
        let b = usize::try_from(self.config.train.batch_size).unwrap_or(usize::MAX);
        let batches = self.dataset.eval_batches(b, self.config.eval_limit());
        Ok(evaluator.loss_while(batches, &mut |n| goes_on(n * b as u64))?)
    }

    /// Evaluates the validation split, if there is one; returns whether that was done, not abandoned because of a stop.
    pub(super) fn evaluate(&mut self, stop: &AtomicBool, on: &mut impl FnMut(&Event)) -> Result<bool, RunError> {
        let of = self.extent.windows;
        let validated = self.validate(&mut |done| {
            on(&Event::Doing(Doing::Evaluating { done, of }));
            !stop.load(Ordering::Relaxed)
        })?;
        let Some((loss, n_target)) = validated else { return Ok(self.evaluator.is_none()) };
        let (step, bits_per_byte) = (self.step(), self.extent.bits_per_byte(loss));
        // weights that produce non-finite values are bad, whatever the loss of a forward pass
        let counts = loss.is_finite() && self.progress.in_a_row == 0;
        let best = counts && self.is_better(loss);
        let line = json!({
            "step": step, "val_loss": loss, "val_tokens": n_target, "bits_per_byte": bits_per_byte, "elapsed_s": self.elapsed(),
        });
        self.log(&line, on);
        if counts {
            self.progress.last = Some((loss, step));
        }
        if best {
            self.progress.best = Some((loss, step));
            self.save_model(None, Some(loss), on)?;
        } else {
            self.keep_best(on)?;
        }
        on(&Event::Eval { step, loss, bits_per_byte, best });
        Ok(true)
    }

    /// Whether a loss is lower than all so far, even if their weights could not be saved.
    pub(super) fn is_better(&self, loss: f64) -> bool {
        self.progress.best.is_none_or(|(best, _)| loss < best)
    }

    /// Saves weights as the model, those of a checkpoint or else the session's, with their loss if known. Returns
    /// whether that succeeded.
    pub(super) fn save_model(
        &mut self,
        from: Option<LoadedCheckpoint>,
        loss: Option<f64>,
        on: &mut impl FnMut(&Event),
    ) -> Result<bool, RunError> {
        let step = from.as_ref().map_or(self.step(), |found| found.progress.step);
        let saved = self.try_save(on, |run| match from {
            Some(mut found) => Ok(checkpoint::copy_model(&run.dir, &mut found, &run.config.model)?),
            None => save_model(&run.dir, &run.session),
        })?;
        if saved {
            (self.progress.model, self.progress.model_loss) = (Some(step), loss);
        }
        Ok(saved)
    }

    pub(super) fn save(&mut self, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        on(&Event::Doing(Doing::Saving));
        let step = self.step();
        let mut has_best = self.keep_best(on)?;
        let mut progress = Progress { step, elapsed_s: self.elapsed(), ..self.progress.clone() };
        // without a validation split, or before the first evaluation, the last model is the best one known
        let saves_model = progress.best.is_none() && progress.in_a_row == 0;
        if saves_model {
            progress.model = Some(step);
        }
        // the lines of metrics.jsonl up to a checkpoint should be on disk when the checkpoint is
        let synced = self.metrics.sync();
        let is_synced = synced.is_ok();
        self.note(synced, on);
        let saved = self.try_save(on, |run| save(&run.dir, &run.session, &progress, &run.config))?;
        self.note_metrics(on);
        if saved {
            self.progress = Progress { model: self.progress.model, ..progress };
        }
        if saves_model {
            has_best = self.save_model(None, None, on)?;
        }
        if saved {
            if has_best && is_synced {
                self.unsaved = None;
            }
            on(&Event::Saved { step });
        }
        Ok(())
    }

    /// Saves a checkpoint, or fails.
    pub(super) fn save_or_fail(&mut self, failed: fn(String) -> RunError) -> Result<(), RunError> {
        self.save(&mut |_| {})?;
        self.unsaved.take().map_or(Ok(()), |reason| Err(failed(reason)))
    }

    /// Tries to save; returns whether something was saved. A disk error is reported but does not stop training.
    fn try_save(
        &mut self,
        on: &mut impl FnMut(&Event),
        save: impl FnOnce(&mut Self) -> Result<(), CheckpointError>,
    ) -> Result<bool, RunError> {
        match save(self) {
            Ok(()) => Ok(true),
            Err(CheckpointError::Dir(error)) => {
                self.note(Err(error), on);
                Ok(false)
            }
            Err(CheckpointError::NotFinite { tensor }) => {
                Err(self.diverged(&format!("{tensor} is not finite, so it is not saved: ")))
            }
            Err(other) => Err(other.into()),
        }
    }
}
