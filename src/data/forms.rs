//! The forms that text comes in: compressed or not, plain or JSON lines.

use std::fmt::Display;
use std::io::Read;

use serde::Deserialize;

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
/// A broken archive, bytes that aren't UTF-8 or look like UTF-16, a line that isn't JSON with a `text`.
pub(super) fn read(name: &str, bytes: Vec<u8>, bad: Bad) -> Result<(Content, usize), DataError> {
    let (inner, bytes) = match name.rsplit_once('.') {
        Some((inner, "gz")) => (inner, ungz(name, &bytes)?),
        Some((inner, "zst")) => (inner, unzstd(name, &bytes)?),
        _ => (name, bytes),
    };
    let (text, n_replaced) = decode(name, bytes, bad)?;
    Ok((if is_lines(inner) { Content::Documents(documents(name, &text)?) } else { Content::Plain(text) }, n_replaced))
}

/// Whether each line of a file of this name is a document.
pub(super) fn is_lines(name: &str) -> bool {
    let inner = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(name);
    [".jsonl", ".ndjson"].iter().any(|end| inner.ends_with(end))
}

/// A file may become so many times as large, and so large in any case: text shrinks to a tenth or so when it is packed, and
/// what is made to fill a memory to a thousandth and less.
const MOST_TIMES: usize = 100;
const ALWAYS_BYTES: usize = 4 << 20;

fn ungz(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    let mut all = vec![];
    unpack(name, bytes.len(), flate2::read::MultiGzDecoder::new(bytes), &mut all)?;
    Ok(all)
}

/// Frame after frame.
fn unzstd(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    let (mut all, mut rest) = (vec![], bytes);
    while !rest.is_empty() {
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut rest).map_err(|e| broken(name, &e))?;
        unpack(name, bytes.len(), frame, &mut all)?;
    }
    Ok(all)
}

/// Appends what a part of a packed file holds.
fn unpack(name: &str, packed: usize, part: impl Read, all: &mut Vec<u8>) -> Result<(), DataError> {
    let left = (packed.saturating_mul(MOST_TIMES).max(ALWAYS_BYTES) - all.len()) as u64;
    let n = part.take(left + 1).read_to_end(all).map_err(|e| broken(name, &e))?;
    if n as u64 > left { Err(DataError::Swells { name: name.into(), times: MOST_TIMES }) } else { Ok(()) }
}

fn broken(name: &str, reason: &dyn Display) -> DataError {
    DataError::Archive { name: name.into(), reason: reason.to_string() }
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
    const LEAST_BYTES: usize = 16;
    let units = start[..start.len().min(PROBE_BYTES)].chunks_exact(4);
    let n = units.len();
    if 4 * n < LEAST_BYTES {
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

/// Text without a byte order mark, and how often bytes had to be replaced.
fn decode(name: &str, bytes: Vec<u8>, bad: Bad) -> Result<(String, usize), DataError> {
    let (mut text, n_replaced) = match String::from_utf8(bytes) {
        Ok(text) => {
            if bad == Bad::Refuse {
                must_not_be_wide(name, text.as_bytes())?;
            }
            (text, 0)
        }
        Err(error) if bad == Bad::Refuse => {
            let (encoding, offset) = (likely(error.as_bytes()), error.utf8_error().valid_up_to());
            return Err(DataError::NotUtf8 { name: name.into(), encoding, offset });
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

/// A line of JSON lines; what else it holds is passed over, not kept.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
}

/// The `text` of every line; blank lines and empty texts are left out.
fn documents(name: &str, lines: &str) -> Result<Vec<String>, DataError> {
    let lines = lines.lines().enumerate();
    lines.filter_map(|(i, line)| document(name, i + 1, line).transpose()).collect()
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
