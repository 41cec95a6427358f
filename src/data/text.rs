//! A text that is read as often as it is needed, a little at a time, instead of being held.

mod border;
mod input;
mod packed;
mod pieces;
mod spool;

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::dataset::Prepared;
use super::decode::InvalidUtf8;
use super::permutation::{narrow, wide};
use super::tokenizer::WordCounts;
use super::{DataError, Loading, Mode, embedded, loading::Watch};
pub(super) use border::Border;
use input::{Input, inputs, keep};
pub(super) use pieces::{Is, Part, Parting, Totals};

/// UTF-8 text of files, folders, pipes and standard input, of the embedded stories, or of the program that uses this library.
#[derive(Clone, Debug)]
pub struct Text {
    origin: Origin,
    facts: Arc<Facts>,
    /// The dataset that was made of it.
    pub(super) prepared: Arc<OnceLock<Prepared>>,
}

/// What is known once all of a text was read.
#[derive(Clone, Debug, Default)]
struct Facts {
    n_byte: u64,
    n_char: u64,
    crc32: u32,
    alphabet: Vec<char>,
    n_replaced: usize,
    skipped: Vec<PathBuf>,
}

/// Where a text comes from.
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
    /// The character whose place in bytes is asked for.
    pub find: Option<u64>,
    /// Bytes read, packed where they are.
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

    /// The same, to be read again and again: what comes through pipes is kept. `input` is standard input.
    ///
    /// # Errors
    ///
    /// A pipe that can't be read, or no room for what comes out of it.
    pub fn kept(self, input: &mut dyn Read, watch: Watch<'_>) -> Result<Origin, DataError> {
        let Origin::Inputs(inputs, bad) = &self else { return Ok(self) };
        if !inputs.iter().any(Input::is_pipe) {
            return Ok(self);
        }
        let mut inputs = inputs.to_vec();
        keep(&mut inputs, input, watch)?;
        Ok(Origin::Inputs(inputs.into(), *bad))
    }

    /// Whether it is one text that nothing parts.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Origin::Inputs(inputs, _) if inputs.len() > 1 || inputs.iter().any(Input::is_lines))
    }

    /// Units: bytes to be read, packed where they are, as far as that is known.
    pub fn len(&self) -> u64 {
        match self {
            Origin::Inputs(inputs, _) => inputs.iter().filter_map(Input::len).sum(),
            Origin::Stories { .. } => 0,
            Origin::Held(text) => wide(text.len()),
        }
    }

    /// Reads it once, and gives it on in pieces.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it, or what `take` says.
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
    /// Text that doesn't come from a file.
    pub fn new(content: impl Into<String>) -> Text {
        let origin = Origin::Held(content.into().into());
        let facts = survey(&origin, &|_| Ok(())).unwrap_or_default();
        Text { origin, facts: facts.into(), prepared: Arc::default() }
    }

    /// Text that is read from where it is, now for the first time.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it, and no text at all.
    pub(super) fn open(origin: Origin, watch: Watch<'_>) -> Result<Text, DataError> {
        let facts = survey(&origin, watch)?;
        if facts.n_byte == 0 {
            return Err(DataError::Empty { name: "the text".into() });
        }
        Ok(Text { origin, facts: facts.into(), prepared: Arc::default() })
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Units: bytes. A file that doesn't end in a line break is given one if another file follows.
    pub fn n_byte(&self) -> u64 {
        self.facts.n_byte
    }

    /// Units: characters.
    pub fn n_char(&self) -> u64 {
        self.facts.n_char
    }

    /// The characters that it has, sorted.
    pub fn alphabet(&self) -> &[char] {
        &self.facts.alphabet
    }

    /// The characters that documents of it have, sorted, which need not be those between them; in a stream, all.
    ///
    /// # Errors
    ///
    /// A file that can't be read any more, an empty separator.
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

    /// In how many places bytes that aren't UTF-8 were replaced.
    pub fn n_replaced(&self) -> usize {
        self.facts.n_replaced
    }

    /// Binary files that were found in folders and left out.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.facts.skipped
    }

    /// CRC-32 of the bytes, by which a resumed run sees that its text is still the same.
    pub fn crc32(&self) -> u32 {
        self.facts.crc32
    }

    /// All of it, file after file.
    ///
    /// # Errors
    ///
    /// A file that can't be read any more.
    pub fn read_all(&self) -> Result<String, DataError> {
        let mut all = String::with_capacity(narrow(self.facts.n_byte));
        let take = &mut |parts: Vec<Part>| {
            parts.iter().for_each(|part| all.push_str(&part.text));
            Ok(())
        };
        self.origin.read(Pass::plain(&AtomicU64::new(0)), &|_| Ok(()), take)?;
        Ok(all)
    }

    /// The documents: what stands between two separators of a file, and each record of JSON lines. Line breaks at their ends
    /// are dropped, and so are blank ones.
    ///
    /// # Errors
    ///
    /// A file that can't be read any more.
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

    /// Counts the words in the first `n_byte` bytes of it.
    ///
    /// # Errors
    ///
    /// A file that can't be read any more, or what `watch` says.
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
    /// All in one, in pieces of any kind.
    pub fn plain(n_read: &'a AtomicU64) -> Pass<'a> {
        Pass { border: Border::Character, parting: Parting::None, find: None, n_read }
    }
}

/// Which characters there are.
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

/// Reads all of a text for what there is to know of it.
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
/// A folder gives its files in sorted order, subfolders included; hidden ones (a dot in front), binary ones (a zero
/// byte near the start), empty ones and links to folders are left out. A byte order mark in front of a file is dropped.
/// `.gz` and `.zst` are unpacked; each line of `.jsonl` and `.ndjson` is an object whose `text` is a document.
///
/// # Errors
///
/// A path that is missing, unreadable or empty, text that isn't UTF-8, a broken archive or line, a folder without text.
pub fn read(paths: &[PathBuf]) -> Result<Text, DataError> {
    read_with_input(paths, &mut io::stdin().lock())
}

/// [`read`], with something else in the place of standard input.
///
/// # Errors
///
/// As [`read`].
pub fn read_with_input(paths: &[PathBuf], input: &mut dyn Read) -> Result<Text, DataError> {
    Text::open(Origin::of_paths(paths, InvalidUtf8::Refuse)?.kept(input, &|_| Ok(()))?, &|_| Ok(()))
}
