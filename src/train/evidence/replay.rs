//! Replays a step from its evidence.

use std::path::Path;
use std::sync::Arc;

use super::{Evidence, REPORT, foreign};
use crate::data::{Batch, Dataset, Tokenizer};
use crate::files::io_error;
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::run::spikes::OnSpike;
use crate::run::{RunConfig, RunDir, checkpoint};
use crate::train::{RunError, Session};

/// The result of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The evidence, as when the step was first examined.
    pub evidence: Evidence,
    /// Why the step's parameters differ from the original ones, if they do.
    pub note: Option<String>,
}

/// Replays a step whose evidence is at `path`: trains from the checkpoint there up to the step before, and examines
/// the step itself with the saved batch. The run's text is needed only for steps between the two that were not saved;
/// if it is gone, the step is examined with the checkpoint's parameters. Nothing is written.
///
/// # Errors
///
/// [`RunError`]: no evidence, a damaged checkpoint or batch, the device.
pub fn replay(gpu: &Arc<Gpu>, path: &Path) -> Result<Replayed, RunError> {
    let kept = Evidence::read(path)?;
    let whole = path.canonicalize().map_err(io_error(path))?;
    let root = whole.parent().and_then(Path::parent).ok_or_else(|| foreign(path, "it is not in a run".into()))?;
    let (dir, config, tokenizer) = RunDir::open(root)?;
    dir.check_settings(&config)?;
    let mut found = checkpoint::find_at(&dir, &path.join(checkpoint::STATE), &config.model)?;
    let (step, steps, after) = (kept.step, config.train.steps, found.progress.step);
    if step <= after || step > steps {
        let reason =
            format!("{REPORT} is about step {step}, but the run has {steps} and the checkpoint is of step {after}");
        return Err(foreign(path, reason).into());
    }
    let own = kept.batches(path, &config)?;
    let between = match kept.batches_before(path, step - 1 - after, &config)? {
        Some(steps) => Between::Kept(steps),
        None => Between::Text { dataset: dataset(&config, &tokenizer)?, shift: found.progress.shift },
    };
    let is_of_device = found.progress.device == gpu.name();
    let choice = if is_of_device { Choice::of_tuned(found.progress.tuned.clone()) } else { Choice::default() };
    let mut session = Session::with_kernels(gpu, config.session(), &choice)?;
    session.load(&mut found)?;
    let mut spikes = found.progress.spikes.clone();
    let mut note = None;
    while session.step_count() + 1 < step {
        let done = session.step_count();
        let Some(batches) = between.step(done, after, &config) else {
            note = Some(format!(
                "the run's text is gone or has changed, so steps {} to {} can't be repeated: step {step} is \
                 examined with the parameters after step {after}",
                after + 1,
                step - 1
            ));
            break;
        };
        if config.train.on_spike == OnSpike::Skip {
            let [loss, grad_norm] = spikes.limits(done + 1);
            session.set_limits(loss, grad_norm)?;
        }
        session.train_step(&batches, config.schedule().at(done))?;
        while let Some(result) = session.poll()? {
            spikes.take(result.step, result.for_spikes());
        }
    }
    while session.wait()?.is_some() {}
    let seen = Evidence::gather(&session, step, &own)?;
    Ok(Replayed { evidence: Evidence { replay: kept.replay, checksums: kept.checksums, ..seen }, note })
}

/// The batches between the checkpoint and the step.
enum Between {
    Kept(Vec<Vec<Batch>>),
    Text { dataset: Option<Dataset>, shift: u64 },
}

impl Between {
    /// The micro-batches of the step after `done`, counting from the checkpoint after `first`.
    fn step(&self, done: u64, first: u64, config: &RunConfig) -> Option<Vec<Batch>> {
        match self {
            Self::Kept(steps) => steps.get(usize::try_from(done - first).ok()?).cloned(),
            Self::Text { dataset, shift } => {
                let (dataset, train) = (dataset.as_ref()?, &config.train);
                let b = usize::try_from(train.batch_size).unwrap_or(usize::MAX);
                let first = (done + shift) * train.grad_accum;
                Some((0..train.grad_accum).map(|i| dataset.train_batch(train.seed, first + i, b)).collect())
            }
        }
    }
}

/// The run's dataset; `None` if it is gone or has changed.
fn dataset(config: &RunConfig, tokenizer: &Tokenizer) -> Result<Option<Dataset>, RunError> {
    let Ok(corpus) = config.data.source.load() else { return Ok(None) };
    if corpus.verify(config.data.crc32).is_err() {
        return Ok(None);
    }
    Ok(Some(Dataset::of(&corpus, tokenizer, &config.data_options())?))
}
