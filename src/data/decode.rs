//! The format of text files: plain or JSON lines, in which encoding.

use serde::Deserialize;

use super::DataError;

/// How to handle bytes that aren't UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvalidUtf8 {
    /// Refuse the file.
    Refuse,
    /// Replace them by U+FFFD.
    Replace,
}

/// Whether a file of this name has one document per line.
pub(super) fn is_lines(name: &str) -> bool {
    let inner = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(name);
    [".jsonl", ".ndjson"].iter().any(|end| inner.ends_with(end))
}

/// The likely encoding of text that isn't UTF-8, named as for `iconv`: from its byte order mark, or else its zeros.
pub(super) fn likely(start: &[u8]) -> &'static str {
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "utf-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "utf-16",
        _ => wide(start).unwrap_or("latin1"),
    }
}

/// Fails for valid UTF-8 whose zeros show that it is UTF-16 or UTF-32 without a byte order mark.
pub(super) fn must_not_be_wide(name: &str, start: &[u8]) -> Result<(), DataError> {
    let Some(encoding) = wide(start) else { return Ok(()) };
    let offset = start.iter().position(|&byte| byte == 0).unwrap_or(0);
    Err(DataError::Wide { name: name.into(), encoding, offset })
}

/// Tells UTF-16 and UTF-32 apart by the zeros at the beginning of a text.
///
/// The upper byte of two is 0 for Latin letters, blanks and line breaks; in other alphabets it is nearly always the
/// number of their block. A text with occasional zeros, even between all its words, has other bytes next to them.
fn wide(start: &[u8]) -> Option<&'static str> {
    const PROBE_BYTES: usize = 8000;
    const MIN_BYTES: usize = 16;
    let units = start[..start.len().min(PROBE_BYTES)].chunks_exact(4);
    let n = units.len();
    if 4 * n < MIN_BYTES {
        return None;
    }
    // how often each byte occurs at each of four positions
    let mut counts = [[0; 256]; 4];
    for unit in units {
        unit.iter().zip(&mut counts).for_each(|(&byte, count)| count[usize::from(byte)] += 1);
    }
    let is_most = |count: usize, of: usize| 10 * count >= 9 * of;
    let zeros = |place: usize| counts[place][0];
    let is_utf32 = |places: [usize; 4]| {
        let [high, next, _, low] = places.map(zeros);
        high == n && is_most(next, n) && 2 * low < n
    };
    let is_utf16 = |high: usize, low: usize| {
        let of_byte = |byte: usize| counts[high][byte] + counts[high + 2][byte];
        let (at_high, at_low) = (of_byte(0), zeros(low) + zeros(low + 2));
        let block = (1..256).map(of_byte).max().unwrap_or(0);
        16 * at_high >= 2 * n && is_most(at_high + block, 2 * n) && 16 * at_low < at_high
    };
    if is_utf32([3, 2, 1, 0]) {
        Some("utf-32le")
    } else if is_utf32([0, 1, 2, 3]) {
        Some("utf-32be")
    } else if is_utf16(1, 0) {
        Some("utf-16le")
    } else if is_utf16(0, 1) {
        Some("utf-16be")
    } else {
        None
    }
}

/// A JSON line; other fields are ignored.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
}

/// Returns the `text` of a line, if it isn't blank.
pub(super) fn document(name: &str, n_line: usize, line: &str) -> Result<Option<String>, DataError> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let bad = |reason: String| DataError::BadLine { name: name.into(), line: n_line, reason };
    let Line { text } = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
    // serde would also accept a JSON array as the fields in order
    match text.filter(|_| line.trim_start().starts_with('{')) {
        Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        None => Err(bad("it has no field \"text\"".into())),
    }
}
