//! The one way to replace a file: write it next to its target, sync, rename, sync the folder. So it is never partial,
//! not even after a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::{FileError, io_error};

/// Replaces a file that only this process writes.
///
/// # Errors
///
/// The operating system's error; the old file is untouched then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_by(path, &path.with_added_extension("part"), bytes)
}

/// Replaces a file that several processes may write at once: the last one wins.
///
/// # Errors
///
/// As [`write()`].
pub fn write_shared(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_by(path, &path.with_added_extension(format!("{}.part", std::process::id())), bytes)
}

fn write_by(path: &Path, part: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let written = write_synced(part, bytes).and_then(|()| fs::rename(part, path));
    // best effort: a half-written file is of no use, and the disk may be full
    written.inspect_err(|_| drop(fs::remove_file(part))).map_err(io_error(path))?;
    sync_dir(parent(path))
}

/// Writes a file in place and syncs it: for a folder that is renamed once it is complete.
///
/// # Errors
///
/// The operating system's error.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a synced file or folder its final name.
///
/// # Errors
///
/// The operating system's error.
pub fn rename(part: &Path, path: &Path) -> Result<(), FileError> {
    fs::rename(part, path).map_err(io_error(path))?;
    sync_dir(parent(path))
}

/// Syncs a folder's entries to disk, so that a rename survives a power cut.
///
/// # Errors
///
/// The operating system's error.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    // other systems can't open folders, and make renames durable themselves
    if cfg!(unix) {
        File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error(path))?;
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
