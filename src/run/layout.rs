use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::Progress;
use super::restore::{self, CONFIG, Fault, Lost, TOKENIZER};
use super::saved_settings::{self, Compared};
use super::{RunClaim, RunConfig, checkpoint, metrics};
use crate::data::{DataError, Tokenizer};
use crate::files::claim::LOCK;
use crate::files::shell::quoted;
use crate::files::unfinished::Unfinished;
use crate::files::{FileError, atomic, io_error};

/// A run directory that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// An error of the operating system.
    #[error("{path}: {source}; check the path, its permissions and the disk space")]
    Io {
        /// The file or folder.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A new run in the directory of another.
    #[error("{0} already holds a run; resume it with tril train --resume {quoted}, or choose another --out", quoted = quoted(Path::new(.0)))]
    Exists(String),
    /// A new run in a folder of other files.
    #[error("{0} is not empty; choose another --out")]
    NotEmpty(String),
    /// A new run where another process is about to begin one.
    #[error("another process is starting a run in {0}; choose another --out")]
    Taken(String),
    /// A new run that can't be written.
    #[error("can't write a run to {path}: {source}; choose another --out")]
    Uncreatable {
        /// The directory.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A run that doesn't exist.
    #[error("{0} does not exist; give the directory that `tril train` wrote with --out")]
    Missing(String),
    /// Not a run directory.
    #[error("{path} is not a tril run: {reason}; give the directory that `tril train` wrote with --out")]
    Foreign {
        /// The directory.
        path: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A folder without evidence of a step.
    #[error("{path} holds no evidence of a step ({reason}); give a folder in RUN/nonfinite")]
    NoEvidence {
        /// The folder.
        path: String,
        /// What is missing.
        reason: String,
    },
    /// A file of evidence that is damaged.
    #[error("{path} is damaged: {reason}; restore it, or look at another folder of RUN/nonfinite")]
    DamagedEvidence {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A config with a changed number of heads, which fits the weights but gives another model.
    #[error("{path} was saved with n_head = {saved}, but config.toml says {config}; restore config.toml")]
    Heads {
        /// The file.
        path: String,
        /// The saved number of heads.
        saved: String,
        /// The config's number of heads.
        config: u64,
    },
    /// A run without a complete checkpoint.
    #[error("{path} {reason}")]
    NoCheckpoint {
        /// The run.
        path: String,
        /// What it has instead, and what to do.
        reason: String,
    },
    /// Settings that were changed during a run.
    #[error("{path} was changed after the run was started: {what}; restore it, or start a new run with --out")]
    Changed {
        /// The config.
        path: String,
        /// The settings that differ.
        what: String,
    },
    /// A tokenizer that replaced a run's own.
    #[error("{path} is not the tokenizer that the run was started with (its checksum differs); restore that one{copy}")]
    OtherTokenizer {
        /// The tokenizer.
        path: String,
        /// Where to find a copy of the right one, or empty.
        copy: String,
    },
    /// A run that has lost a file which can't be replaced.
    #[error("{path} {reason}, and {remedy}")]
    Lost {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// Why it can't be replaced, and what to do.
        remedy: String,
    },
    /// A run whose best model can't be used.
    #[error("{path} {reason}; {remedy}")]
    NoModel {
        /// The model.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// What is intact, and how to continue with it.
        remedy: String,
    },
    /// A run that another process is training.
    #[error("{0} is being trained by another process; wait until it ends, or stop it with Ctrl-C")]
    Busy(String),
    /// A file that is damaged.
    #[error("{path} is damaged: {reason}; restore it, or start a new run with --out")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl From<FileError> for RunDirError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source } => Self::Io { path, source },
            FileError::Damaged { path, reason } => Self::Damaged { path, reason },
        }
    }
}

/// A run's directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
    /// The file's content, unparsed.
    tokenizer: Arc<str>,
    tokenizer_crc32: u32,
    /// Files whose content was taken from elsewhere.
    lost: Vec<Lost>,
    /// Set if this process created the directory and nothing in it is worth keeping yet.
    new: Option<Arc<Unfinished>>,
}

impl RunDir {
    /// Whether a folder holds the remains of a run killed before its first checkpoint, which are safe to delete.
    pub fn never_started(root: &Path) -> bool {
        const MADE_FIRST: [&str; 4] = ["config.toml", "tokenizer.json", "metrics.jsonl", LOCK];
        let is_first = |path: &Path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let begun =
                |path: &Path| fs::read_dir(path).is_ok_and(|mut all| all.all(|e| e.is_ok_and(|e| is_part(&e.path()))));
            // an import writes the weights there, too, before its checkpoint is complete
            let imports =
                || name == checkpoint::MODEL && root.join(checkpoint::CHECKPOINTS).join("00000000.part").exists();
            MADE_FIRST.contains(&name.as_str())
                || is_part(path)
                || name == checkpoint::CHECKPOINTS && begun(path)
                || imports()
        };
        // the first step comes after the first checkpoint
        let has_trained = fs::metadata(root.join("metrics.jsonl")).is_ok_and(|metrics| metrics.len() > 0);
        let is_begun = root.join(LOCK).exists() && !has_trained;
        is_begun && fs::read_dir(root).is_ok_and(|all| all.flatten().all(|e| is_first(&e.path())))
    }

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
        dir.write("metrics.jsonl", b"")?;
        Ok(dir)
    }

    fn at(root: &Path, new: Option<Arc<Unfinished>>) -> Self {
        Self { root: root.to_path_buf(), tokenizer: "".into(), tokenizer_crc32: 0, lost: vec![], new }
    }

    fn set_tokenizer(&mut self, json: &str) {
        (self.tokenizer, self.tokenizer_crc32) = (json.into(), crc32fast::hash(json.as_bytes()));
    }

    /// Keeps a new run if the process is ended; until then it would be removed.
    pub(crate) fn keep(&self) {
        if let Some(new) = &self.new {
            new.finish(|| {});
        }
    }

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
                let json = lost.text().to_string();
                dir.lost.push(lost);
                let tokenizer = parse(&json).map_err(|reason| damaged(TOKENIZER, reason))?;
                (json, tokenizer)
            }
        };
        dir.set_tokenizer(&json);
        saved_settings::check(&dir, &config, Compared::Model)?;
        config.validate().map_err(|e| damaged(CONFIG, e.to_string()))?;
        let tokenizer = tokenizer.for_data(&config.data.mode, config.data.special_tokens);
        // imported models often pad their vocabulary beyond the tokenizer's, to a round number
        if tokenizer.vocab_size() as u64 > config.model.vocab_size {
            let (t, c) = (tokenizer.vocab_size(), config.model.vocab_size);
            return Err(damaged("tokenizer.json", format!("it has {t} tokens, but config.toml says {c}")));
        }
        Ok((dir, config, tokenizer))
    }

    /// Returns a warning for each file that was missing or damaged, with what replaced it.
    pub fn warnings(&self) -> Vec<String> {
        let root = quoted(&self.root);
        let line = |lost: &Lost| format!("{}; tril train --resume {root} rewrites the file", lost.in_words());
        self.lost.iter().map(line).collect()
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
            self.write(lost.name, lost.text().as_bytes())?;
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
        saved_settings::check(self, config, Compared::Split)
    }

    /// Fails if a setting that affects results isn't what it was when the run began.
    ///
    /// # Errors
    ///
    /// [`RunDirError::Changed`], which names the settings.
    pub fn check_settings(&self, config: &RunConfig) -> Result<(), RunDirError> {
        saved_settings::check(self, config, Compared::All)
    }

    /// The content of `tokenizer.json`.
    pub(super) fn tokenizer(&self) -> &str {
        &self.tokenizer
    }

    /// The checksum of `tokenizer.json`.
    pub(super) fn tokenizer_crc32(&self) -> u32 {
        self.tokenizer_crc32
    }

    /// The directory's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file next to its target, syncs and renames it, so that it is never partial.
    ///
    /// # Errors
    ///
    /// The operating system's error; the old file is untouched then.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        Ok(atomic::write(&self.path(name), bytes)?)
    }

    /// Drops the lines of `metrics.jsonl` after a checkpoint, those of work that remains after it, and damaged ones, so
    /// that a resumed run writes each line once. Returns a warning about lost lines.
    pub fn truncate_metrics(&self, progress: &Progress) -> Option<String> {
        metrics::cut(self, progress)
    }
}

/// Whether a file or folder is a temporary one, still being written.
fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "part")
}

/// Renames a file or folder of a run out of the way, and returns its new name.
pub(crate) fn set_aside(dir: &RunDir, name: &str) -> io::Result<String> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let name_of = |i: u64| format!("{stem}.damaged-{i}.{extension}");
    let is_free = |i: &u64| dir.path(&name_of(*i)).symlink_metadata().is_err();
    let to = name_of((1..).find(is_free).unwrap_or(1));
    fs::rename(dir.path(name), dir.path(&to)).map(|()| to)
}
