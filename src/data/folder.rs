//! The files of a folder that may be text.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::DataError;

/// How much of a file in a folder is searched for a zero byte, which marks it as binary (git's rule).
pub(super) const BINARY_PROBE_BYTES: usize = 8000;

/// The files of a data set, in the order in which they are written.
const OF_A_SET: [&str; 7] =
    ["train.bin", "train.bin.part", "val.bin", "val.bin.part", "tokenizer.json", "tokenizer.json.part", "meta.pkl"];
/// The files that a run has from the start.
const OF_A_RUN: [&str; 3] = ["config.toml", "tokenizer.json", "metrics.jsonl"];

/// Lists the files of a folder and its subfolders, sorted, without hidden files, links to folders, and what tril
/// writes itself: runs and data sets.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    if OF_A_RUN.iter().all(|name| folder.join(name).is_file()) {
        return Ok(vec![]);
    }
    let is_set = OF_A_SET[..2].iter().any(|name| folder.join(name).is_file());
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
        .map_err(|error| unreadable(folder, error))?;
    entries.sort();
    let mut files = vec![];
    for path in entries {
        let name = path.file_name().unwrap_or_default();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if is_hidden || is_set && OF_A_SET.iter().any(|part| name == *part) {
            continue;
        }
        // a link to a folder may form a cycle; a broken link has no text
        let Ok(kind) = fs::metadata(&path) else {
            continue;
        };
        if kind.is_dir() && !path.is_symlink() {
            files.extend(files_below(&path)?);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Unreadable { name: path.display().to_string(), source }
}
