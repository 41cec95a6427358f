use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::packed::{ALWAYS_BYTES, MAX_TIMES, NotPacked, Packing, Trailing, Unpacked, packed};
use super::spool::Spool;
use crate::data::decode::{self, InvalidUtf8};
use crate::data::folder::{BINARY_PROBE_BYTES, files_below};
use crate::data::{DataError, Loading, loading::Watch};
use crate::files::pointer::lfs_pointer;

/// An input file or pipe.
#[derive(Clone, Debug)]
pub(in crate::data) struct Input {
    from: From,
    /// The folder in which it was found; files without text are skipped there.
    folder: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum From {
    /// A file that can be read repeatedly.
    File(PathBuf),
    /// A pipe: this path, or standard input.
    Once(Option<PathBuf>),
    /// The stored data of a pipe.
    Spool(Option<PathBuf>, Spool),
}

/// Lists the files of some paths, and standard input for `-`.
///
/// # Errors
///
/// A path that is missing or unreadable, a folder without files.
pub(in crate::data) fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, DataError> {
    let mut all = vec![];
    for path in paths {
        if path.as_os_str() == "-" {
            all.push(Input { from: From::Once(None), folder: None });
            continue;
        }
        let kind = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DataError::Missing { path: path.clone() },
            _ => DataError::Unreadable { name: path.display().to_string(), source: error },
        })?;
        if !kind.is_dir() {
            let from = if kind.is_file() { From::File(path.clone()) } else { From::Once(Some(path.clone())) };
            all.push(Input { from, folder: None });
            continue;
        }
        let found = files_below(path)?;
        if found.is_empty() {
            return Err(DataError::NoTextInFolder { path: path.clone() });
        }
        all.extend(found.into_iter().map(|file| Input { from: From::File(file), folder: Some(path.clone()) }));
    }
    Ok(all)
}

/// Stores inputs that can be read only once, so that all can be read repeatedly. `input` is standard input.
///
/// # Errors
///
/// A pipe that can't be read, or no disk space for its data.
pub(in crate::data) fn keep(inputs: &mut [Input], input: &mut dyn Read, watch: Watch<'_>) -> Result<(), DataError> {
    for kept in inputs {
        let From::Once(path) = &kept.from else { continue };
        let name = kept.name();
        let mut on = |bytes| watch(Loading::Reading { name: &name, bytes, total: None });
        let spool = match path {
            None => Spool::fill(&name, input, &mut on)?,
            Some(path) => {
                let mut pipe =
                    File::open(path).map_err(|source| DataError::Unreadable { name: name.clone(), source })?;
                Spool::fill(&name, &mut pipe, &mut on)?
            }
        };
        kept.from = From::Spool(path.clone(), spool);
    }
    Ok(())
}

impl Input {
    fn path(&self) -> Option<&Path> {
        match &self.from {
            From::File(path) => Some(path),
            From::Once(path) | From::Spool(path, _) => path.as_deref(),
        }
    }

    pub fn name(&self) -> String {
        self.path().map_or("standard input".into(), |path| path.display().to_string())
    }

    /// The folder in which it was found.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Whether each line is a document.
    pub fn is_lines(&self) -> bool {
        decode::is_lines(&self.name())
    }

    /// Whether it can be read only once.
    pub fn is_pipe(&self) -> bool {
        matches!(self.from, From::Once(_))
    }

    /// Units: bytes, the compressed size of a compressed file; `None` for a pipe.
    pub fn len(&self) -> Option<u64> {
        match &self.from {
            From::File(path) => fs::metadata(path).ok().map(|kind| kind.len()),
            From::Once(_) => None,
            From::Spool(_, spool) => spool.len().ok(),
        }
    }

    /// Opens it. `n_read` counts the bytes read.
    pub fn open<'a>(&self, bad: InvalidUtf8, n_read: &'a AtomicU64) -> Result<Opened<'a>, DataError> {
        let name = self.name();
        let unreadable = |source| DataError::Unreadable { name: name.clone(), source };
        let file: Box<dyn Read + Send> = match &self.from {
            From::Once(None) => Box::new(io::stdin()),
            From::Spool(_, spool) => Box::new(spool.reader()),
            From::File(path) | From::Once(Some(path)) => Box::new(File::open(path).map_err(unreadable)?),
        };
        const BLOCK_BYTES: usize = 1 << 17;
        let mut file = BufReader::with_capacity(BLOCK_BYTES, Counted { inner: file, n_read });
        let packing = match self.path().and_then(Path::extension).and_then(|end| end.to_str()) {
            Some("gz") => Some(Packing::Gzip),
            Some("zst") => Some(Packing::Zstd),
            _ => None,
        };
        let start = file.fill_buf().map_err(unreadable)?;
        // folders hold other files, too, which are skipped
        let other = if packing.is_none() && self.folder.is_none() { packed(start) } else { None };
        if let Some(what) = lfs_pointer(start).or(other) {
            return Err(DataError::Mistaken { name, what });
        }
        if self.folder.is_some() {
            if start.is_empty() {
                return Ok(Opened::Empty);
            }
            if packing.is_none() && start[..start.len().min(BINARY_PROBE_BYTES)].contains(&0) {
                return Ok(Opened::Binary);
            }
        }
        let most = packing.and(self.len()).map(|len| len.saturating_mul(MAX_TIMES).max(ALWAYS_BYTES));
        let is_packed = packing.is_some();
        let bytes: Box<dyn Read + Send + 'a> = match packing {
            Some(packing) => Box::new(Unpacked::new(packing, file)),
            None => Box::new(file),
        };
        Ok(Opened::Text(TextStream { name, bytes, is_packed, most, bad, held: vec![], offset: 0, n_replaced: 0 }))
    }
}

/// The result of opening an input.
pub(in crate::data) enum Opened<'a> {
    Text(TextStream<'a>),
    /// An empty file in a folder.
    Empty,
    /// A binary file in a folder.
    Binary,
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

/// The text of a file, read block by block.
pub(in crate::data) struct TextStream<'a> {
    name: String,
    bytes: Box<dyn Read + Send + 'a>,
    is_packed: bool,
    /// Units: bytes, the maximum after decompression.
    most: Option<u64>,
    bad: InvalidUtf8,
    /// The beginning of a character whose end isn't read yet.
    held: Vec<u8>,
    /// Units: decompressed bytes before `held`.
    offset: u64,
    /// Places where bytes that aren't UTF-8 were replaced.
    pub n_replaced: usize,
}

impl TextStream<'_> {
    /// Appends a block; returns whether there was any. A byte order mark at the start is dropped.
    pub fn read(&mut self, text: &mut String) -> Result<bool, DataError> {
        const BLOCK_BYTES: usize = 1 << 17;
        let n_held = self.held.len();
        self.held.resize(n_held + BLOCK_BYTES, 0);
        // full blocks, since the first one shows the encoding
        let mut n = 0;
        while n < BLOCK_BYTES {
            match self.bytes.read(&mut self.held[n_held + n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        self.held.truncate(n_held + n);
        let (is_first, is_last) = (self.offset == 0 && n_held == 0, n == 0);
        let before = text.len();
        let n_done = self.decode(text, is_last)?;
        if is_first && self.bad == InvalidUtf8::Refuse {
            decode::must_not_be_wide(&self.name, &self.held)?;
        }
        self.held.drain(..n_done);
        self.offset += n_done as u64;
        if self.most.is_some_and(|most| self.offset > most) {
            return Err(DataError::Swells { name: self.name.clone(), times: MAX_TIMES });
        }
        if is_first && text[before..].starts_with('\u{feff}') {
            text.replace_range(before..before + '\u{feff}'.len_utf8(), "");
        }
        Ok(!is_last)
    }

    /// Decodes the held bytes, except an incomplete character at the end; returns the number of bytes.
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
            if self.bad == InvalidUtf8::Refuse {
                let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).saturating_add(n_done);
                // only the beginning of a file shows its encoding
                let encoding = decode::likely(if self.offset == 0 { &self.held } else { &[] });
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
        match error.get_ref() {
            Some(inner) if inner.is::<Trailing>() => DataError::Trailing { name },
            Some(inner) if inner.is::<NotPacked>() => DataError::Mistaken {
                name,
                what: "is not compressed, in spite of its name; rename it, or download it again",
            },
            _ if self.is_packed => DataError::Archive { name, reason: error.to_string() },
            _ => DataError::Unreadable { name, source: error },
        }
    }
}
