//! Token files: nanoGPT's, llm.c's, and tril's own, which are in these two formats.
//!
//! They are memory-mapped, so that a run reads only the windows it trains on.

mod find;
mod guess;
mod header;
mod held;
mod layout;
mod mmap;
mod nanogpt_meta;
mod npy;
pub mod pickle;
mod scan;
mod width;
mod zeros;

pub use find::{find, find_for_evaluation};
pub(in crate::data) use held::{HELD_BYTES, Held};
pub use layout::Layout;
pub use nanogpt_meta::tokenizer as tokenizer_of_meta;
pub use width::Width;

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::permutation::{narrow, wide};
use super::{DataError, Tokenizer};
use crate::files::pointer::lfs_pointer;
use guess::Guess;
use mmap::Mapped;
use scan::scan;

/// The maximum size of a `meta.pkl` or `tokenizer.json`. Those of the largest vocabularies have a few MiB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// A sequence of tokens, in memory or in files.
#[derive(Clone, Debug)]
pub struct Tokens {
    all: Arc<All>,
    range: Range<usize>,
}

#[derive(Debug)]
enum All {
    Held(Held),
    Files {
        files: Vec<TokenFile>,
        /// For each file, the tokens in it and the files before it.
        ends: Vec<usize>,
    },
}

#[derive(Debug)]
struct TokenFile {
    layout: Layout,
    map: Mapped,
}

impl TokenFile {
    fn read(&self, range: Range<usize>, out: &mut Vec<u32>) {
        let (start, width) = (narrow(self.layout.start), narrow(self.layout.width.bytes()));
        let bytes = &self.map[start + range.start * width..start + range.end * width];
        out.extend(self.layout.width.decode(bytes));
    }
}

impl From<Held> for Tokens {
    fn from(mut tokens: Held) -> Tokens {
        tokens.shrink();
        Tokens { range: 0..tokens.len(), all: Arc::new(All::Held(tokens)) }
    }
}

impl From<Vec<u32>> for Tokens {
    fn from(ids: Vec<u32>) -> Tokens {
        let vocab_size = ids.iter().max().map_or(0, |&highest| narrow(u64::from(highest) + 1));
        let mut tokens = Held::new(vocab_size, usize::MAX);
        tokens.extend(ids).expect("tokens in memory");
        tokens.into()
    }
}

impl Default for Tokens {
    fn default() -> Tokens {
        vec![].into()
    }
}

impl Tokens {
    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The tokens of a range, which must lie within the sequence.
    pub fn get(&self, range: Range<usize>) -> Vec<u32> {
        let (from, to) = (self.range.start + range.start, self.range.start + range.end);
        assert!(to <= self.range.end, "a range within the tokens");
        match &*self.all {
            All::Held(tokens) => tokens.get(from..to),
            All::Files { files, ends } => {
                let mut out = Vec::with_capacity(to - from);
                let mut i = ends.partition_point(|&end| end <= from);
                while from + out.len() < to {
                    let first = if i == 0 { 0 } else { ends[i - 1] };
                    files[i].read(from + out.len() - first..to.min(ends[i]) - first, &mut out);
                    i += 1;
                }
                out
            }
        }
    }

    /// The tokens in order, in blocks.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Vec<u32>> {
        const BLOCK: usize = 1 << 16;
        (0..self.len()).step_by(BLOCK).map(|from| self.get(from..self.len().min(from + BLOCK)))
    }

    /// The id that all of them are, if there are too many for chance.
    pub(super) fn only_id(&self) -> Option<u32> {
        const FEWEST: usize = 64;
        let first = *self.get(0..self.len().min(1)).first()?;
        let is_only = self.len() >= FEWEST && self.blocks().all(|block| block.iter().all(|&id| id == first));
        is_only.then_some(first)
    }

    /// The first `n` tokens, and the rest.
    pub fn split_at(&self, n: usize) -> (Tokens, Tokens) {
        let at = self.range.end.min(self.range.start + n);
        let part = |range| Tokens { all: self.all.clone(), range };
        (part(self.range.start..at), part(at..self.range.end))
    }
}

/// The token files of a run.
#[derive(Clone, Debug)]
pub struct TokenSet {
    train: Tokens,
    val: Option<Tokens>,
    crc32: u32,
    /// The highest id of each file, and its position.
    highest: Vec<Highest>,
    warnings: Vec<String>,
}

#[derive(Clone, Debug)]
struct Highest {
    path: PathBuf,
    layout: Layout,
    id: u64,
    place: u64,
}

impl TokenSet {
    /// Opens files, and reads every byte of them once. Without `val`, validation takes its share of the tokens of
    /// `train`.
    ///
    /// # Errors
    ///
    /// A file that is missing, unreadable, empty, truncated or not a token file.
    pub fn open(train: &[PathBuf], val: &[PathBuf]) -> Result<TokenSet, DataError> {
        TokenSet::open_as(train, val, None)
    }

    /// [`TokenSet::open`] with a token width for files whose header doesn't give it. Without a width they are read as
    /// 16-bit tokens, and refused if they look like something else.
    ///
    /// # Errors
    ///
    /// As [`TokenSet::open`].
    pub fn open_as(train: &[PathBuf], val: &[PathBuf], width: Option<Width>) -> Result<TokenSet, DataError> {
        let paths: Vec<&PathBuf> = train.iter().chain(val).collect();
        let mut files = paths.iter().map(|path| open(path, width)).collect::<Result<Vec<_>, _>>()?;
        let layouts: Vec<(&Path, Layout)> =
            paths.iter().zip(&files).map(|(path, file)| (path.as_path(), file.layout)).collect();
        let scans = scan(&layouts).map_err(|(i, error)| unreadable(paths[i], error))?;
        let mut crc = crc32fast::Hasher::new();
        let mut warnings = vec![];
        for (scan, (path, layout)) in scans.iter().zip(&layouts) {
            let bad = |reason| DataError::TokenFile { path: path.to_path_buf(), reason };
            let doubt = guess::check_whole(layout, scan, width).map_err(bad)?;
            warnings.extend(doubt.map(|doubt| format!("{} {doubt}", path.display())));
            // so that moving a token from one file to the next is noticed, too
            crc.update(&layout.n_token.to_le_bytes());
            crc.combine(&scan.crc);
        }
        let highest = scans.iter().zip(&layouts);
        let highest = highest.map(|(scan, &(path, layout))| Highest {
            path: path.to_path_buf(),
            layout,
            id: scan.highest,
            place: scan.place,
        });
        let rest = files.split_off(train.len());
        Ok(TokenSet {
            highest: highest.collect(),
            warnings,
            train: joined(files),
            val: (!val.is_empty()).then(|| joined(rest)),
            crc32: crc.finalize(),
        })
    }

    /// Tokens to train on; without validation files, also the ones to validate on.
    pub fn train(&self) -> &Tokens {
        &self.train
    }

    /// Tokens of the validation files.
    pub fn val(&self) -> Option<&Tokens> {
        self.val.as_ref()
    }

    /// A name for some tokens of this set: their file, or the number of files.
    pub(super) fn name(&self, tokens: &Tokens) -> String {
        let All::Files { files, .. } = &*tokens.all else { return "the text".into() };
        let is_val = self.val.as_ref().is_some_and(|val| Arc::ptr_eq(&val.all, &tokens.all));
        let first = if is_val { self.highest.len() - files.len() } else { 0 };
        match files.len() {
            1 => self.highest[first].path.display().to_string(),
            n => format!("{} and {} more", self.highest[first].path.display(), n - 1),
        }
    }

    /// Warnings about the files that may be false alarms: one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// CRC-32 of all files, and of their sizes.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }

    /// Checks that every id is in a vocabulary.
    ///
    /// # Errors
    ///
    /// The file and position of one that isn't.
    pub fn check(&self, vocab_size: usize) -> Result<(), DataError> {
        let Some(beyond) = self.highest.iter().find(|highest| wide(vocab_size) <= highest.id) else { return Ok(()) };
        let Highest { path, layout, id, place } = beyond;
        let negative = guess::negative_advice(layout, *id);
        let advice = match (guess::other_reading(path, layout, wide(vocab_size)), negative) {
            // numbers twice as wide as the file's are negative by chance
            (Some(guess @ Guess::Little(Width::Two)), _) | (Some(guess), None) => {
                format!("these look like {guess}, {}", guess.remedy())
            }
            (_, Some(negative)) => negative,
            (None, None) => "give the files' own tokenizer with --tokenizer, or create the file again".into(),
        };
        Err(DataError::TokenBeyond {
            path: path.clone(),
            id: layout.width.shown(*id),
            place: *place,
            last: wide(vocab_size).saturating_sub(1),
            advice,
        })
    }
}

/// Finds the tokenizer next to token files, and its file: a `tokenizer.json`, else nanoGPT's `meta.pkl`.
///
/// # Errors
///
/// A tokenizer that can't be used, or files with different ones.
pub fn tokenizer_beside(files: &[PathBuf]) -> Result<Option<(PathBuf, Tokenizer)>, DataError> {
    let mut folders: Vec<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    folders.sort();
    folders.dedup();
    let mut found: Option<(PathBuf, Tokenizer)> = None;
    for folder in folders {
        let (json, meta) = (folder.join("tokenizer.json"), folder.join("meta.pkl"));
        let (path, tokenizer) = if json.is_file() {
            let text = String::from_utf8(read_small(&json)?).map_err(|_| bad_tokenizer(&json, "it is not UTF-8"))?;
            (json.clone(), Tokenizer::from_json(&text).map_err(|e| bad_tokenizer(&json, e))?.recognised())
        } else if meta.is_file() {
            (meta.clone(), nanogpt_meta::tokenizer(&read_small(&meta)?).map_err(|reason| bad_tokenizer(&meta, reason))?)
        } else {
            continue;
        };
        match &found {
            Some((other, known)) if *known != tokenizer => {
                return Err(bad_tokenizer(&path, format!("it differs from {}", other.display())));
            }
            _ => found = Some((path, tokenizer)),
        }
    }
    Ok(found)
}

fn bad_tokenizer(path: &Path, reason: impl ToString) -> DataError {
    DataError::TokenizerBeside { path: path.into(), reason: reason.to_string() }
}

fn read_small(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = vec![];
    let file = File::open(path).map_err(|e| unreadable(path, e))?;
    file.take(MAX_TOKENIZER_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, e))?;
    if bytes.len() as u64 > MAX_TOKENIZER_BYTES {
        return Err(bad_tokenizer(path, "it is too large"));
    }
    Ok(bytes)
}

fn open(path: &Path, width: Option<Width>) -> Result<TokenFile, DataError> {
    let kind = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DataError::Missing { path: path.into() },
        _ => unreadable(path, error),
    })?;
    let bad = |reason: String| DataError::TokenFile { path: path.into(), reason };
    if !kind.is_file() {
        return Err(bad("can't be memory-mapped: copy it to a regular file".into()));
    }
    let mut file = File::open(path).map_err(|e| unreadable(path, e))?;
    let mut head = vec![];
    (&mut file).take(Layout::HEAD_BYTES as u64).read_to_end(&mut head).map_err(|e| unreadable(path, e))?;
    if let Some(what) = lfs_pointer(&head) {
        return Err(DataError::Mistaken { name: path.display().to_string(), what });
    }
    if width.is_none() && !Layout::has_header(&head) {
        guess::check_head(&head).map_err(bad)?;
    }
    let layout = Layout::of(&head, kind.len(), width).map_err(bad)?;
    let map = Mapped::new(&file).map_err(|e| unreadable(path, e))?;
    if wide(map.len()) != kind.len() {
        return Err(bad("is being written: wait until it is complete".into()));
    }
    Ok(TokenFile { layout, map })
}

fn joined(files: Vec<TokenFile>) -> Tokens {
    let mut n = 0;
    let ends: Vec<usize> = files
        .iter()
        .map(|file| {
            n += narrow(file.layout.n_token);
            n
        })
        .collect();
    Tokens { all: Arc::new(All::Files { files, ends }), range: 0..n }
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Unreadable { name: path.display().to_string(), source }
}
