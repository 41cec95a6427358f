use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::{CHECKPOINTS, CONFIG, METRICS, MODEL, TOKENIZER};
use super::{RunConfig, RunDir, RunDirError};
use crate::data::Tokenizer;
use crate::files::claim::{Claim, Filled, LOCK};
use crate::files::unfinished::Unfinished;

/// The directory of a future run, in which only this process may start one. Dropping it removes the directory, unless a
/// run was started.
#[derive(Debug)]
pub struct RunClaim {
    claim: Claim,
    /// Removes the directory if the process is ended before a step is done.
    unfinished: Arc<Unfinished>,
}

impl RunClaim {
    /// Claims a directory that doesn't exist yet, is empty, or holds the remains of a run that was killed before its
    /// first checkpoint, which are removed.
    ///
    /// # Errors
    ///
    /// [`RunDirError::Exists`] or [`RunDirError::NotEmpty`] if it holds anything else, [`RunDirError::Taken`] if
    /// another process has claimed it, [`RunDirError::Uncreatable`] for an error of the operating system.
    pub fn take(root: &Path) -> Result<Self, RunDirError> {
        let uncreatable = |source| RunDirError::Uncreatable { path: root.display().to_string(), source };
        // before anything is written there
        check_free(root)?;
        let claim = Claim::take(root).map_err(uncreatable)?;
        let claim = claim.ok_or_else(|| RunDirError::Taken(root.display().to_string()))?;
        // another process may have begun a run, and ended, in the meantime
        if let Err(error) = check_free(root) {
            claim.set_filled(Filled::Yes);
            return Err(error);
        }
        let claim = Self { claim, unfinished: Arc::new(Unfinished::new(root)) };
        claim.empty().map_err(uncreatable)?;
        Ok(claim)
    }

    /// Claims the first free of `<folder>/<name>-1`, `<folder>/<name>-2` and so on.
    ///
    /// # Errors
    ///
    /// [`RunDirError::Uncreatable`].
    pub fn next(folder: &Path, name: &str) -> Result<Self, RunDirError> {
        let mut number = 1_u64;
        loop {
            let root = folder.join(format!("{name}-{number}"));
            match Self::take(&root) {
                Err(RunDirError::Exists(_) | RunDirError::NotEmpty(_) | RunDirError::Taken(_)) => {}
                Err(RunDirError::Uncreatable { .. }) if root.is_file() => {}
                other => return other,
            }
            number += 1;
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.claim.root()
    }

    pub(super) fn unfinished(&self) -> Arc<Unfinished> {
        self.unfinished.clone()
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Removes everything but the lock.
    fn empty(&self) -> io::Result<()> {
        let mut paths: Vec<PathBuf> = fs::read_dir(self.root())?.flatten().map(|entry| entry.path()).collect();
        // the weights first: without a checkpoint being written, they would be taken for a run
        paths.sort_by_key(|path| !path.ends_with(MODEL));
        for path in paths.iter().filter(|path| !path.ends_with(LOCK)) {
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    /// Creates a run in the directory. On an error, the directory is empty again.
    pub(crate) fn fill<T, E>(&self, fill: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.claim.set_filled(Filled::Yes);
        fill().inspect_err(|_| {
            // best effort: the error that led here is the one to report
            let _ = self.empty();
            self.claim.set_filled(Filled::No);
        })
    }
}

impl RunDir {
    /// Creates a run directory with its config and tokenizer.
    ///
    /// # Errors
    ///
    /// As [`RunClaim::take`], or the operating system's error; nothing is left behind then.
    pub fn create(root: &Path, config: &RunConfig, tokenizer: &Tokenizer) -> Result<Self, RunDirError> {
        let claim = RunClaim::take(root)?;
        claim.fill(|| Self::fill(&claim, config, tokenizer))
    }

    /// Writes the config and the tokenizer of a new run.
    pub(crate) fn fill(claim: &RunClaim, config: &RunConfig, tokenizer: &Tokenizer) -> Result<Self, RunDirError> {
        let root = claim.root();
        let json = tokenizer
            .to_json()
            .map_err(|e| RunDirError::Foreign { path: root.display().to_string(), reason: e.to_string() })?;
        let mut dir = Self::at(root, Some(claim.unfinished()));
        dir.set_tokenizer(&json);
        dir.write(CONFIG, config.to_toml().as_bytes())?;
        dir.write(TOKENIZER, json.as_bytes())?;
        dir.write(METRICS, b"")?;
        Ok(dir)
    }
}

fn check_free(root: &Path) -> Result<(), RunDirError> {
    let name = || root.display().to_string();
    match fs::read_dir(root).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) if RunDir::never_started(root) => Ok(()),
        Ok(false) if root.join(CONFIG).exists() || root.join(CHECKPOINTS).exists() => Err(RunDirError::Exists(name())),
        Ok(false) => Err(RunDirError::NotEmpty(name())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RunDirError::Uncreatable { path: name(), source }),
    }
}
