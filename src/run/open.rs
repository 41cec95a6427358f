use std::fs::{self, File};
use std::path::Path;

use super::checkpoint::{self, LoadedCheckpoint, none};
use super::{RunConfig, RunDir, RunDirError};
use crate::data::Tokenizer;
use crate::files::claim::LOCK;
use crate::files::io_error;

/// A run that only this process may train, while this value or the run made from it lives.
#[derive(Debug)]
pub struct OpenRun {
    /// Its directory.
    pub dir: RunDir,
    /// Its settings.
    pub config: RunConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    lock: File,
    /// The newest complete checkpoint, once requested: checking all of it takes a while.
    found: Option<LoadedCheckpoint>,
}

impl OpenRun {
    /// Locks a run and opens it.
    ///
    /// # Errors
    ///
    /// [`RunDirError::Busy`] if another process has it, and as [`RunDir::open`].
    pub fn open(root: &Path) -> Result<Self, RunDirError> {
        // locked first, as another process may be about to write the files; but nothing is written to a folder that is
        // not a run
        let locked = if root.join(LOCK).exists() { Some(lock(root)?) } else { None };
        if locked.is_some() && !root.join("config.toml").exists() && RunDir::never_started(root) {
            return Err(none(root, None, &[]));
        }
        let (dir, config, tokenizer) = RunDir::open(root)?;
        let lock = locked.map_or_else(|| lock(root), Ok)?;
        Ok(Self { dir, config, tokenizer, lock, found: None })
    }

    /// The newest complete checkpoint.
    ///
    /// # Errors
    ///
    /// No checkpoint, or only damaged ones.
    pub fn checkpoint(&mut self) -> Result<&LoadedCheckpoint, RunDirError> {
        let found = self.take_checkpoint()?;
        Ok(self.found.insert(found))
    }

    /// Moves the checkpoint into a run made from this.
    pub(crate) fn take_checkpoint(&mut self) -> Result<LoadedCheckpoint, RunDirError> {
        self.found.take().map_or_else(|| checkpoint::find(&self.dir, &self.config.model), Ok)
    }

    /// Returns the lock for a run made from this.
    pub(crate) fn lock(&self) -> Result<File, RunDirError> {
        Ok(self.lock.try_clone().map_err(io_error(&self.dir.path(LOCK)))?)
    }
}

/// Locks a run for this process, while the returned file is open.
fn lock(root: &Path) -> Result<File, RunDirError> {
    let path = root.join(LOCK);
    let file = File::options().append(true).create(true).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(RunDirError::Busy(root.display().to_string())),
        // missing locks in a file system should not prevent training
        _ => Ok(file),
    }
}
