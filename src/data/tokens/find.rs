use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::layout::Layout;
use crate::data::{DataError, Source};

/// Finds the source that the paths of a command line mean: token files, if they are some, otherwise text. A pattern
/// such as `train_*.bin`, unless it names a file itself, stands for all files that match it, sorted.
///
/// Token files end in `.bin`, or `.npy` if NumPy saved them. A folder of them has a `train.bin`, with or without a
/// `val.bin`, as nanoGPT and `tril tokenize` write it, or files of llm.c with `train` or `val` in their names; of the
/// files that a pattern matches, those with `val` and without `train` in their names are validation files, too. `val`
/// are validation files that replace a folder's.
///
/// # Errors
///
/// A pattern without a match, token files mixed with text, validation files that hold text or are given for text.
pub fn find(paths: &[PathBuf], val: &[PathBuf]) -> Result<Source, DataError> {
    let mut train_set = vec![];
    let mut val_set = vec![];
    let mut text = vec![];
    for path in paths {
        let fitting = expand(std::slice::from_ref(path))?;
        let is_pattern = fitting != std::slice::from_ref(path);
        for path in fitting {
            match data_set(&path) {
                // a file that a pattern matches is treated as in a folder
                Some((files, _)) if is_pattern && path.is_file() && is_for_validation(&path) => val_set.extend(files),
                Some((train, val)) => {
                    train_set.extend(train);
                    val_set.extend(val);
                }
                None => text.push(path),
            }
        }
    }
    // if there is nothing else, they are the training data
    if train_set.is_empty() && text.is_empty() {
        std::mem::swap(&mut train_set, &mut val_set);
    }
    if let (Some(tokens), Some(text)) = (train_set.first().or(val_set.first()), text.first()) {
        return Err(DataError::Mixed { tokens: tokens.clone(), text: text.clone() });
    }
    if train_set.is_empty() {
        return match val.first() {
            Some(val) => Err(DataError::ValOfText { val: val.clone() }),
            None => Ok(Source::from_paths(&text)),
        };
    }
    if !val.is_empty() {
        val_set.clear();
    }
    for path in expand(val)? {
        match data_set(&path) {
            Some((train, val)) => val_set.extend(if val.is_empty() { train } else { val }),
            None => return Err(DataError::ValOfText { val: path }),
        }
    }
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let all = |paths: Vec<PathBuf>| paths.into_iter().map(absolute).collect();
    Ok(Source::Tokens { train: all(train_set), val: all(val_set), width: None })
}

/// The same for evaluation only: a folder's validation files, or all its files if it has none.
///
/// # Errors
///
/// As [`find`].
pub fn find_for_evaluation(paths: &[PathBuf]) -> Result<Source, DataError> {
    Ok(match find(paths, &[])? {
        Source::Tokens { train, val, width } if val.is_empty() => Source::Tokens { train, val, width },
        Source::Tokens { val, width, .. } => Source::Tokens { train: val, val: vec![], width },
        other => other,
    })
}

fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut all = vec![];
    for path in paths {
        let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']) && !path.exists());
        let Some(pattern) = pattern else {
            all.push(path.clone());
            continue;
        };
        let bad = |reason: String| DataError::Pattern { pattern: pattern.into(), reason };
        let found = glob::glob(pattern).map_err(|e| bad(e.msg.into()))?;
        let mut found: Vec<PathBuf> = found.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
        if found.is_empty() {
            return Err(bad("no such file".into()));
        }
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

fn is_bin(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "bin" || end == "npy")
}

/// The training and validation files of a path; `None` for text.
fn data_set(path: &Path) -> Option<(Vec<PathBuf>, Vec<PathBuf>)> {
    if !path.is_dir() {
        return is_bin(path).then(|| (vec![path.to_path_buf()], vec![]));
    }
    let (train, val) = (path.join("train.bin"), path.join("val.bin"));
    if train.is_file() {
        let val = if val.is_file() { vec![val] } else { vec![] };
        return Some((vec![train], val));
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| is_bin(file) && is_llmc(file));
    files.sort();
    files.retain(|file| name_has(file, "train") || name_has(file, "val"));
    let (val, train): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| is_for_validation(file));
    (!train.is_empty()).then_some((train, val))
}

fn name_has(file: &Path, part: &str) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().contains(part))
}

fn is_for_validation(file: &Path) -> bool {
    name_has(file, "val") && !name_has(file, "train")
}

fn is_llmc(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && Layout::is_llmc(&magic)
}
