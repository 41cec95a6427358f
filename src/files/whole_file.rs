//! A file that a command writes at its end: whether that is possible is checked at the start, and it is never partial.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::claim::LockFile;
use super::unfinished::{Goes, Unfinished};

/// A file to be written. Nothing is left of it if it isn't.
#[derive(Debug)]
pub(crate) struct WholeFile {
    flag: &'static str,
    path: PathBuf,
    /// `None` for a pipe or a link, which isn't replaced.
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    #[expect(dead_code, reason = "held until the file has its name")]
    lock: LockFile,
    unfinished: Unfinished,
}

impl WholeFile {
    /// Begins the file that a flag names.
    ///
    /// # Errors
    ///
    /// A path that can't be written to, or that another process is writing to.
    pub fn begin(flag: &'static str, path: &Path) -> Result<Self, String> {
        let part = begin(path).map_err(|e| unwritable(flag, path, &e))?;
        Ok(Self { flag, path: path.into(), part })
    }

    /// Writes all of it and renames it into place.
    ///
    /// # Errors
    ///
    /// The operating system's error; the previous file is unchanged then.
    pub fn write(mut self, bytes: &[u8]) -> Result<(), String> {
        let written = match self.part.take() {
            // a pipe or a link is not replaced
            None => fs::write(&self.path, bytes),
            Some(mut part) => {
                let written = part.file.write_all(bytes).and_then(|()| part.file.sync_all());
                let named = part.unfinished.finish(|| written.and_then(|()| fs::rename(&part.path, &self.path)));
                // best effort: the error that led here is the one to report
                named.inspect_err(|_| drop(fs::remove_file(&part.path)))
            }
        };
        written.map_err(|e| unwritable(self.flag, &self.path, &e))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = fs::remove_file(&part.path);
        }
    }
}

fn begin(path: &Path) -> io::Result<Option<Part>> {
    match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        // opening a pipe would wait for a reader
        Ok(kind) if !kind.is_file() => return Ok(None),
        // a read-only file is not replaced
        Ok(_) => drop(File::options().append(true).open(path)?),
        Err(_) => {}
    }
    let part = path.with_added_extension("part");
    let locked = part.with_added_extension("lock");
    let busy = || io::Error::other("it is being written by another tril");
    let lock = LockFile::take(&locked)?.ok_or_else(busy)?;
    let unfinished = Unfinished::new(&locked);
    let file = File::create(&part)?;
    unfinished.add(&part, Goes::Whole);
    Ok(Some(Part { path: part, file, lock, unfinished }))
}

fn unwritable(flag: &str, path: &Path, error: &io::Error) -> String {
    format!("{flag} {}: {error}; choose another", path.display())
}
