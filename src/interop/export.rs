//! Exports a run's model to other projects' formats, without a device, with at most one tensor in memory.

mod gguf;
mod hf;
mod llmc;
mod model;
mod out_file;

use std::fs;
use std::io;
use std::path::Path;

pub use model::Model;

use super::InteropError;
use crate::files::atomic::{self, sync_dir};
use crate::files::claim::LockFile;
use crate::files::unfinished::{Goes, Unfinished};
use crate::files::{FileError, io_error};

/// The format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// A folder that transformers loads: GPT2LMHeadModel and AutoTokenizer.
    Hf,
    /// model.bin and tokenizer.bin of llm.c.
    Llmc,
    /// model.gguf for llama.cpp.
    Gguf,
}

/// Writes a model into a new or empty folder: into a temporary one first, so that the folder is never partial.
///
/// # Errors
///
/// A model that the target can't represent, a folder that isn't empty, or the operating system's error; nothing is left
/// behind.
pub fn export(model: &mut Model, target: Target, out: &Path) -> Result<(), InteropError> {
    match target {
        Target::Hf => {}
        Target::Llmc => llmc::check(model)?,
        Target::Gguf => gguf::check(model)?,
    }
    // before anything is written next to it
    check_free(out)?;
    // `.` has no name to put a temporary folder next to
    let place = fs::canonicalize(out).unwrap_or_else(|_| out.into());
    let part = place.with_added_extension("part");
    let locked = part.with_added_extension("lock");
    let taken = LockFile::take_with_folders(&locked).map_err(io_error(out))?;
    let (lock, made) = taken.ok_or_else(|| InteropError::Busy(out.display().to_string()))?;
    let unfinished = Unfinished::default();
    made.iter().rev().for_each(|folder| unfinished.add(folder, Goes::WhenEmpty));
    unfinished.add(&locked, Goes::Whole);
    let begun = check_free(out).and_then(|()| begin(&part, &lock));
    let is_begun = begun.is_ok();
    let filled = begun.and_then(|()| {
        unfinished.add(&part, Goes::Whole);
        fill(model, target, &part)
    });
    unfinished.finish(|| {
        let named = filled.and_then(|()| Ok(name(&part, &place)?));
        // best effort: the error that led here is the one to report
        if named.is_err() && is_begun {
            let _ = fs::remove_dir_all(&part);
        }
        drop(lock);
        if named.is_err() {
            made.iter().for_each(|folder| drop(fs::remove_dir(folder)));
        }
        named
    })
}

/// Fails unless the folder is empty or doesn't exist.
fn check_free(out: &Path) -> Result<(), InteropError> {
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    };
    let name = || out.display().to_string();
    match is_free {
        true => Ok(()),
        false if super::import::is_run(out) => Err(InteropError::IsRun(name())),
        false => Err(InteropError::NotEmpty(name())),
    }
}

/// Creates the temporary folder. If its lock file was left, an existing one is the remains of a process that was
/// killed.
fn begin(part: &Path, lock: &LockFile) -> Result<(), InteropError> {
    if lock.is_left() && part.is_dir() {
        fs::remove_dir_all(part).map_err(io_error(part))?;
    }
    check_free(part)?;
    Ok(fs::create_dir_all(part).map_err(io_error(part))?)
}

fn fill(model: &mut Model, target: Target, part: &Path) -> Result<(), InteropError> {
    match target {
        Target::Hf => hf::write(model, part)?,
        Target::Llmc => llmc::write(model, part)?,
        Target::Gguf => gguf::write(model, part)?,
    }
    Ok(sync_dir(part)?)
}

fn name(part: &Path, out: &Path) -> Result<(), FileError> {
    // whoever works in this folder would be left in a deleted one
    if std::env::current_dir().is_ok_and(|current| current == out) {
        return move_into(part, out);
    }
    if out.exists() {
        fs::remove_dir(out).map_err(io_error(out))?;
    }
    atomic::rename(part, out)
}

/// Moves all files of a folder into an empty one; on an error, that is empty again.
fn move_into(part: &Path, out: &Path) -> Result<(), FileError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(part).and_then(Iterator::collect);
    let mut moved = vec![];
    for entry in entries.map_err(io_error(part))? {
        let to = out.join(entry.file_name());
        if let Err(error) = fs::rename(entry.path(), &to) {
            // best effort: the error is the one to report
            moved.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(io_error(&to)(error));
        }
        moved.push(to);
    }
    fs::remove_dir(part).map_err(io_error(part))?;
    sync_dir(out)
}
