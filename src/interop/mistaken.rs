//! Recognises files that are mistaken for a model's, such as pointers and web pages left by a download.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::InteropError;
use super::error::unreadable;
use crate::files::pointer::lfs_pointer;

/// The number of bytes to look at.
const HEAD: u64 = 512;

/// Describes a file with these first bytes, if no model has them; and says what to do.
pub(super) fn mistaken(head: &[u8]) -> Option<String> {
    if let Some(what) = lfs_pointer(head) {
        return Some(what.into());
    }
    let start = head.trim_ascii_start().get(..14).unwrap_or(head.trim_ascii_start()).to_ascii_lowercase();
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        return Some("is a web page, not the file itself; download the file that the page is about".into());
    }
    None
}

/// The same for a file of weights, which is never text.
fn mistaken_weights(head: &[u8]) -> Option<String> {
    const KINDS: [(&[u8], &str); 4] = [
        (b"GGUF", "a GGUF file, which tril writes but doesn't read"),
        (b"\x89HDF", "an HDF5 file, as of Keras"),
        (b"\x1f\x8b", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    ];
    if head.is_empty() {
        return Some("is empty; download it again".into());
    }
    if let Some((_, what)) = KINDS.iter().find(|(magic, _)| head.starts_with(magic)) {
        let remedy = if what.starts_with("compressed") { "decompress it" } else { "give the model as safetensors" };
        return Some(format!("is {what}; {remedy}"));
    }
    let text = std::str::from_utf8(head).or_else(|e| std::str::from_utf8(&head[..e.valid_up_to()])).unwrap_or("");
    let is_text = text.len() + 4 > head.len() && text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
    let line: String = text.trim().lines().next().unwrap_or("").chars().take(60).collect();
    is_text
        .then(|| format!("is text, not a model: it begins with {line:?}; give the model's file, or download it again"))
}

fn head(path: &Path) -> Result<Vec<u8>, InteropError> {
    let mut head = vec![];
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(unreadable(path))?;
    Ok(head)
}

fn refuse(path: &Path, what: Option<String>) -> Result<(), InteropError> {
    match what {
        Some(what) => Err(InteropError::Mistaken { path: path.display().to_string(), what }),
        None => Ok(()),
    }
}

/// Opens a file of weights and returns its first bytes.
///
/// # Errors
///
/// [`InteropError::Mistaken`] if it is something else.
pub(super) fn open_weights(path: &Path) -> Result<Vec<u8>, InteropError> {
    let head = head(path)?;
    refuse(path, mistaken(&head).or_else(|| mistaken_weights(&head)))?;
    Ok(head)
}

/// Reads a small file of a model.
///
/// # Errors
///
/// [`InteropError::Mistaken`] if it is something else.
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>, InteropError> {
    let bytes = fs::read(path).map_err(unreadable(path))?;
    refuse(path, mistaken(&bytes))?;
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
///
/// As [`read_small`], or bytes that are not UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String, InteropError> {
    let bytes = read_small(path)?;
    let damaged = |_| InteropError::Damaged { path: path.display().to_string(), reason: "it is not UTF-8".into() };
    String::from_utf8(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_download_leaves_is_told_from_a_model() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 548105171\n";
        let cases: [(&[u8], &str); 8] = [
            (pointer, "git lfs pull"),
            (b"\n <!DOCTYPE html><html>", "web page"),
            (b"<HTML lang=en>", "web page"),
            (b"{\"error\":\"Repository not found\"}", "begins with \"{\\\"error\\\""),
            (b"Entry not found", "\"Entry not found\""),
            (b"", "is empty"),
            (b"GGUF\x03\0\0\0", "a GGUF file"),
            (b"\x1f\x8b\x08\0", "decompress it"),
        ];
        for (head, words) in cases {
            let what = mistaken(head).or_else(|| mistaken_weights(head)).unwrap_or_default();
            assert!(what.contains(words), "{words}: {what}");
        }
        let header = [&40u64.to_le_bytes()[..], b"{\"wte.weight\":{\"dtype\":\"F32\""].concat();
        for model in [&header[..], b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc", &20_240_326i32.to_le_bytes()] {
            assert_eq!(mistaken(model).or_else(|| mistaken_weights(model)), None, "{}", model.escape_ascii());
        }
    }
}
