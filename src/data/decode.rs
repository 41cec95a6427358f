//! The decode that text comes in: compressed or not, plain or JSON lines.

use serde::Deserialize;

use super::DataError;

/// What to do with bytes that aren't UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvalidUtf8 {
    /// Refuse the file.
    Refuse,
    /// Put U+FFFD in their place.
    Replace,
}

/// Whether each line of a file of this name is a document.
pub(super) fn is_lines(name: &str) -> bool {
    let inner = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(name);
    [".jsonl", ".ndjson"].iter().any(|end| inner.ends_with(end))
}

/// What text is likely to be that isn't UTF-8, as `iconv` calls it: what its byte order mark says, or else its zeros.
pub(super) fn likely(start: &[u8]) -> &'static str {
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "utf-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "utf-16",
        _ => wide(start).unwrap_or("latin1"),
    }
}

/// Fails where text that is UTF-8 by its bytes is UTF-16 or UTF-32 without a byte order mark by its zeros.
pub(super) fn must_not_be_wide(name: &str, start: &[u8]) -> Result<(), DataError> {
    let Some(encoding) = wide(start) else { return Ok(()) };
    let offset = start.iter().position(|&byte| byte == 0).unwrap_or(0);
    Err(DataError::Wide { name: name.into(), encoding, offset })
}

/// Which of UTF-16 and UTF-32 the beginning of a text is, by its zeros.
///
/// The upper byte of two is 0 for Latin letters, blanks and line breaks, and in other alphabets it is nearly always the one
/// number of their block. A text with a zero now and then, even between all its words, has other bytes beside them.
fn wide(start: &[u8]) -> Option<&'static str> {
    const PROBE_BYTES: usize = 8000;
    const MIN_BYTES: usize = 16;
    let units = start[..start.len().min(PROBE_BYTES)].chunks_exact(4);
    let n = units.len();
    if 4 * n < MIN_BYTES {
        return None;
    }
    // how often each byte stands at each place of four
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

/// A line of JSON lines; what else it holds is passed over, not kept.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
}

/// The `text` of a line, if there is any.
pub(super) fn document(name: &str, n_line: usize, line: &str) -> Result<Option<String>, DataError> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let bad = |reason: String| DataError::BadLine { name: name.into(), line: n_line, reason };
    let Line { text } = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
    // serde takes the fields of a list in order
    match text.filter(|_| line.trim_start().starts_with('{')) {
        Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        None => Err(bad("it has no field \"text\"".into())),
    }
}
