//! A run whose weights come from elsewhere.

use std::fs;
use std::path::Path;

use super::checkpoint::{self, MODEL, Progress, STATE};
use super::kept;
use super::run_dir::{io_error, sync_dir};
use super::tensor_file::{PIECE, Writer};
use super::{RunClaim, RunConfig, RunDir, RunDirError};
use crate::data::Tokenizer;

/// Weights that are read from somewhere.
pub trait WeightSource {
    /// Why they can't be read.
    type Error: From<RunDirError>;

    /// Gives all elements of a parameter, named as GPT-2's, to `sink`: in order, in pieces.
    ///
    /// # Errors
    ///
    /// Its own, and whatever `sink` returns.
    fn read(
        &mut self,
        name: &str,
        dims: &[u64],
        sink: &mut dyn FnMut(&[f32]) -> Result<(), RunDirError>,
    ) -> Result<(), Self::Error>;
}

impl RunDir {
    /// Makes a run of these weights at step 0. The same weights give the same bytes. Until everything is written, the
    /// directory counts as that of a run that was never started.
    ///
    /// # Errors
    ///
    /// As [`RunClaim::take`], and whatever the source says; nothing is left behind then.
    pub fn import<S: WeightSource>(
        root: &Path,
        config: &RunConfig,
        tokenizer: &Tokenizer,
        source: &mut S,
    ) -> Result<Self, S::Error> {
        let claim = RunClaim::take(root)?;
        claim.fill(|| {
            let dir = Self::fill(&claim, config, tokenizer)?;
            fill(&dir, config, source)?;
            dir.keep();
            Ok(dir)
        })
    }
}

fn fill<S: WeightSource>(dir: &RunDir, config: &RunConfig, source: &mut S) -> Result<(), S::Error> {
    let checkpoint = checkpoint::folder(dir, 0);
    let (part, model_part) = (checkpoint.with_extension("part"), dir.path(&format!("{MODEL}.part")));
    fs::create_dir_all(&part).map_err(io_error(&part))?;
    let params = config.model.param_shapes();
    let mut model = Writer::create(&model_part, &params, checkpoint::model_meta(dir, &config.model, 0))?;
    let progress = Progress { model: Some(0), imported: true, ..Progress::default() };
    let meta = checkpoint::state_meta(kept::of_weights(dir, &config.model), &progress);
    let entries = checkpoint::state(&config.model, &config.train.optimizer);
    let mut state = Writer::create(&part.join(STATE), &entries, meta)?;
    for (name, dims) in &params {
        source.read(name, dims, &mut |piece| {
            model.write(piece)?;
            state.write(piece)
        })?;
    }
    let zeros = vec![0.0; PIECE];
    for (_, dims) in entries.iter().skip(params.len()) {
        let mut left = dims.iter().product::<u64>();
        while left > 0 {
            let n = left.min(PIECE as u64);
            state.write(&zeros[..n as usize])?;
            left -= n;
        }
    }
    model.finish()?;
    state.finish()?;
    checkpoint::copy_tokenizer(dir, &part)?;
    sync_dir(&part)?;
    let model = dir.path(MODEL);
    fs::rename(&model_part, &model).map_err(io_error(&model))?;
    sync_dir(dir.root())?;
    // only now is it a run
    fs::rename(&part, &checkpoint).map_err(io_error(&checkpoint))?;
    sync_dir(&dir.path(checkpoint::CHECKPOINTS))?;
    Ok(())
}
