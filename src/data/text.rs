//! A text that is read in pieces, as often as needed, instead of being held in memory.

mod border;
mod input;
mod packed;
mod pieces;
mod spool;

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::decode::InvalidUtf8;
use super::permutation::{narrow, wide};
use super::prepared::Prepared;
use super::tokenizer::WordCounts;
use super::{DataError, Loading, Mode, embedded, loading::Watch};
pub(super) use border::Border;
use input::{Input, inputs, keep};
pub(super) use pieces::{Is, Part, Parting, Totals};

/// UTF-8 text from files, folders, pipes, standard input, the embedded stories, or the program that uses this library.
#[derive(Clone, Debug)]
pub struct Text {
    origin: Origin,
    facts: Arc<Facts>,
    /// The splits made from it.
    pub(super) prepared: Arc<OnceLock<Prepared>>,
}

/// What reading a whole text reveals.
#[derive(Clone, Debug, Default)]
struct Facts {
    n_byte: u64,
    n_char: u64,
    crc32: u32,
    alphabet: Vec<char>,
    n_replaced: usize,
    skipped: Vec<PathBuf>,
}

/// The origin of a text.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Inputs(Arc<[Input]>, InvalidUtf8),
    Stories { seed: u64, chars: u64 },
    Held(Arc<str>),
}

/// How a text is read.
pub(super) struct Pass<'a> {
    pub border: Border,
    pub parting: Parting<'a>,
    /// The character whose byte offset is wanted.
    pub find: Option<u64>,
    /// Bytes read, compressed sizes for compressed files.
    pub n_read: &'a AtomicU64,
}

impl Origin {
    /// Files, folders and, for `-`, standard input.
    ///
    /// # Errors
    ///
    /// A path that is missing or unreadable.
    pub fn of_paths(paths: &[PathBuf], bad: InvalidUtf8) -> Result<Origin, DataError> {
        let inputs = inputs(paths)?;
        if inputs.is_empty() {
            return Err(DataError::Empty { name: "the list of paths".into() });
        }
        Ok(Origin::Inputs(inputs.into(), bad))
    }

    /// The same, but readable repeatedly: data from pipes is stored. `input` is standard input.
    ///
    /// # Errors
    ///
    /// A pipe that can't be read, or no disk space for its data.
    pub fn kept(self, input: &mut dyn Read, watch: Watch<'_>) -> Result<Origin, DataError> {
        let Origin::Inputs(inputs, bad) = &self else { return Ok(self) };
        if !inputs.iter().any(Input::is_pipe) {
            return Ok(self);
        }
        let mut inputs = inputs.to_vec();
        keep(&mut inputs, input, watch)?;
        Ok(Origin::Inputs(inputs.into(), *bad))
    }

    /// Whether it is a single text without document boundaries.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Origin::Inputs(inputs, _) if inputs.len() > 1 || inputs.iter().any(Input::is_lines))
    }

    /// Units: bytes to be read, as far as known, compressed sizes for compressed files.
    pub fn len(&self) -> u64 {
        match self {
            Origin::Inputs(inputs, _) => inputs.iter().filter_map(Input::len).sum(),
            Origin::Stories { .. } => 0,
            Origin::Held(text) => wide(text.len()),
        }
    }

    /// Reads it once, passing it on in pieces.
    ///
    /// # Errors
    ///
    /// Any error of the text, or the error of `take`.
    pub fn read(
        &self,
        pass: Pass<'_>,
        watch: Watch<'_>,
        take: &mut dyn FnMut(Vec<Part>) -> Result<(), DataError>,
    ) -> Result<Totals, DataError> {
        let Pass { border, parting, find, n_read } = pass;
        let bad = if let Origin::Inputs(_, bad) = self { *bad } else { InvalidUtf8::Refuse };
        let reading = pieces::Reading { border, bad, parting, find, n_read, take };
        match self {
            Origin::Inputs(inputs, _) => reading.all(inputs, watch),
            Origin::Stories { seed, chars } => reading.made(embedded::stories(*seed, *chars)),
            Origin::Held(text) => reading.texts(std::iter::once(&**text)),
        }
    }
}

impl Text {
    /// Creates a text that doesn't come from a file.
    pub fn new(content: impl Into<String>) -> Text {
        let origin = Origin::Held(content.into().into());
        let facts = survey(&origin, &|_| Ok(())).unwrap_or_default();
        Text { origin, facts: facts.into(), prepared: Arc::default() }
    }

    /// Opens a text at its origin, reading it for the first time.
    ///
    /// # Errors
    ///
    /// Any error of the text; an empty text.
    pub(super) fn open(origin: Origin, watch: Watch<'_>) -> Result<Text, DataError> {
        let facts = survey(&origin, watch)?;
        if facts.n_byte == 0 {
            return Err(DataError::Empty { name: "the text".into() });
        }
        Ok(Text { origin, facts: facts.into(), prepared: Arc::default() })
    }

    /// Its origin.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Units: bytes. A file that doesn't end in a line break gets one if another file follows.
    pub fn n_byte(&self) -> u64 {
        self.facts.n_byte
    }

    /// Units: characters.
    pub fn n_char(&self) -> u64 {
        self.facts.n_char
    }

    /// Its distinct characters, sorted.
    pub fn alphabet(&self) -> &[char] {
        &self.facts.alphabet
    }

    /// The distinct characters of its documents, sorted, without those of the separators; in a stream, of all the text.
    ///
    /// # Errors
    ///
    /// A file that can no longer be read, an empty separator.
    pub fn alphabet_in(&self, mode: &Mode) -> Result<Vec<char>, DataError> {
        let Mode::Documents { separator } = mode else { return Ok(self.facts.alphabet.clone()) };
        if separator.is_empty() {
            return Err(DataError::EmptySeparator);
        }
        let mut seen = Seen::default();
        let n_read = AtomicU64::new(0);
        let pass = Pass { parting: Parting::Separator(separator), ..Pass::plain(&n_read) };
        self.origin.read(pass, &|_| Ok(()), &mut |parts| {
            seen.take(&parts);
            Ok(())
        })?;
        Ok(seen.sorted())
    }

    /// The number of places where bytes that aren't UTF-8 were replaced.
    pub fn n_replaced(&self) -> usize {
        self.facts.n_replaced
    }

    /// Binary files in folders, which were skipped.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.facts.skipped
    }

    /// CRC-32 of the bytes; a resumed run checks it.
    pub fn crc32(&self) -> u32 {
        self.facts.crc32
    }

    /// Returns all of it, file after file.
    ///
    /// # Errors
    ///
    /// A file that can no longer be read.
    pub fn read_all(&self) -> Result<String, DataError> {
        let mut all = String::with_capacity(narrow(self.facts.n_byte));
        let take = &mut |parts: Vec<Part>| {
            parts.iter().for_each(|part| all.push_str(&part.text));
            Ok(())
        };
        self.origin.read(Pass::plain(&AtomicU64::new(0)), &|_| Ok(()), take)?;
        Ok(all)
    }

    /// Returns the documents: the text between two separators of a file, and each JSON line. Line breaks at their ends
    /// are dropped, and so are blank documents.
    ///
    /// # Errors
    ///
    /// A file that can no longer be read.
    pub fn documents(&self, separator: &str) -> Result<Vec<String>, DataError> {
        let mut all: Vec<String> = vec![];
        let take = &mut |parts: Vec<Part>| {
            for part in parts {
                match all.last_mut().filter(|_| !part.begins) {
                    Some(document) => document.push_str(&part.text),
                    None => all.push(part.text),
                }
            }
            Ok(())
        };
        let n_read = AtomicU64::new(0);
        let pass = Pass { parting: Parting::Separator(separator), ..Pass::plain(&n_read) };
        self.origin.read(pass, &|_| Ok(()), take)?;
        Ok(all)
    }

    /// Counts the words in the first `n_byte` bytes.
    ///
    /// # Errors
    ///
    /// A file that can no longer be read, or the error of `watch`.
    pub(super) fn count_words(
        &self,
        mut words: WordCounts,
        n_byte: u64,
        watch: Watch<'_>,
    ) -> Result<WordCounts, DataError> {
        let mut left = narrow(n_byte);
        let take = &mut |parts: Vec<Part>| {
            for part in parts {
                let new = &part.text[part.shared..];
                let text = &new[..new.floor_char_boundary(left)];
                words.add(text);
                left -= text.len();
                watch(Loading::LearningTokenizer { bytes: n_byte - wide(left), total: n_byte })?;
                if text.len() < new.len() || left == 0 {
                    left = 0;
                    return Err(DataError::Stopped);
                }
            }
            Ok(())
        };
        let n_read = AtomicU64::new(0);
        let pass = Pass { border: Border::Word, ..Pass::plain(&n_read) };
        match self.origin.read(pass, &|_| Ok(()), take) {
            Ok(_) => Ok(words),
            Err(DataError::Stopped) if left == 0 => Ok(words),
            Err(error) => Err(error),
        }
    }
}

impl From<&str> for Text {
    fn from(content: &str) -> Text {
        Text::new(content)
    }
}

impl<'a> Pass<'a> {
    /// One document, in pieces of any kind.
    pub fn plain(n_read: &'a AtomicU64) -> Pass<'a> {
        Pass { border: Border::Character, parting: Parting::None, find: None, n_read }
    }
}

/// The characters seen so far.
struct Seen(Vec<bool>);

impl Default for Seen {
    fn default() -> Self {
        Self(vec![false; char::MAX as usize + 1])
    }
}

impl Seen {
    fn take(&mut self, parts: &[Part]) {
        for c in parts.iter().flat_map(|part| part.text.chars()) {
            self.0[c as usize] = true;
        }
    }

    fn sorted(&self) -> Vec<char> {
        ('\0'..=char::MAX).filter(|&c| self.0[c as usize]).collect()
    }
}

/// Reads a whole text to collect its facts.
fn survey(origin: &Origin, watch: Watch<'_>) -> Result<Facts, DataError> {
    let mut seen = Seen::default();
    let take = &mut |parts: Vec<Part>| {
        seen.take(&parts);
        Ok(())
    };
    let totals = origin.read(Pass::plain(&AtomicU64::new(0)), watch, take)?;
    Ok(Facts {
        n_byte: totals.n_byte,
        n_char: totals.n_char,
        crc32: totals.crc.finalize(),
        alphabet: seen.sorted(),
        n_replaced: totals.n_replaced,
        skipped: totals.skipped,
    })
}

/// Reads files, folders and, for `-`, standard input.
///
/// A folder stands for its files in sorted order, including subfolders; hidden files (with a leading dot), binary files
/// (a zero byte near the start), empty files and links to folders are skipped. A byte order mark at the start is
/// dropped. `.gz` and `.zst` are decompressed; each line of `.jsonl` and `.ndjson` is an object whose `text` is a
/// document.
///
/// # Errors
///
/// A path that is missing, unreadable or empty, text that isn't UTF-8, a broken archive or line, a folder without text.
pub fn read(paths: &[PathBuf]) -> Result<Text, DataError> {
    read_with_input(paths, &mut io::stdin().lock())
}

/// [`read`], with another reader as standard input.
///
/// # Errors
///
/// As [`read`].
pub fn read_with_input(paths: &[PathBuf], input: &mut dyn Read) -> Result<Text, DataError> {
    Text::open(Origin::of_paths(paths, InvalidUtf8::Refuse)?.kept(input, &|_| Ok(()))?, &|_| Ok(()))
}
