//! Creates a run from weights of another source.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, Progress, STATE};
use super::dir::MODEL;
use super::saved_settings;
use super::{RunClaim, RunConfig, RunDir, RunDirError};
use crate::data::Tokenizer;
use crate::files::atomic::{self, sync_dir};
use crate::files::io_error;
use crate::files::tensor_file::{PIECE, Writer};

/// A source of weights.
pub trait WeightSource {
    /// The error of reading them.
    type Error: From<RunDirError>;

    /// Passes all elements of a parameter, by its GPT-2 name, to `sink`: in order, in pieces.
    ///
    /// # Errors
    ///
    /// Its own errors, and those of `sink`.
    fn read(
        &mut self,
        name: &str,
        dims: &[u64],
        sink: &mut dyn FnMut(&[f32]) -> Result<(), RunDirError>,
    ) -> Result<(), Self::Error>;
}

impl RunDir {
    /// Creates a run from these weights at step 0. The same weights give the same bytes. Until everything is written,
    /// the directory counts as never started.
    ///
    /// # Errors
    ///
    /// As [`RunClaim::take`], and the source's errors; nothing is left behind then.
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
    let mut files = Files::begin(dir, config)?;
    for (name, dims) in &config.model.param_shapes() {
        source.read(name, dims, &mut |piece| files.write(piece))?;
    }
    Ok(files.finish(dir)?)
}

/// The model and the checkpoint of an import, while they are written.
struct Files {
    checkpoint: PathBuf,
    part: PathBuf,
    model_part: PathBuf,
    model: Writer,
    state: Writer,
    /// Units: elements of the optimizer's state.
    n_state: u64,
}

impl Files {
    fn begin(dir: &RunDir, config: &RunConfig) -> Result<Self, RunDirError> {
        let checkpoint = checkpoint::folder(dir, 0);
        let (part, model_part) = (checkpoint.with_extension("part"), dir.path(&format!("{MODEL}.part")));
        fs::create_dir_all(&part).map_err(io_error(&part))?;
        let params = config.model.param_shapes();
        let model = Writer::create(&model_part, &params, checkpoint::model_meta(dir, &config.model, 0))?;
        let progress = Progress { model: Some(0), imported: true, ..Progress::default() };
        let meta = checkpoint::state_meta(saved_settings::of_weights(dir, &config.model), &progress);
        let entries = checkpoint::state(&config.model, &config.train.optimizer);
        let state = Writer::create(&part.join(STATE), &entries, meta)?;
        let n_state = entries.iter().skip(params.len()).map(|(_, dims)| dims.iter().product::<u64>()).sum();
        Ok(Self { checkpoint, part, model_part, model, state, n_state })
    }

    fn write(&mut self, piece: &[f32]) -> Result<(), RunDirError> {
        self.model.write(piece)?;
        Ok(self.state.write(piece)?)
    }

    fn finish(mut self, dir: &RunDir) -> Result<(), RunDirError> {
        let zeros = vec![0.0; PIECE];
        let mut left = self.n_state;
        while left > 0 {
            let n = left.min(PIECE as u64);
            self.state.write(&zeros[..n as usize])?;
            left -= n;
        }
        self.model.finish()?;
        self.state.finish()?;
        checkpoint::copy_tokenizer(dir, &self.part)?;
        sync_dir(&self.part)?;
        atomic::rename(&self.model_part, &dir.path(MODEL))?;
        // from here on it is a run
        Ok(atomic::rename(&self.part, &self.checkpoint)?)
    }
}
