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
    /// The operating system refuses.
    #[error("{path}: {source}; check the path, its permissions and the space on the disk")]
    Io {
        /// The file or folder.
        path: String,
        /// Its reason.
        source: io::Error,
    },
    /// A new run over another one.
    #[error("{0} holds a run already; resume it with tril train --resume {quoted}, or choose another --out", quoted = quoted(Path::new(.0)))]
    Exists(String),
    /// A new run in a folder of other files.
    #[error("{0} is not empty; choose another --out")]
    NotEmpty(String),
    /// A new run where another process is about to begin one.
    #[error("another process is starting a run in {0}; choose another --out")]
    Taken(String),
    /// A new run where none can be written.
    #[error("can't write a run to {path}: {source}; choose another --out")]
    Uncreatable {
        /// The directory.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Nothing where a run should be.
    #[error("{0} does not exist; give the directory that `tril train` wrote with --out")]
    Missing(String),
    /// Not a run directory.
    #[error("{path} is not a run directory of tril: {reason}; give the directory that `tril train` wrote with --out")]
    Foreign {
        /// The directory.
        path: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A folder without the evidence of a step.
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
    /// A config that was changed to another number of heads, which fits the weights and gives another model.
    #[error("{path} was saved with n_head = {saved}, and config.toml says {config}; put config.toml back as it was")]
    Heads {
        /// The file.
        path: String,
        /// What it was saved with.
        saved: String,
        /// What the config says.
        config: u64,
    },
    /// A run without a whole checkpoint.
    #[error("{path} {reason}")]
    NoCheckpoint {
        /// The run.
        path: String,
        /// What there is instead, and what to do.
        reason: String,
    },
    /// Settings that were changed under a run.
    #[error("{path} was changed since the run was begun: {what}; put it back, or start a new run with --out")]
    Changed {
        /// The config.
        path: String,
        /// The settings that differ.
        what: String,
    },
    /// A tokenizer that was put into the place of a run's own.
    #[error("{path} is not the tokenizer that the run was begun with, by its checksum; put that one back{copy}")]
    OtherTokenizer {
        /// The tokenizer.
        path: String,
        /// Where there is a copy of the right one, in words.
        copy: String,
    },
    /// A run that has lost a file which nothing can take the place of.
    #[error("{path} {reason}, and {remedy}")]
    Lost {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// Why nothing can, and what to do.
        remedy: String,
    },
    /// A run whose best model can't be used.
    #[error("{path} {reason}; {remedy}")]
    NoModel {
        /// The model.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// What is intact, and how to go on with it.
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

/// Where a run keeps its files.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
    /// The file, not what it means.
    tokenizer: Arc<str>,
    tokenizer_crc32: u32,
    /// Files that are read from elsewhere.
    lost: Vec<Lost>,
    /// Set where this process has made it, and nothing is lost with it yet.
    new: Option<Arc<Unfinished>>,
}

impl RunDir {
    /// Whether this is what is left of a run that was killed before its first checkpoint was there: nothing is lost with it.
    pub fn never_started(root: &Path) -> bool {
        const MADE_FIRST: [&str; 4] = ["config.toml", "tokenizer.json", "metrics.jsonl", LOCK];
        let is_first = |path: &Path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let begun =
                |path: &Path| fs::read_dir(path).is_ok_and(|mut all| all.all(|e| e.is_ok_and(|e| is_part(&e.path()))));
            // an import has the weights there, too, before its checkpoint is whole
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

    /// Makes a new run directory with its config and tokenizer.
    ///
    /// # Errors
    ///
    /// As [`RunClaim::take`], or the operating system's refusal; nothing is left behind then.
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

    /// Has a new run stay where the process is ended: until then it is removed.
    pub(crate) fn keep(&self) {
        if let Some(new) = &self.new {
            new.finish(|| {});
        }
    }

    /// Opens a run directory. What `config.toml` and `tokenizer.json` should hold is taken from a checkpoint where they are missing
    /// or damaged; [`RunDir::warnings`] says so.
    ///
    /// # Errors
    ///
    /// [`RunDirError::Missing`], [`RunDirError::Foreign`] where it isn't one, [`RunDirError::Lost`], [`RunDirError::Changed`] where the model in its config isn't the one that
    /// was saved, [`RunDirError::OtherTokenizer`].
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
        // models from elsewhere often have rows behind those of the tokenizer, to make a round number
        if tokenizer.vocab_size() as u64 > config.model.vocab_size {
            let (t, c) = (tokenizer.vocab_size(), config.model.vocab_size);
            return Err(damaged("tokenizer.json", format!("it has {t} tokens and config.toml {c}")));
        }
        Ok((dir, config, tokenizer))
    }

    /// What files of the run were missing or damaged, and what was taken in their place: a line each.
    pub fn warnings(&self) -> Vec<String> {
        let root = quoted(&self.root);
        let line = |lost: &Lost| format!("{}; tril train --resume {root} writes the file anew", lost.in_words());
        self.lost.iter().map(line).collect()
    }

    /// Writes what was taken from elsewhere into its place, beside what is there. Returns a line for each.
    pub(crate) fn restore(&mut self) -> Result<Vec<String>, RunDirError> {
        let mut lines = vec![];
        for lost in std::mem::take(&mut self.lost) {
            let path = self.path(lost.name);
            let mut line = format!("{} and written there", lost.in_words());
            if path.symlink_metadata().is_ok() {
                let name = set_aside(self, lost.name).map_err(io_error(&path))?;
                line.push_str(&format!("; the old one is kept as {name}"));
            }
            self.write(lost.name, lost.text().as_bytes())?;
            lines.push(line);
        }
        Ok(lines)
    }

    /// Whether there are checkpoints in a folder, whatever else of a run is missing.
    pub fn has_checkpoints(root: &Path) -> bool {
        checkpoint::newest_step(&Self::at(root, None)).is_some()
    }

    /// Fails where text is to be held out otherwise than it was, so that a run would be evaluated on what it was trained on.
    ///
    /// # Errors
    ///
    /// As [`RunDir::check_settings`].
    pub fn check_split(&self, config: &RunConfig) -> Result<(), RunDirError> {
        saved_settings::check(self, config, Compared::Split)
    }

    /// Fails if a setting that decides results isn't what it was when the run began.
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

    /// Writes a file beside its place, syncs it and renames it, so that it is never half there.
    ///
    /// # Errors
    ///
    /// The operating system's refusal; the old file is untouched then.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        Ok(atomic::write(&self.path(name), bytes)?)
    }

    /// Drops the lines of `metrics.jsonl` after a checkpoint, and those of what is still to be done after it, so that a resumed run
    /// writes each line once, and damaged ones. Returns a warning about what is lost.
    pub fn truncate_metrics(&self, progress: &Progress) -> Option<String> {
        metrics::cut(self, progress)
    }
}

/// Whether a file or folder is one that was being written.
fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "part")
}

/// Gives a file or folder of a run another name, and returns that.
pub(crate) fn set_aside(dir: &RunDir, name: &str) -> io::Result<String> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let name_of = |i: u64| format!("{stem}.damaged-{i}.{extension}");
    let is_free = |i: &u64| dir.path(&name_of(*i)).symlink_metadata().is_err();
    let to = name_of((1..).find(is_free).unwrap_or(1));
    fs::rename(dir.path(name), dir.path(&to)).map(|()| to)
}
