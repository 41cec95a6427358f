//! What a run keeps on the disk: its checkpoints, and the best model.

use serde_json::json;

use super::Run;
use crate::train::checkpoint::{self, CheckpointError, Progress};
use crate::train::weights::reason;
use crate::train::{Event, RunDirError, RunError, Weights};

impl Run {
    /// Says that something couldn't be written, once until something can again.
    pub(super) fn note(&mut self, written: Result<(), RunDirError>, on: &mut impl FnMut(&Event)) {
        let Err(error) = written else { return };
        let reason = error.to_string();
        if self.unsaved.as_ref() != Some(&reason) {
            on(&Event::NotSaved { step: self.step(), reason: reason.clone() });
        }
        self.unsaved = Some(reason);
    }

    /// The loss over the validation split and its number of targets, where there is one.
    fn validate(&mut self) -> Result<Option<(f64, u64)>, RunError> {
        let Some(evaluator) = &mut self.evaluator else { return Ok(None) };
        let b = usize::try_from(self.config.train.batch_size).unwrap_or(usize::MAX);
        Ok(Some(evaluator.loss(self.dataset.eval_batches(b, self.config.eval_limit()))?))
    }

    pub(super) fn evaluate(&mut self, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        let Some((loss, n_target)) = self.validate()? else { return Ok(()) };
        let (step, bits_per_byte) = (self.step(), self.extent.bits_per_byte(loss));
        // weights that gave nothing finite are no good, whatever the loss of a forward pass
        let best = self.is_better(loss) && self.progress.in_a_row == 0;
        let line = json!({
            "step": step, "val_loss": loss, "val_tokens": n_target, "bits_per_byte": bits_per_byte, "elapsed_s": self.elapsed(),
        });
        self.log(&line, on);
        if best {
            self.save_model(Some(loss), on)?;
        }
        on(&Event::Eval { step, loss, bits_per_byte, best });
        Ok(())
    }

    fn is_better(&self, loss: f64) -> bool {
        loss.is_finite() && self.progress.best.is_none_or(|(best, _)| loss < best)
    }

    /// Saves the model as the best one, by its loss where that is known.
    fn save_model(&mut self, loss: Option<f64>, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        let step = self.step();
        if self.try_save(on, |run| checkpoint::save_model(&run.dir, &run.session))? {
            self.progress.best = loss.map(|loss| (loss, step));
            self.progress.model = Some(step);
            self.progress.missed = None;
        } else {
            self.progress.missed = Some(step);
        }
        Ok(())
    }

    pub(super) fn save(&mut self, on: &mut impl FnMut(&Event)) -> Result<(), RunError> {
        let step = self.step();
        let mut progress = Progress { step, elapsed_s: self.elapsed(), ..self.progress.clone() };
        // without a validation split, or before the first evaluation, the last model is the best one known
        let saves_model = progress.best.is_none() && progress.in_a_row == 0;
        if saves_model {
            progress.model = Some(step);
        }
        let saved = self.try_save(on, |run| {
            // what stands in metrics.jsonl up to a checkpoint must be on the disk when the checkpoint is
            run.metrics.sync()?;
            checkpoint::save(&run.dir, &run.session, &progress, &run.config)
        })?;
        self.note_metrics(on);
        if saved {
            self.progress = Progress { model: self.progress.model, ..progress };
        }
        if saves_model {
            self.save_model(None, on)?;
        }
        if saved {
            if self.progress.missed != Some(step) {
                self.unsaved = None;
            }
            on(&Event::Saved { step });
        }
        Ok(())
    }

    /// Saves what can't be gone on without.
    pub(super) fn save_or_fail(&mut self, failed: fn(String) -> RunError) -> Result<(), RunError> {
        self.save(&mut |_| {})?;
        self.unsaved.take().map_or(Ok(()), |reason| Err(failed(reason)))
    }

    /// Whether something was saved. A failure of the disk is said, and is no reason to stop.
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
                Err(self.diverged(&format!("{tensor} is not finite, so it is not saved: the steps")))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Saves the best model anew where the file isn't the one that the checkpoint tells of, or where a better one was missed:
    /// all that is left to take is the state of the checkpoint.
    pub(super) fn mend_model(&mut self) -> Result<(), RunError> {
        let (step, fault) = (self.step(), self.fault_of_model());
        let missed = self.progress.missed == Some(step);
        if fault.is_none() && !missed {
            return Ok(());
        }
        // before the first evaluation the last model is the best one known, and a later one has to prove nothing
        let evaluates = missed || self.progress.best.is_some();
        let loss =
            if evaluates { self.validate()?.map(|(loss, _)| loss).filter(|loss| loss.is_finite()) } else { None };
        if fault.is_some() {
            self.progress.best = None;
        }
        if fault.is_some() || loss.is_some_and(|loss| self.is_better(loss)) {
            self.save_model(loss, &mut |_| {})?;
            let fault = fault.unwrap_or_else(|| "could not be saved before".into());
            let loss = loss.map(|loss| format!(", with a validation loss of {loss:.4}")).unwrap_or_default();
            let model = checkpoint::MODEL;
            self.warnings
                .push(format!("{model} {fault}; the weights of step {step} are saved there as the best known{loss}"));
        } else {
            self.progress.missed = None;
        }
        self.save_or_fail(|reason| RunError::Unsaved { reason })
    }

    /// What is wrong with `model.safetensors`.
    fn fault_of_model(&self) -> Option<String> {
        let found = match Weights::whole(&self.dir, &self.config.model) {
            Ok(weights) => weights.step_of_best()?,
            Err(error) => return Some(reason(&error).unwrap_or_else(|| format!("can't be used ({error})"))),
        };
        let expected = self.progress.model?;
        // a process that was killed before its next checkpoint had gone further, and this one will come there, too
        let comes_again = (self.step() + 1..=self.config.train.steps).contains(&found);
        (found != expected && !comes_again).then(|| format!("is of step {found}, not of {expected}"))
    }
}
