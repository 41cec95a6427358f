use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::RunDirError;
use super::run_dir::{RunDir, io_error};

/// The file of a run.
pub(super) const METRICS: &str = "metrics.jsonl";

/// `metrics.jsonl`, to which lines are appended. What can't be written waits, and is tried again with the next line.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    len: u64,
    waiting: String,
    /// Set where the file was removed and another one begun.
    is_anew: bool,
}

impl Metrics {
    /// Opens the file of a run.
    pub fn open(dir: &RunDir) -> Result<Self, RunDirError> {
        let path = dir.path(METRICS);
        let file = File::options().append(true).create(true).open(&path).map_err(io_error(&path))?;
        let len = file.metadata().map_err(io_error(&path))?.len();
        Ok(Self { path, file, len, waiting: String::new(), is_anew: false })
    }

    /// Appends a line.
    ///
    /// # Errors
    ///
    /// The operating system's refusal; the line waits then.
    pub fn log(&mut self, line: &Value) -> Result<(), RunDirError> {
        self.waiting.push_str(&format!("{line}\n"));
        self.flush().map_err(io_error(&self.path))
    }

    /// Has the disk hold every line.
    ///
    /// # Errors
    ///
    /// The operating system's refusal.
    pub fn sync(&mut self) -> Result<(), RunDirError> {
        self.flush().and_then(|()| self.file.sync_all()).map_err(io_error(&self.path))
    }

    /// Whether the file was removed and another one begun since this was asked last.
    pub fn take_anew(&mut self) -> bool {
        std::mem::take(&mut self.is_anew)
    }

    /// Begins another file where somebody has removed the one that is open: what is written into that is lost.
    fn reopen(&mut self) -> io::Result<()> {
        if self.path.exists() {
            return Ok(());
        }
        self.file = File::options().append(true).create(true).open(&self.path)?;
        (self.len, self.is_anew) = (0, true);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reopen()?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(self.waiting.as_bytes()).and_then(|()| self.file.flush());
        if written.is_err() {
            // a line is there whole or not at all
            let _ = self.file.set_len(self.len);
        } else {
            self.len += self.waiting.len() as u64;
            self.waiting.clear();
        }
        written
    }
}
