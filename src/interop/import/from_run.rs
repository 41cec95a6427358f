//! Starts a new run from a tril run.

use std::path::Path;

use super::{ImportOptions, Imported, fine_tuning, not_a_model};
use crate::data::Source;
use crate::interop::InteropError;
use crate::run::{DataConfig, RunConfig, RunDir, RunDirError, TrainConfig, WeightSource, Weights};

/// Whether a path is a run, not a model of another program.
pub(in crate::interop) fn is_run(path: &Path) -> bool {
    path.join("config.toml").exists() || RunDir::has_checkpoints(path)
}

/// Creates a run from another one's weights. It takes over that run's tokenizer, data mode, row length and optimizer;
/// the learning rate and number of steps are the defaults for fine-tuning.
pub(super) fn import(path: &Path, root: &Path, options: &ImportOptions) -> Result<Imported, InteropError> {
    if options.tokenizer.is_some() || options.n_head.is_some() {
        return Err(not_a_model(
            path,
            "it is a tril run and keeps its tokenizer and heads; leave out --tokenizer and --n-head",
        ));
    }
    let (dir, run, tokenizer) = RunDir::open(path)?;
    let lost = dir.warnings();
    let mut weights = if options.last { Weights::last(&dir, &run.model)? } else { Weights::best(&dir, &run.model)? };
    let t = run.train;
    let train = TrainConfig {
        batch_size: t.batch_size,
        grad_accum: t.grad_accum,
        seed: t.seed,
        eval_windows: t.eval_windows,
        keep: t.keep,
        on_nonfinite: t.on_nonfinite,
        on_spike: t.on_spike,
        loss_chunk: t.loss_chunk,
        recompute: t.recompute,
        optimizer: t.optimizer,
        ..fine_tuning()
    };
    let data = DataConfig { crc32: 0, source: Source::None, ..run.data };
    let config = RunConfig { model: run.model, train, data };
    let dir = RunDir::import(root, &config, &tokenizer, &mut weights)?;
    let mut notes = std::mem::take(&mut weights.passed_over);
    notes.extend(lost);
    notes.push(match weights.step {
        Some(step) => format!("these are the weights of the checkpoint of step {step}"),
        None => "these are the weights of the best model".into(),
    });
    let tokenizer_from = path.join("tokenizer.json").display().to_string();
    Ok(Imported { dir, config, format: "a tril run", tokenizer_from, n_token: tokenizer.vocab_size(), notes })
}

impl WeightSource for Weights {
    type Error = InteropError;

    fn read(
        &mut self,
        name: &str,
        _: &[u64],
        sink: &mut dyn FnMut(&[f32]) -> Result<(), RunDirError>,
    ) -> Result<(), InteropError> {
        Ok(sink(&Weights::read(self, name)?)?)
    }
}
