//! Errors on the way from a path to a batch.

use std::io;
use std::path::PathBuf;

use crate::files::shell::quoted;
use crate::units::{count, human_bytes};

/// An error of the data layer; the message says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A run that has no text yet.
    #[error("this run was imported and has no text of its own yet: give a PATH")]
    NoText,
    /// A file that is something else than its name says.
    #[error("{name} {what}")]
    Mistaken {
        /// The file.
        name: String,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// A path that doesn't exist.
    #[error("{} does not exist: check the path", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A run's text that is no longer where it was.
    #[error(
        "{}, the text of this run, does not exist: restore it, or give its new path: tril train --resume {} NEWPATH",
        path.display(),
        quoted(run)
    )]
    Moved {
        /// The path that the run recorded.
        path: PathBuf,
        /// The run.
        run: PathBuf,
    },
    /// A file or folder that exists but can't be read.
    #[error("cannot read {name} ({source}): {}", advice(source))]
    Unreadable {
        /// The file, folder or "standard input".
        name: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file or standard input without any text.
    #[error("{name} is empty: give at least one block of text")]
    Empty {
        /// The file or "standard input".
        name: String,
    },
    /// Bytes that aren't UTF-8.
    #[error(
        "{name} is not UTF-8 text (first bad byte at offset {offset}): convert it (iconv -f {encoding} -t utf-8), or give --lossy"
    )]
    NotUtf8 {
        /// The file or "standard input".
        name: String,
        /// The encoding it may have instead.
        encoding: &'static str,
        /// Units: bytes from the start of the file.
        offset: usize,
    },
    /// Valid UTF-8 whose zero bytes point to another encoding.
    #[error(
        "{name} looks like {encoding}, not UTF-8 (first zero byte at offset {offset}): convert it (iconv -f {encoding} -t utf-8), or give --lossy to train on the zeros"
    )]
    Wide {
        /// The file or "standard input".
        name: String,
        /// Its likely encoding.
        encoding: &'static str,
        /// Units: bytes from the start of the file.
        offset: usize,
    },
    /// A compressed file that can't be decompressed.
    #[error("{name} can't be decompressed ({reason}): it is truncated or damaged; download or create it again")]
    Archive {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A compressed file with other bytes after its end.
    #[error(
        "{name} has other bytes after its compressed data, so it may be incomplete: create it again, or cut those bytes off"
    )]
    Trailing {
        /// The file.
        name: String,
    },
    /// No disk space for the data from a pipe, or for the tokens of a long text.
    #[error(
        "cannot store {name} in {} ({source}): free some space there, or set TMPDIR to another folder",
        folder.display()
    )]
    Spool {
        /// The pipe, "standard input" or "the tokens".
        name: String,
        /// The folder for temporary files.
        folder: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A text of one repeated character, for a character tokenizer.
    #[error(
        "the text is only {character:?}, {}, so there is nothing to learn: give another text, or --tokenizer byte to train on it anyway",
        count(*times, "time")
    )]
    OneCharacter {
        /// The character.
        character: char,
        /// How often it occurs.
        times: u64,
    },
    /// A compressed file that expands far more than text does.
    #[error("{name} expands to more than {times} times its size: if that is intended, decompress it yourself")]
    Swells {
        /// The file.
        name: String,
        /// The factor allowed.
        times: u64,
    },
    /// A JSON line without a text.
    #[error("line {line} of {name} is not a JSON object with a \"text\" ({reason}): correct it")]
    BadLine {
        /// The file.
        name: String,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder whose files are all hidden, binary or empty.
    #[error("no text in folder {} (hidden, binary and empty files, runs and data sets are skipped): name its files instead", path.display())]
    NoTextInFolder {
        /// The folder as given.
        path: PathBuf,
    },
    /// A token file that can't be used.
    #[error("{} {reason}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A token id outside its tokenizer's vocabulary.
    #[error(
        "{} has id {id} at token {place}, but the vocabulary ends at {last}: {advice}",
        path.display()
    )]
    TokenBeyond {
        /// The file.
        path: PathBuf,
        /// The id, as the message shows it.
        id: String,
        /// Units: tokens from the start of the file.
        place: u64,
        /// The last id of the vocabulary.
        last: u64,
        /// What the file may be, or what to do.
        advice: String,
    },
    /// Token files that are shorter than a window.
    #[error(
        "{name} holds {}, but a block of {block_size} needs {}: give more tokens, or lower --block-size",
        count(*tokens, "token"),
        block_size + 1
    )]
    ShortTokens {
        /// The files.
        name: String,
        /// Tokens in them.
        tokens: usize,
        /// Tokens in a block.
        block_size: usize,
    },
    /// A split of token files that is one id over and over.
    #[error(
        "the {split} split holds only id {id}, {}: the token file may not have been filled to its end; create it again, or give other files",
        count(*times, "time")
    )]
    OneToken {
        /// Which split.
        split: &'static str,
        /// The id.
        id: u32,
        /// Tokens in the split.
        times: usize,
    },
    /// A file next to token files that should be their tokenizer.
    #[error("{} can't be used as a tokenizer ({reason}): give the right one with --tokenizer", path.display())]
    TokenizerBeside {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Token files mixed with text.
    #[error("{} holds tokens, but {} holds text: give one or the other", tokens.display(), text.display())]
    Mixed {
        /// A token file.
        tokens: PathBuf,
        /// A path to text.
        text: PathBuf,
    },
    /// Validation files without token files.
    #[error("--val {} needs token files (.bin); for text, leave it out and use --val-fraction", val.display())]
    ValOfText {
        /// The path.
        val: PathBuf,
    },
    /// A token width without token files.
    #[error("--token-width needs token files (.bin), but this is text: leave it out")]
    WidthOfText,
    /// Documents mode with token files.
    #[error(
        "--mode documents needs text, but these are token files: use --mode stream, with --document-mask true to keep their documents apart"
    )]
    DocumentsOfTokens,
    /// A file name pattern without a match.
    #[error("{pattern} matches no file ({reason}): check the path")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why it matches none.
        reason: String,
    },
    /// A data set that already exists.
    #[error("{} already exists: choose another --out, or remove it", path.display())]
    SetExists {
        /// One of its files.
        path: PathBuf,
    },
    /// A data set that another process is writing.
    #[error("{} is being written by another tril; wait for it or choose another --out", path.display())]
    SetBusy {
        /// The file.
        path: PathBuf,
    },
    /// A file that can't be written.
    #[error("cannot write {name} ({source}): check the path, its permissions and the disk space")]
    Unwritable {
        /// The file or folder.
        name: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// More tokens than a file in llm.c's format can count.
    #[error(
        "a file in llm.c's format holds at most {most} tokens, but the text has more: tokenize parts of it into separate folders, and train on all of them"
    )]
    TooManyTokens {
        /// The most tokens that a file holds.
        most: u64,
    },
    /// A vocabulary too large for nanoGPT's files.
    #[error("nanoGPT's files hold ids below 65536, but the vocabulary has {vocab_size}: use --format llmc")]
    TooWide {
        /// Ids in the vocabulary.
        vocab_size: usize,
    },
    /// A text that would have to be encoded all at once.
    #[error(
        "the text has more than {} MiB without a place where this tokenizer can split it: break it into lines, or use \
         --tokenizer byte",
        bytes >> 20
    )]
    LongWord {
        /// Units: bytes, the most that are encoded at once.
        bytes: usize,
    },
    /// A JSON line that is too long.
    #[error("{name} has a line of more than {} MiB, but each line should be one document: give another file", bytes >> 20)]
    LongLine {
        /// The file.
        name: String,
        /// Units: bytes.
        bytes: usize,
    },
    /// Too little text for the requested split.
    #[error(
        "the text leaves {} for training and {validation} for validation: give more text, or change --val-fraction (0 for none)",
        count(*training, "token")
    )]
    FewTokens {
        /// Tokens that would be trained on.
        training: u64,
        /// Tokens that would be held out.
        validation: u64,
    },
    /// More memory than allowed while reading a text.
    #[error(
        "--memory allows {}, but reading the text takes more ({}): raise it, or make token files first: tril tokenize",
        human_bytes(*most),
        human_bytes(*taken)
    )]
    Memory {
        /// Units: bytes that the process uses.
        taken: u64,
        /// Units: bytes that it may use.
        most: u64,
    },
    /// Work stopped from outside.
    #[error("stopped before the end: nothing was written")]
    Stopped,
    /// Text that differs from what the run began with.
    #[error(
        "the {what} changed since this run began (checksum {found:08x}, expected {expected:08x}): restore it, or start a new run with --out"
    )]
    Changed {
        /// The subject and its verb: "text has", say.
        what: &'static str,
        /// The CRC-32 that the run recorded.
        expected: u32,
        /// The CRC-32 of the text now.
        found: u32,
    },
    /// Text that differs when read again.
    #[error("the text changed while it was being read: wait until nothing writes to it, then try again")]
    Unsteady,
    /// A character that the vocabulary lacks.
    #[error(
        "character {character:?} (U+{:04X}) at position {position} is not among the tokenizer's {}: remove it, or train a new run with --tokenizer byte",
        u32::from(*character),
        count(*vocabulary, "character")
    )]
    UnknownCharacter {
        /// The character.
        character: char,
        /// Units: characters from the start of the text encoded.
        position: usize,
        /// How many characters the tokenizer knows.
        vocabulary: usize,
    },
    /// A tokenizer.json that can't be used.
    #[error("not a usable tokenizer.json ({reason}): give one from tril or Hugging Face, or restore the run's own")]
    BadTokenizer {
        /// What is wrong with it.
        reason: String,
    },
    /// A `--tokenizer` that can't be used.
    #[error("--tokenizer {} {reason}: give a kind of tokenizer, or the path of a tokenizer.json from tril or Hugging Face", path.display())]
    TokenizerFile {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A word without an id, in a `tokenizer.json` without an id for unknown words.
    #[error(
        "the tokenizer has no id for {word:?} (at character {position} of the text) and none for unknown words: change the text, or train a new run with another --tokenizer"
    )]
    UnknownWord {
        /// The word, or its beginning.
        word: String,
        /// Units: characters from the start of the text encoded.
        position: usize,
    },
    /// A text that becomes almost only unknown tokens.
    #[error(
        "{percent:.1} % of the text's tokens are {name}, the tokenizer's unknown token, so there is nothing to learn: give text that fits it, or train a new run with another --tokenizer, such as bpe:4096, which is learned from the text"
    )]
    Unknown {
        /// How that token is written.
        name: String,
        /// Units: percent of the tokens.
        percent: f64,
    },
    /// A text that a tokenizer drops almost entirely.
    #[error(
        "the tokenizer drops {percent:.1} % of the text, as it doesn't know it, so there is nothing to learn: give text that fits it, or train a new run with another --tokenizer, such as bpe:4096, which is learned from the text"
    )]
    Dropped {
        /// Units: percent of the bytes that aren't white space.
        percent: f64,
    },
    /// A text that a `tokenizer.json` can't encode.
    #[error(
        "the tokenizer can't encode this text ({reason}): change the text, or train a new run with another --tokenizer"
    )]
    Encode {
        /// Its error.
        reason: String,
    },
    /// Documents mode with a tokenizer that lacks the special tokens.
    #[error(
        "--mode documents needs a tokenizer with start and end tokens, but this one has none: use --mode stream, or train a new run with another --tokenizer"
    )]
    NoSpecials,
    /// A document mask for a stream whose tokenizer has no token between documents.
    #[error(
        "--document-mask needs an end-of-text token to find the documents of a stream, but this tokenizer has none: leave it out, or use --mode documents or a tokenizer that has one"
    )]
    NoDocuments,
    /// An empty separator.
    #[error("the document separator is empty: give --separator some text")]
    EmptySeparator,
    /// A block of no tokens.
    #[error("a block of 0 tokens holds nothing: give --block-size 1 or more")]
    ZeroBlock,
    /// A validation fraction that leaves nothing to train on, or isn't a number.
    #[error(
        "a validation fraction of {value} is not in 0..1: give --val-fraction a value from 0 (no validation) to 0.99"
    )]
    ValFraction {
        /// The value given.
        value: f64,
    },
    /// A training split shorter than one window and its targets.
    #[error(
        "the training split has {}, but a block of {block_size} needs {}: give more text, or lower --block-size",
        count(*tokens, "token"),
        block_size + 1
    )]
    ShortTraining {
        /// Tokens in the split.
        tokens: usize,
        /// Tokens in a block.
        block_size: usize,
    },
    /// A validation split shorter than one window and its targets.
    #[error(
        "the validation split has {}, but a block of {block_size} needs {}: give more text, raise --val-fraction, or lower --block-size",
        count(*tokens, "token"),
        block_size + 1
    )]
    ShortValidation {
        /// Tokens in the split.
        tokens: usize,
        /// Tokens in a block.
        block_size: usize,
    },
    /// A text to evaluate with fewer than two tokens.
    #[error("the text to evaluate has {}, but a prediction needs 2: give more text", count(*tokens, "token"))]
    ShortEvaluation {
        /// Tokens in the text.
        tokens: usize,
    },
    /// Too few documents for the requested split.
    #[error(
        "{} leave{} {training} for training and {validation} for validation: give more documents, check --separator, or change --val-fraction (0 for none)",
        count(*documents, "document"),
        if *documents == 1 { "s" } else { "" }
    )]
    FewDocuments {
        /// Documents in the text.
        documents: usize,
        /// Documents that would be trained on.
        training: usize,
        /// Documents that would be held out.
        validation: usize,
    },
    /// A grammar file that doesn't parse.
    #[error("line {line} of the grammar: {reason}: correct the grammar file")]
    Grammar {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl DataError {
    /// Shifts the error's position, for a text that begins `n_char` characters in.
    #[must_use]
    pub(super) fn further(self, n_char: usize) -> DataError {
        match self {
            DataError::UnknownCharacter { character, position, vocabulary } => {
                DataError::UnknownCharacter { character, position: position + n_char, vocabulary }
            }
            DataError::UnknownWord { word, position } => DataError::UnknownWord { word, position: position + n_char },
            other => other,
        }
    }
}

/// What to do about a file that can't be read.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "check its permissions",
        io::ErrorKind::IsADirectory => "it is a folder, but a file is needed",
        _ => "check the path and the disk",
    }
}
