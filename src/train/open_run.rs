use std::fs::{self, File};
use std::path::Path;

use super::checkpoint::{self, none};
use super::run_dir::io_error;
use super::{RunConfig, RunDir, RunDirError, RunError};
use crate::data::Tokenizer;
use crate::data::claim::LOCK;

/// A run that only this process may train, for as long as this value or the run made of it lives.
#[derive(Debug)]
pub struct OpenRun {
    /// Its directory.
    pub dir: RunDir,
    /// Its settings.
    pub config: RunConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    lock: File,
}

impl OpenRun {
    /// Locks a run and opens it.
    ///
    /// # Errors
    ///
    /// [`RunDirError::Busy`] if another process has it, and as [`RunDir::open`].
    pub fn open(root: &Path) -> Result<Self, RunDirError> {
        // first, as another process may be about to write the files; but nothing is written to a folder that is no run
        let locked = if root.join(LOCK).exists() { Some(lock(root)?) } else { None };
        if locked.is_some() && !root.join("config.toml").exists() && RunDir::is_unborn(root) {
            return Err(none(root, None, &[]));
        }
        let (dir, config, tokenizer) = RunDir::open(root)?;
        let lock = locked.map_or_else(|| lock(root), Ok)?;
        Ok(Self { dir, config, tokenizer, lock })
    }

    /// Steps done by the last checkpoint.
    ///
    /// # Errors
    ///
    /// No checkpoint, or none that is whole.
    pub fn step(&self) -> Result<u64, RunError> {
        Ok(checkpoint::find(&self.dir, &self.config.model)?.progress.step)
    }

    /// The lock, for a run that is made of this.
    pub(super) fn lock(&self) -> Result<File, RunDirError> {
        self.lock.try_clone().map_err(io_error(&self.dir.path(LOCK)))
    }
}

/// Locks a run for this process, for as long as the file that is returned is open.
fn lock(root: &Path) -> Result<File, RunDirError> {
    let path = root.join(LOCK);
    let file = File::options().append(true).create(true).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(RunDirError::Busy(root.display().to_string())),
        // a file system without locks is no reason not to train
        _ => Ok(file),
    }
}
