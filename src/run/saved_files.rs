//! The files of a run that record what it was saved with, the newest first.

use std::fs;
use std::path::PathBuf;

use super::dir::{MODEL, TOKENIZER};
use super::saved_settings::{Compared, SavedSettings};
use super::{RunConfig, RunDir, RunDirError, checkpoint};
use crate::files::tensor_file::{Entries, Reader};

type Tensors = fn(&SavedSettings) -> Entries;

/// The files that record their settings, the newest first, with their tensors.
fn all(dir: &RunDir) -> impl Iterator<Item = (PathBuf, Reader, SavedSettings, Tensors)> {
    let state: Tensors = |kept| checkpoint::state(kept.model(), kept.optimizer());
    let weights: Tensors = |kept| kept.model().param_shapes();
    let states = checkpoint::states(dir).into_iter().map(move |path| (path, state));
    let files = states.chain([(dir.path(MODEL), weights)]);
    files.filter_map(|(path, tensors)| {
        let file = Reader::open(&path).ok()?;
        let kept = SavedSettings::of(&file).ok()??;
        Some((path, file, kept, tensors))
    })
}

/// The newest undamaged file with its settings, and its path.
pub(super) fn newest(dir: &RunDir) -> Option<(PathBuf, SavedSettings)> {
    all(dir).find_map(|(path, mut file, kept, tensors)| {
        file.verify(&tensors(&kept)).ok()?;
        Some((path, kept))
    })
}

/// Fails if `config.toml` or `tokenizer.json` differs from what the newest undamaged file was saved with.
pub(super) fn check(dir: &RunDir, config: &RunConfig, of: Compared) -> Result<(), RunDirError> {
    for (_, mut file, kept, tensors) in all(dir) {
        let right = compare(dir, config, of, &kept);
        // a damaged file proves nothing about the others
        if right.is_ok() || file.verify(&tensors(&kept)).is_ok() {
            return right;
        }
    }
    Ok(())
}

fn compare(dir: &RunDir, config: &RunConfig, of: Compared, kept: &SavedSettings) -> Result<(), RunDirError> {
    let is_model = kept.check_model(dir, &config.model);
    if is_model.is_err() {
        kept.check_settings(dir, config, Compared::All)?;
    } else if of != Compared::Model {
        kept.check_settings(dir, config, of)?;
    }
    is_model?;
    if kept.is_of_run(dir) {
        return Ok(());
    }
    let copy = copy_of_tokenizer(dir, |json| kept.is_of_tokenizer(json));
    let copy = copy.map_or_else(String::new, |(_, path)| format!("; {path} is a copy"));
    Err(RunDirError::OtherTokenizer { path: dir.path(TOKENIZER).display().to_string(), copy })
}

/// Finds the newest copy of the right tokenizer in a checkpoint, and its path.
pub(super) fn copy_of_tokenizer(dir: &RunDir, is_it: impl Fn(&String) -> bool) -> Option<(String, String)> {
    let beside = |state: PathBuf| Some(state.parent()?.join(TOKENIZER));
    let copies = checkpoint::states(dir).into_iter().filter_map(beside);
    let read = |path: PathBuf| Some((fs::read_to_string(&path).ok()?, path.display().to_string()));
    copies.filter_map(read).find(|(json, _)| is_it(json))
}
