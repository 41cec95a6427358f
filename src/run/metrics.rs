mod cut;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::dir::METRICS;
use super::{RunDir, RunDirError};
use crate::files::io_error;

/// `metrics.jsonl`, to which lines are appended. Lines that can't be written wait, and are retried with the next one.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    /// `None` until it can be opened.
    file: Option<File>,
    /// Bytes of complete lines in the file.
    len: u64,
    waiting: String,
    /// Set if the file was removed and a new one begun.
    is_anew: bool,
}

impl Metrics {
    /// Opens the file of a run, now or once that is possible.
    pub fn open(dir: &RunDir) -> Self {
        let mut metrics = Self { path: dir.path(METRICS), file: None, len: 0, waiting: String::new(), is_anew: false };
        // a failure recurs with the first line, and is reported then
        let _ = metrics.reopen();
        metrics
    }

    /// Appends a line.
    ///
    /// # Errors
    ///
    /// The operating system's error; the line waits then.
    pub fn log(&mut self, line: &Value) -> Result<(), RunDirError> {
        self.waiting.push_str(&format!("{line}\n"));
        Ok(self.flush().map_err(io_error(&self.path))?)
    }

    /// Syncs the file.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn sync(&mut self) -> Result<(), RunDirError> {
        let synced = self.flush().and_then(|()| self.file.as_ref().map_or(Ok(()), File::sync_all));
        Ok(synced.map_err(io_error(&self.path))?)
    }

    /// Whether the file was removed and a new one begun since the last call.
    pub fn take_anew(&mut self) -> bool {
        std::mem::take(&mut self.is_anew)
    }

    /// Begins a new file if the open one was removed, as anything written to that is lost.
    fn reopen(&mut self) -> io::Result<()> {
        let is_there = self.path.exists();
        if is_there && self.file.is_some() {
            return Ok(());
        }
        // opening a pipe would wait for a reader
        if is_there && !self.path.is_file() {
            return Err(io::Error::other("it is not a file; move it away"));
        }
        let file = File::options().append(true).create(true).open(&self.path)?;
        self.is_anew |= self.file.is_some();
        self.len = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reopen()?;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(self.waiting.as_bytes()).and_then(|()| file.flush());
        if written.is_err() {
            // a line is written completely or not at all
            let _ = file.set_len(self.len);
        } else {
            self.len += self.waiting.len() as u64;
            self.waiting.clear();
        }
        written
    }
}
