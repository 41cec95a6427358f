//! Text from files, folders, standard input, or the embedded grammar; or tokens from files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::forms::{self, Bad, Content};
use super::{DataError, TokenSet, embedded};

/// How far into a file of a folder a zero byte is looked for; one marks the file as binary (git's rule).
pub(super) const BINARY_PROBE_BYTES: usize = 8000;

/// Where a run's text comes from, as its config records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "Written")]
pub enum Source {
    /// Stories drawn from the embedded grammar.
    Embedded {
        /// Which stories; has nothing to do with the seed of a training.
        seed: u64,
        /// The least number of characters; the last story is always whole.
        chars: u64,
    },
    /// Files, folders and `-` for standard input, in this order.
    Files {
        /// The paths, absolute, so that a run can be resumed from another folder.
        paths: Vec<PathBuf>,
        /// Whether bytes that aren't UTF-8 are replaced by U+FFFD, instead of an error.
        lossy: bool,
    },
    /// None yet: the run was imported and hasn't been trained here.
    None,
    /// Files of tokens, in this order.
    Tokens {
        /// Those to train on, absolute; the last of their tokens are for validation where there is no `val`.
        train: Vec<PathBuf>,
        /// Those to validate on.
        val: Vec<PathBuf>,
    },
}

/// The keys of all kinds of [`Source`]: read so, an error knows its key, which serde's own reading of tagged forms forgets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    seed: Option<u64>,
    chars: Option<u64>,
    paths: Option<Vec<PathBuf>>,
    lossy: Option<bool>,
    train: Option<Vec<PathBuf>>,
    val: Option<Vec<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Embedded,
    Files,
    None,
    Tokens,
}

impl TryFrom<Written> for Source {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { kind, seed, chars, paths, lossy, train, val } = written;
        Ok(match (kind, seed, chars, paths, lossy, train, val) {
            (Kind::Embedded, Some(seed), Some(chars), None, None, None, None) => Source::Embedded { seed, chars },
            (Kind::Files, None, None, Some(paths), lossy, None, None) => {
                Source::Files { paths, lossy: lossy.unwrap_or_default() }
            }
            (Kind::None, None, None, None, None, None, None) => Source::None,
            (Kind::Tokens, None, None, None, None, Some(train), val) => {
                Source::Tokens { train, val: val.unwrap_or_default() }
            }
            _ => {
                return Err(
                    "its keys don't go with its kind: \"embedded\" has seed and chars, \"files\" has paths and may have \
                            lossy, \"tokens\" has train and may have val, \"none\" has none",
                );
            }
        })
    }
}

impl Source {
    /// What a command line means: its paths, or the embedded stories when there are none.
    pub fn from_paths(paths: &[PathBuf]) -> Source {
        if paths.is_empty() {
            return Source::Embedded { seed: embedded::SEED, chars: embedded::CHARS };
        }
        let absolute = |path: &PathBuf| match path.as_os_str() == "-" {
            true => path.clone(),
            false => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        };
        Source::Files { paths: paths.iter().map(absolute).collect(), lossy: false }
    }

    /// The same, with bytes that aren't UTF-8 replaced where that is asked for.
    #[must_use]
    pub fn lossily(mut self, replace: bool) -> Source {
        if let Source::Files { lossy, .. } = &mut self {
            *lossy = replace;
        }
        self
    }

    /// The text itself, or the opened token files.
    ///
    /// # Errors
    /// As [`read`] and [`TokenSet::open`].
    pub fn load(&self) -> Result<Corpus, DataError> {
        Ok(match self {
            Source::None => return Err(DataError::NoText),
            Source::Embedded { seed, chars } => Corpus::Text(Text::new(embedded::text(*seed, *chars))),
            Source::Files { paths, lossy } => {
                let bad = if *lossy { Bad::Replace } else { Bad::Refuse };
                Corpus::Text(Reading { bad, input: &mut io::stdin().lock() }.all(paths)?)
            }
            Source::Tokens { train, val } => Corpus::Tokens(TokenSet::open(train, val)?),
        })
    }
}

/// What a run learns from.
#[derive(Clone, Debug)]
pub enum Corpus {
    /// Text, which its tokenizer encodes.
    Text(Text),
    /// Tokens that are there already.
    Tokens(TokenSet),
}

impl Corpus {
    /// The text, where it is one.
    pub fn text(&self) -> Option<&Text> {
        match self {
            Corpus::Text(text) => Some(text),
            Corpus::Tokens(_) => None,
        }
    }

    /// CRC-32 of all bytes, by which a resumed run sees that they are still the same.
    pub fn crc32(&self) -> u32 {
        match self {
            Corpus::Text(text) => text.crc32(),
            Corpus::Tokens(tokens) => tokens.crc32(),
        }
    }

    /// Says whether this is what a run recorded the checksum of.
    ///
    /// # Errors
    /// [`DataError::Changed`] if it isn't.
    pub fn verify(&self, expected: u32) -> Result<(), DataError> {
        let what = if self.text().is_some() { "text has" } else { "set of token files has" };
        match self.crc32() {
            found if found == expected => Ok(()),
            found => Err(DataError::Changed { what, expected, found }),
        }
    }

    /// Units: bytes, at most, that a dataset of it holds in memory; mapped files are none of the process.
    pub fn dataset_bytes(&self) -> u64 {
        self.text().map_or(0, |text| (text.as_str().len() * size_of::<u32>()) as u64)
    }
}

/// UTF-8 text that remembers where one file ends and the next begins.
///
/// Units: byte offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    content: String,
    ends: Vec<usize>,
    /// Which of the files are documents that no separator splits.
    whole: Vec<bool>,
    skipped: Vec<PathBuf>,
    n_replaced: usize,
}

impl Text {
    /// Text that doesn't come from a file.
    pub fn new(content: impl Into<String>) -> Text {
        let content = content.into();
        Text { ends: vec![content.len()], whole: vec![false], content, skipped: Vec::new(), n_replaced: 0 }
    }

    /// Everything, file after file. A file that doesn't end in a line break is given one if another file follows.
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// The text of each file; a document never reaches from one into the next.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.content[start..end])
    }

    /// The documents: what stands between two separators of a file, and each record of JSON lines.
    pub fn documents<'a>(&'a self, separator: &'a str) -> impl Iterator<Item = &'a str> {
        self.files().zip(&self.whole).flat_map(move |(file, &whole)| {
            let (one, many) = if whole { (Some(file), None) } else { (None, Some(file.split(separator))) };
            one.into_iter().chain(many.into_iter().flatten())
        })
    }

    /// In how many places bytes that aren't UTF-8 were replaced.
    pub fn n_replaced(&self) -> usize {
        self.n_replaced
    }

    /// Binary files that were found in folders and left out.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    /// CRC-32 of the bytes, by which a resumed run sees that its text is still the same.
    pub fn crc32(&self) -> u32 {
        crc32fast::hash(self.content.as_bytes())
    }

    fn push(&mut self, file: &str, whole: bool) {
        if !self.content.is_empty() && !self.content.ends_with('\n') {
            self.content.push('\n');
            if let Some(end) = self.ends.last_mut() {
                *end += 1;
            }
        }
        self.content.push_str(file);
        self.ends.push(self.content.len());
        self.whole.push(whole);
    }

    /// Adds a file; whether there was any text in it.
    fn add(&mut self, content: Content) -> bool {
        let before = self.ends.len();
        match content {
            Content::Plain(text) if text.is_empty() => {}
            Content::Plain(text) => self.push(&text, false),
            Content::Documents(documents) => documents.iter().for_each(|document| self.push(document, true)),
        }
        self.ends.len() > before
    }
}

impl From<&str> for Text {
    fn from(content: &str) -> Text {
        Text::new(content)
    }
}

/// Reads files, folders and, for `-`, standard input.
///
/// A folder gives its files in sorted order, subfolders included; hidden ones (a dot in front), binary ones (a zero
/// byte near the start), empty ones and links to folders are left out. A byte order mark in front of a file is dropped.
/// `.gz` and `.zst` are unpacked; each line of `.jsonl` and `.ndjson` is an object whose `text` is a document.
///
/// # Errors
/// A path that is missing, unreadable or empty, text that isn't UTF-8, a broken archive or line, a folder without text.
pub fn read(paths: &[PathBuf]) -> Result<Text, DataError> {
    read_with_input(paths, &mut io::stdin().lock())
}

/// [`read`], with something else in the place of standard input.
///
/// # Errors
/// As [`read`].
pub fn read_with_input(paths: &[PathBuf], input: &mut dyn Read) -> Result<Text, DataError> {
    Reading { bad: Bad::Refuse, input }.all(paths)
}

/// How files are read.
struct Reading<'a> {
    bad: Bad,
    input: &'a mut dyn Read,
}

impl Reading<'_> {
    fn all(mut self, paths: &[PathBuf]) -> Result<Text, DataError> {
        let mut text =
            Text { content: String::new(), ends: Vec::new(), whole: Vec::new(), skipped: Vec::new(), n_replaced: 0 };
        for path in paths {
            if path.as_os_str() == "-" {
                let mut bytes = Vec::new();
                const NAME: &str = "standard input";
                let read = self.input.read_to_end(&mut bytes);
                read.map_err(|source| DataError::Unreadable { name: NAME.into(), source })?;
                self.one(NAME, bytes, &mut text)?;
                continue;
            }
            let kind = fs::metadata(path).map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    DataError::Missing { path: path.clone() }
                } else {
                    unreadable(path, error)
                }
            })?;
            if kind.is_dir() {
                let files_before = text.ends.len();
                self.folder(path, &mut text)?;
                if text.ends.len() == files_before {
                    return Err(DataError::NoTextInFolder { path: path.clone() });
                }
            } else {
                let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
                self.one(&path.display().to_string(), bytes, &mut text)?;
            }
        }
        if text.content.is_empty() {
            return Err(DataError::Empty { name: "the list of paths".into() });
        }
        Ok(text)
    }

    fn one(&mut self, name: &str, bytes: Vec<u8>, text: &mut Text) -> Result<(), DataError> {
        let (content, n_replaced) = forms::read(name, bytes, self.bad)?;
        text.n_replaced += n_replaced;
        if text.add(content) { Ok(()) } else { Err(DataError::Empty { name: name.into() }) }
    }

    fn folder(&mut self, folder: &Path, text: &mut Text) -> Result<(), DataError> {
        for path in files_below(folder)? {
            let bytes = fs::read(&path).map_err(|error| unreadable(&path, error))?;
            let is_packed = path.extension().is_some_and(|e| e == "gz" || e == "zst");
            if !is_packed && bytes[..bytes.len().min(BINARY_PROBE_BYTES)].contains(&0) {
                text.skipped.push(path);
                continue;
            }
            let (content, n_replaced) = forms::read(&path.display().to_string(), bytes, self.bad)?;
            text.n_replaced += n_replaced;
            text.add(content);
        }
        Ok(())
    }
}

/// What a data set consists of, in the order in which it is written.
const OF_A_SET: [&str; 7] =
    ["train.bin", "train.bin.part", "val.bin", "val.bin.part", "tokenizer.json", "tokenizer.json.part", "meta.pkl"];
/// What a run has from its beginning.
const OF_A_RUN: [&str; 3] = ["config.toml", "tokenizer.json", "metrics.jsonl"];

/// The files of a folder, sorted, subfolders included, but for hidden ones, links to folders, and what tril writes itself: runs
/// and the files of data sets.
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
        // A link to a folder may lead back to where we are, a link to nothing has no text.
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
