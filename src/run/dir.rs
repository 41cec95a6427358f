//! The directory of a run, and the names of its files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RunDirError;
use crate::files::atomic;
use crate::files::claim::LOCK;
use crate::files::shell::quoted;
use crate::files::unfinished::Unfinished;

/// The settings file of a run.
pub(super) const CONFIG: &str = "config.toml";
/// The tokenizer file of a run, and its copy in the folder of a checkpoint.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Its log.
pub(crate) const METRICS: &str = "metrics.jsonl";
/// Its best model.
pub(crate) const MODEL: &str = "model.safetensors";
/// The folder of its checkpoints, each in a folder named after its step.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// A file whose content was found elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub name: &'static str,
    /// What is wrong with the run's own file.
    pub fault: String,
    /// What replaces it, in words.
    pub taken: String,
    pub text: String,
}

/// A run's directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
    /// The file's content, unparsed.
    tokenizer: Arc<str>,
    tokenizer_crc32: u32,
    /// Files whose content was taken from elsewhere.
    pub(super) lost: Vec<Lost>,
    /// Set if this process created the directory and nothing in it is worth keeping yet.
    new: Option<Arc<Unfinished>>,
}

impl RunDir {
    /// Whether a folder holds the remains of a run killed before its first checkpoint, which are safe to delete.
    pub fn never_started(root: &Path) -> bool {
        const MADE_FIRST: [&str; 4] = [CONFIG, TOKENIZER, METRICS, LOCK];
        let is_first = |path: &Path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let begun =
                |path: &Path| fs::read_dir(path).is_ok_and(|mut all| all.all(|e| e.is_ok_and(|e| is_part(&e.path()))));
            // an import writes the weights there, too, before its checkpoint is complete
            let imports = || name == MODEL && root.join(CHECKPOINTS).join("00000000.part").exists();
            MADE_FIRST.contains(&name.as_str()) || is_part(path) || name == CHECKPOINTS && begun(path) || imports()
        };
        // the first step comes after the first checkpoint
        let has_trained = fs::metadata(root.join(METRICS)).is_ok_and(|metrics| metrics.len() > 0);
        let is_begun = root.join(LOCK).exists() && !has_trained;
        is_begun && fs::read_dir(root).is_ok_and(|all| all.flatten().all(|e| is_first(&e.path())))
    }

    pub(super) fn at(root: &Path, new: Option<Arc<Unfinished>>) -> Self {
        Self { root: root.to_path_buf(), tokenizer: "".into(), tokenizer_crc32: 0, lost: vec![], new }
    }

    pub(super) fn set_tokenizer(&mut self, json: &str) {
        (self.tokenizer, self.tokenizer_crc32) = (json.into(), crc32fast::hash(json.as_bytes()));
    }

    /// Keeps a new run if the process is ended; until then it would be removed.
    pub(crate) fn keep(&self) {
        if let Some(new) = &self.new {
            new.finish(|| {});
        }
    }

    /// Returns a warning for each file that was missing or damaged, with what replaced it.
    pub fn warnings(&self) -> Vec<String> {
        let root = quoted(&self.root);
        let line = |lost: &Lost| format!("{}; tril train --resume {root} rewrites the file", lost.in_words());
        self.lost.iter().map(line).collect()
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
}

impl Lost {
    /// Describes what is wrong, and what replaced the file.
    pub fn in_words(&self) -> String {
        format!("{} {}; {}", self.name, self.fault, self.taken)
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
