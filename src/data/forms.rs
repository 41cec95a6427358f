//! The forms that text comes in: compressed or not, plain or JSON lines.

use std::io::{self, Read};

use serde_json::Value;

use super::DataError;

/// The text of a file, or its documents.
#[derive(Debug)]
pub(super) enum Content {
    /// One text.
    Plain(String),
    /// Documents, each whole.
    Documents(Vec<String>),
}

/// What to do with bytes that aren't UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// Refuse the file.
    Refuse,
    /// Put U+FFFD in their place.
    Replace,
}

/// Reads the bytes of a file as its name says: `.gz` and `.zst` are unpacked, and `.jsonl` and `.ndjson`, also within those,
/// are documents. The number is that of places where bytes were replaced.
///
/// # Errors
///
/// A broken archive, bytes that aren't UTF-8, a line that isn't JSON with a `text`.
pub(super) fn read(name: &str, bytes: Vec<u8>, bad: Bad) -> Result<(Content, usize), DataError> {
    let archive = |e: io::Error| DataError::Archive { name: name.into(), reason: e.to_string() };
    let (inner, bytes) = match name.rsplit_once('.') {
        Some((inner, "gz")) => (inner, unpacked(flate2::read::MultiGzDecoder::new(&bytes[..])).map_err(archive)?),
        Some((inner, "zst")) => (inner, unzstd(&bytes).map_err(archive)?),
        _ => (name, bytes),
    };
    let (text, n_replaced) = decode(name, bytes, bad)?;
    let is_lines = [".jsonl", ".ndjson"].iter().any(|end| inner.ends_with(end));
    Ok((if is_lines { Content::Documents(documents(name, &text)?) } else { Content::Plain(text) }, n_replaced))
}

fn unpacked(mut archive: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    archive.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Frame after frame.
fn unzstd(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = vec![];
    while !bytes.is_empty() {
        let mut frame = ruzstd::decoding::StreamingDecoder::new(&mut bytes).map_err(io::Error::other)?;
        frame.read_to_end(&mut all)?;
    }
    Ok(all)
}

/// Text without a byte order mark, and how often bytes had to be replaced.
fn decode(name: &str, bytes: Vec<u8>, bad: Bad) -> Result<(String, usize), DataError> {
    let (mut text, n_replaced) = match String::from_utf8(bytes) {
        Ok(text) => (text, 0),
        Err(error) if bad == Bad::Refuse => {
            return Err(DataError::NotUtf8 { name: name.into(), offset: error.utf8_error().valid_up_to() });
        }
        Err(error) => {
            let n = error.as_bytes().utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), n)
        }
    };
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok((text, n_replaced))
}

/// The `text` of every line; blank lines and empty texts are left out.
fn documents(name: &str, lines: &str) -> Result<Vec<String>, DataError> {
    let mut documents = vec![];
    for (i, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |reason: String| DataError::BadLine { name: name.into(), line: i + 1, reason };
        let value: Value = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
        match value.get("text") {
            Some(Value::String(text)) if text.is_empty() => {}
            Some(Value::String(text)) => documents.push(text.clone()),
            Some(_) => return Err(bad("its \"text\" is not a string".into())),
            None => return Err(bad("it has no field \"text\"".into())),
        }
    }
    Ok(documents)
}
