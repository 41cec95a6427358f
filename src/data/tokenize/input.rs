use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::data::corpus::{BINARY_PROBE_BYTES, files_below};
use crate::data::{DataError, forms};

/// A file to read, or standard input.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// `None` for standard input.
    pub path: Option<PathBuf>,
    /// Found in a folder: there, what holds no text is passed over.
    is_found: bool,
}

/// The files of some paths in the order in which `train` reads them.
///
/// # Errors
///
/// A path that is missing or unreadable, a folder without files.
pub(super) fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, DataError> {
    let mut all = vec![];
    for path in paths {
        if path.as_os_str() == "-" {
            all.push(Input { path: None, is_found: false });
            continue;
        }
        let kind = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DataError::Missing { path: path.clone() },
            _ => DataError::Unreadable { name: path.display().to_string(), source: error },
        })?;
        if !kind.is_dir() {
            all.push(Input { path: Some(path.clone()), is_found: false });
            continue;
        }
        let found = files_below(path)?;
        if found.is_empty() {
            return Err(DataError::NoTextInFolder { path: path.clone() });
        }
        all.extend(found.into_iter().map(|path| Input { path: Some(path), is_found: true }));
    }
    Ok(all)
}

impl Input {
    pub fn name(&self) -> String {
        self.path.as_ref().map_or("standard input".into(), |path| path.display().to_string())
    }

    /// Whether each line is a document.
    pub fn is_lines(&self) -> bool {
        forms::is_lines(&self.name())
    }

    /// Units: bytes, packed where they are; `None` for standard input.
    pub fn len(&self) -> Option<u64> {
        fs::metadata(self.path.as_ref()?).ok().map(|kind| kind.len())
    }

    /// Opens it; `None` where there is nothing to read in a file of a folder. What is read is counted in `n_read`.
    pub fn open<'a>(&self, bad: forms::Bad, n_read: &'a AtomicU64) -> Result<Option<TextStream<'a>>, DataError> {
        let name = self.name();
        let unreadable = |source| DataError::Unreadable { name: name.clone(), source };
        let file: Box<dyn Read + Send> = match &self.path {
            None => Box::new(io::stdin()),
            Some(path) => Box::new(File::open(path).map_err(unreadable)?),
        };
        const BLOCK_BYTES: usize = 1 << 17;
        let mut file = BufReader::with_capacity(BLOCK_BYTES, Counted { inner: file, n_read });
        let end = self.path.as_deref().and_then(Path::extension).and_then(|end| end.to_str());
        let is_packed = matches!(end, Some("gz" | "zst"));
        if self.is_found {
            let start = file.fill_buf().map_err(unreadable)?;
            if start.is_empty() || !is_packed && start[..start.len().min(BINARY_PROBE_BYTES)].contains(&0) {
                return Ok(None);
            }
        }
        let bytes: Box<dyn Read + Send + 'a> = match end {
            Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Some("zst") => Box::new(Frames::Between(file)),
            _ => Box::new(file),
        };
        Ok(Some(TextStream { name, bytes, is_packed, bad, held: vec![], offset: 0, n_replaced: 0 }))
    }

    /// Fails where nothing was found in a file that was named.
    pub fn must_hold_text(&self, is_empty: bool) -> Result<(), DataError> {
        if is_empty && !self.is_found { Err(DataError::Empty { name: self.name() }) } else { Ok(()) }
    }
}

struct Counted<'a> {
    inner: Box<dyn Read + Send>,
    n_read: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.n_read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The frames of a `.zst`, one behind the other.
enum Frames<R: BufRead> {
    Between(R),
    Within(Box<StreamingDecoder<R, FrameDecoder>>),
    /// Only while one becomes the other, or after an error.
    Gone,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Frames::Gone) {
                Frames::Gone => return Ok(0),
                Frames::Between(mut rest) => {
                    if rest.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    *self = Frames::Within(Box::new(StreamingDecoder::new(rest).map_err(io::Error::other)?));
                }
                Frames::Within(mut frame) => match frame.read(buffer)? {
                    0 if !buffer.is_empty() => *self = Frames::Between(frame.into_inner()),
                    n => {
                        *self = Frames::Within(frame);
                        return Ok(n);
                    }
                },
            }
        }
    }
}

/// The text of a file, a block at a time.
pub(super) struct TextStream<'a> {
    name: String,
    bytes: Box<dyn Read + Send + 'a>,
    is_packed: bool,
    bad: forms::Bad,
    /// The beginning of a character whose end isn't read yet.
    held: Vec<u8>,
    /// Units: bytes, unpacked, in front of `held`.
    offset: u64,
    /// Places where bytes that aren't UTF-8 were replaced.
    pub n_replaced: usize,
}

impl TextStream<'_> {
    /// Appends a block; whether there was any. A byte order mark in front is dropped.
    pub fn read(&mut self, text: &mut String) -> Result<bool, DataError> {
        const BLOCK_BYTES: usize = 1 << 17;
        let n_held = self.held.len();
        self.held.resize(n_held + BLOCK_BYTES, 0);
        let n = loop {
            match self.bytes.read(&mut self.held[n_held..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| self.failed(error))?,
            }
        };
        self.held.truncate(n_held + n);
        let (is_first, is_last) = (self.offset == 0, n == 0);
        let before = text.len();
        let n_done = self.decode(text, is_last)?;
        if is_first && self.bad == forms::Bad::Refuse {
            forms::must_not_be_wide(&self.name, &self.held)?;
        }
        self.held.drain(..n_done);
        self.offset += n_done as u64;
        if is_first && text[before..].starts_with('\u{feff}') {
            text.replace_range(before..before + '\u{feff}'.len_utf8(), "");
        }
        Ok(!is_last)
    }

    /// Decodes what is held, but for the beginning of a character at its end; the number of bytes.
    fn decode(&mut self, text: &mut String, is_last: bool) -> Result<usize, DataError> {
        let mut n_done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            n_done += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let is_begun = || std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if !is_last && n_done + invalid.len() == self.held.len() && is_begun() {
                break;
            }
            if self.bad == forms::Bad::Refuse {
                let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).saturating_add(n_done);
                // the beginning tells
                let encoding = forms::likely(if self.offset == 0 { &self.held } else { &[] });
                return Err(DataError::NotUtf8 { name: self.name.clone(), encoding, offset });
            }
            text.push('\u{fffd}');
            self.n_replaced += 1;
            n_done += invalid.len();
        }
        Ok(n_done)
    }

    fn failed(&self, error: io::Error) -> DataError {
        let name = self.name.clone();
        if self.is_packed {
            DataError::Archive { name, reason: error.to_string() }
        } else {
            DataError::Unreadable { name, source: error }
        }
    }
}
