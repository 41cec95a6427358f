use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::checkpoint::{self, LoadedCheckpoint, none};
use super::dir::{CONFIG, TOKENIZER, set_aside};
use super::restore::{self, Fault};
use super::saved_files;
use super::saved_settings::Compared;
use super::{RunConfig, RunDir, RunDirError};
use crate::data::{DataError, Tokenizer};
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
        if locked.is_some() && !root.join(CONFIG).exists() && RunDir::never_started(root) {
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

impl RunDir {
    /// Opens a run directory. If `config.toml` or `tokenizer.json` is missing or damaged, its content is taken from a
    /// checkpoint, with a warning in [`RunDir::warnings`].
    ///
    /// # Errors
    ///
    /// [`RunDirError::Missing`], [`RunDirError::Foreign`] if it isn't a run, [`RunDirError::Lost`],
    /// [`RunDirError::Changed`] if the model in its config differs from the saved one, [`RunDirError::OtherTokenizer`].
    pub fn open(root: &Path) -> Result<(Self, RunConfig, Tokenizer), RunDirError> {
        let foreign = |reason: String| RunDirError::Foreign { path: root.display().to_string(), reason };
        match fs::metadata(root) {
            Ok(kind) if kind.is_dir() => {}
            Ok(_) => return Err(foreign("it is a file, not a folder".into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(RunDirError::Missing(root.display().to_string()));
            }
            Err(e) => return Err(io_error(root)(e).into()),
        }
        let damaged =
            |name: &str, reason: String| RunDirError::Damaged { path: root.join(name).display().to_string(), reason };
        let mut dir = Self::at(root, None);
        let parsed = |text: String| RunConfig::from_toml(CONFIG, &text).map_err(|e| Fault::Damaged(e.reason));
        let config = match restore::read(&dir, CONFIG).and_then(parsed) {
            Ok(config) => config,
            Err(fault) => {
                let (config, lost) = restore::config(&dir, fault)?;
                dir.lost.push(lost);
                config
            }
        };
        let parse = |json: &str| {
            Tokenizer::from_json(json).map_err(|error| match error {
                DataError::BadTokenizer { reason } => reason,
                other => other.to_string(),
            })
        };
        let parsed = |json: String| parse(&json).map(|tokenizer| (json, tokenizer)).map_err(Fault::Damaged);
        let (json, tokenizer) = match restore::read(&dir, TOKENIZER).and_then(parsed) {
            Ok(both) => both,
            Err(fault) => {
                let lost = restore::tokenizer(&dir, &config, fault)?;
                let json = lost.text.clone();
                dir.lost.push(lost);
                let tokenizer = parse(&json).map_err(|reason| damaged(TOKENIZER, reason))?;
                (json, tokenizer)
            }
        };
        dir.set_tokenizer(&json);
        saved_files::check(&dir, &config, Compared::Model)?;
        config.validate().map_err(|e| damaged(CONFIG, e.to_string()))?;
        let tokenizer = tokenizer.for_data(&config.data.mode, config.data.special_tokens);
        // imported models often pad their vocabulary beyond the tokenizer's, to a round number
        if tokenizer.vocab_size() as u64 > config.model.vocab_size {
            let (t, c) = (tokenizer.vocab_size(), config.model.vocab_size);
            return Err(damaged("tokenizer.json", format!("it has {t} tokens, but config.toml says {c}")));
        }
        Ok((dir, config, tokenizer))
    }

    /// Writes replaced files back into the run, keeping the old ones under another name. Returns a line for each.
    pub(crate) fn restore(&mut self) -> Result<Vec<String>, RunDirError> {
        let mut lines = vec![];
        for lost in std::mem::take(&mut self.lost) {
            let path = self.path(lost.name);
            let mut line = format!("{}; the file was rewritten", lost.in_words());
            if path.symlink_metadata().is_ok() {
                let name = set_aside(self, lost.name).map_err(io_error(&path))?;
                line.push_str(&format!("; the old one is kept as {name}"));
            }
            self.write(lost.name, lost.text.as_bytes())?;
            lines.push(line);
        }
        Ok(lines)
    }

    /// Whether a folder holds checkpoints, whatever else of a run is missing.
    pub fn has_checkpoints(root: &Path) -> bool {
        checkpoint::newest_step(&Self::at(root, None)).is_some()
    }

    /// Fails if text would be held out differently, so that a run would be evaluated on what it was trained on.
    ///
    /// # Errors
    ///
    /// As [`RunDir::check_settings`].
    pub fn check_split(&self, config: &RunConfig) -> Result<(), RunDirError> {
        saved_files::check(self, config, Compared::Split)
    }

    /// Fails if a setting that affects results isn't what it was when the run began.
    ///
    /// # Errors
    ///
    /// [`RunDirError::Changed`], which names the settings.
    pub fn check_settings(&self, config: &RunConfig) -> Result<(), RunDirError> {
        saved_files::check(self, config, Compared::All)
    }
}
