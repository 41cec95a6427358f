//! What can go wrong between a path and a batch.

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
    /// A path that isn't there.
    #[error("nothing at {}: check the path", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A run's text that isn't where it was.
    #[error(
        "nothing at {}, where the text of this run was: put it back, or say where it is now with tril train --resume {} NEWPATH",
        path.display(),
        quoted(run)
    )]
    Moved {
        /// The path as the run has it.
        path: PathBuf,
        /// The run.
        run: PathBuf,
    },
    /// A file or folder that is there but can't be read.
    #[error("cannot read {name} ({source}): {}", advice(source))]
    Unreadable {
        /// The file, folder or "standard input".
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file or standard input without a single character.
    #[error("{name} is empty: give text with at least one block of tokens")]
    Empty {
        /// The file or "standard input".
        name: String,
    },
    /// Bytes that aren't UTF-8.
    #[error(
        "{name} is not UTF-8 text (first bad byte at offset {offset}): convert it, as with iconv -f {encoding} -t utf-8, or give --lossy"
    )]
    NotUtf8 {
        /// The file or "standard input".
        name: String,
        /// What it may be instead.
        encoding: &'static str,
        /// Units: bytes from the start.
        offset: usize,
    },
    /// Bytes that could be UTF-8 and have the zeros of another encoding.
    #[error(
        "{name} is {encoding} by its zero bytes (the first at offset {offset}), not UTF-8: convert it, as with iconv -f {encoding} -t utf-8, or give --lossy to train on the zeros"
    )]
    Wide {
        /// The file or "standard input".
        name: String,
        /// What it is.
        encoding: &'static str,
        /// Units: bytes from the start.
        offset: usize,
    },
    /// A compressed file that can't be unpacked.
    #[error("{name} can't be unpacked ({reason}): it is cut off or damaged, get it again")]
    Archive {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A compressed file with something behind its end.
    #[error(
        "{name} has other bytes behind the end of its compressed data, which is not all that the file was meant to hold: make it again, or cut them off"
    )]
    Trailing {
        /// The file.
        name: String,
    },
    /// No room for what comes through a pipe, or for the tokens of a long text.
    #[error(
        "cannot keep {name} in {} ({source}): make room there, or set TMPDIR to another folder",
        folder.display()
    )]
    Spool {
        /// The pipe, "standard input" or "the tokens".
        name: String,
        /// The folder for temporary files.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A text that is one character, for a tokenizer of characters.
    #[error(
        "the text is nothing but {character:?}, {}, so there is nothing to learn: give another text, or --tokenizer byte to train on it all the same",
        count(*times, "time")
    )]
    OneCharacter {
        /// The character.
        character: char,
        /// How often it is there.
        times: u64,
    },
    /// A compressed file that holds far more than text does.
    #[error("{name} would become more than {times} times as large: if it is meant to, unpack it yourself")]
    Swells {
        /// The file.
        name: String,
        /// What is allowed.
        times: u64,
    },
    /// A line of JSON lines without a text.
    #[error("line {line} of {name} is not a JSON object with a \"text\" ({reason}): correct it")]
    BadLine {
        /// The file.
        name: String,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder in which everything is hidden, binary or empty.
    #[error("no text in folder {} (hidden, binary and empty files, runs and data sets are skipped): name the files themselves", path.display())]
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
    /// A token that its tokenizer doesn't have.
    #[error(
        "{} has id {id} at token {place}, and the vocabulary ends at {last}: {advice}",
        path.display()
    )]
    TokenBeyond {
        /// The file.
        path: PathBuf,
        /// The id, as it is written.
        id: String,
        /// Units: tokens from the file's first.
        place: u64,
        /// The last id of the vocabulary.
        last: u64,
        /// What the file may be, or what else to do.
        advice: String,
    },
    /// Token files that are shorter than a window.
    #[error(
        "{name} holds {}, and a block of {block_size} needs {}: give more, or lower --block-size",
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
    /// A file beside token files that should say how text becomes their tokens.
    #[error("{} can't be used as a tokenizer ({reason}): give the right one with --tokenizer", path.display())]
    TokenizerBeside {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Token files and text at once.
    #[error("{} holds tokens and {} text: give the one or the other", tokens.display(), text.display())]
    Mixed {
        /// A token file.
        tokens: PathBuf,
        /// A path that is none.
        text: PathBuf,
    },
    /// Validation files where there are no token files.
    #[error("--val {} is for token files (.bin), and text is held out with --val-fraction: leave --val out", val.display())]
    ValOfText {
        /// The path.
        val: PathBuf,
    },
    /// A width of tokens where there are no token files.
    #[error("--token-width is for token files (.bin), and this is text: leave it out")]
    WidthOfText,
    /// Documents that are to be cut out of token files.
    #[error(
        "--mode documents takes text, and these are token files: use --mode stream, with --document-mask true to keep their documents apart"
    )]
    DocumentsOfTokens,
    /// A pattern of file names that fits nothing.
    #[error("{pattern} names no file ({reason}): check the path")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A data set in the place of a new one.
    #[error("{} is there already: choose another --out, or remove it", path.display())]
    SetExists {
        /// A file of it.
        path: PathBuf,
    },
    /// A data set that another process is writing.
    #[error("{} is being written by another tril; wait for it or choose another --out", path.display())]
    SetBusy {
        /// The file.
        path: PathBuf,
    },
    /// A file that can't be written.
    #[error("cannot write {name} ({source}): check the path, its permissions and the space on the disk")]
    Unwritable {
        /// The file or folder.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// More tokens than a file of llm.c can count.
    #[error(
        "a file of llm.c holds {most} tokens at most, and there are more: tokenize parts of the text into folders of their own, and train on all of them"
    )]
    TooManyTokens {
        /// Tokens that it holds.
        most: u64,
    },
    /// A vocabulary that nanoGPT's files can't hold.
    #[error("nanoGPT's files hold ids below 65536, and the vocabulary has {vocab_size}: use --format llmc")]
    TooWide {
        /// Ids of the vocabulary.
        vocab_size: usize,
    },
    /// A text that would have to be encoded all at once.
    #[error(
        "the text has more than {} MiB without a place where this tokenizer could cut it: break it into lines, or take \
         --tokenizer byte",
        bytes >> 20
    )]
    LongWord {
        /// Units: bytes that are encoded at once at most.
        bytes: usize,
    },
    /// A record of JSON lines that is too long.
    #[error("{name} has a line of more than {} MiB, and each should be a document: name another file", bytes >> 20)]
    LongLine {
        /// The file.
        name: String,
        /// Units: bytes.
        bytes: usize,
    },
    /// Too little text for the split that was asked for.
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
    /// More memory than is allowed, while a text is read.
    #[error(
        "--memory allows {}, and reading the text takes more ({}); give more, or make it token files first: tril tokenize",
        human_bytes(*most),
        human_bytes(*taken)
    )]
    Memory {
        /// Units: bytes that the process takes.
        taken: u64,
        /// Units: bytes that it may take.
        most: u64,
    },
    /// Work that was stopped from outside.
    #[error("stopped before the end: nothing was written")]
    Stopped,
    /// Text that isn't the text a run began with.
    #[error(
        "the {what} changed since this run began (checksum {found:08x}, expected {expected:08x}): restore it, or start a new run with --out"
    )]
    Changed {
        /// What it is that has: "text has", say.
        what: &'static str,
        /// CRC-32 recorded by the run.
        expected: u32,
        /// CRC-32 of the text now.
        found: u32,
    },
    /// Text that isn't the same when it is read again.
    #[error("the text changed while it was read: wait until nothing writes to it any more, then try again")]
    Unsteady,
    /// A character that the vocabulary lacks.
    #[error(
        "character {character:?} (U+{:04X}) at position {position} is not among the {} of the tokenizer: remove it, or train a new run with --tokenizer byte",
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
    #[error("not a tokenizer.json ({reason}): give one of tril or of Hugging Face, or restore the run's own")]
    BadTokenizer {
        /// What is wrong with it.
        reason: String,
    },
    /// What `--tokenizer` names and is none.
    #[error("--tokenizer {} {reason}: give the path of a tokenizer.json of tril or of Hugging Face, or a kind of tokenizer", path.display())]
    TokenizerFile {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A word that the model of a `tokenizer.json` has no id for, nor for any that it doesn't know.
    #[error(
        "the tokenizer has no id for {word:?} (at character {position} of the text), nor one for unknown words: change the text, or train a new run with another --tokenizer"
    )]
    UnknownWord {
        /// The word, or its beginning.
        word: String,
        /// Units: characters from the start of the text encoded.
        position: usize,
    },
    /// A text of which a tokenizer knows next to nothing.
    #[error(
        "{percent:.1} % of the text's tokens are {name}, which stands for what the tokenizer doesn't know, so that there is nothing to learn: give text that it knows, or a new run another --tokenizer, such as bpe:4096, which is learned from the text"
    )]
    Unknown {
        /// How that token is written.
        name: String,
        /// Units: percent of the tokens.
        percent: f64,
    },
    /// A text of which a tokenizer leaves out next to everything.
    #[error(
        "{percent:.1} % of the text becomes no token, as the tokenizer leaves out what it doesn't know, so that there is nothing to learn: give text that it knows, or a new run another --tokenizer, such as bpe:4096, which is learned from the text"
    )]
    Dropped {
        /// Units: percent of the bytes that are no white space.
        percent: f64,
    },
    /// A text that the model of a `tokenizer.json` has no ids for.
    #[error(
        "the tokenizer has no ids for this text ({reason}): change the text, or train a new run with another --tokenizer"
    )]
    Encode {
        /// What it says.
        reason: String,
    },
    /// A document mode without a tokenizer that has the special tokens.
    #[error(
        "documents need a tokenizer with start and end tokens, and this one has none: use --mode stream, or a new run with another --tokenizer"
    )]
    NoSpecials,
    /// A mask between the documents of a stream without a token that parts them.
    #[error(
        "--document-mask needs to know where the documents of a stream begin, and this tokenizer has no end-of-text token: leave it out, use --mode documents, or a tokenizer that has one"
    )]
    NoDocuments,
    /// A separator that would split between any two characters.
    #[error("the document separator is empty: give --separator some text")]
    EmptySeparator,
    /// A block without a token.
    #[error("a block of 0 tokens holds nothing: give --block-size 1 or more")]
    ZeroBlock,
    /// A validation fraction that leaves nothing to train on, or isn't a number.
    #[error("a validation fraction of {value} is not in 0..1: give --val-fraction 0 (no validation) up to 0.99")]
    ValFraction {
        /// The value given.
        value: f64,
    },
    /// A training split shorter than one window and its targets.
    #[error(
        "the training split has {}, and a block of {block_size} needs {}: give more text, or lower --block-size",
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
        "the validation split has {}, and a block of {block_size} needs {}: give more text, raise --val-fraction, or lower --block-size",
        count(*tokens, "token"),
        block_size + 1
    )]
    ShortValidation {
        /// Tokens in the split.
        tokens: usize,
        /// Tokens in a block.
        block_size: usize,
    },
    /// A text to evaluate in which no token follows another.
    #[error("the text to evaluate has {}, and a prediction needs 2: give more text", count(*tokens, "token"))]
    ShortEvaluation {
        /// Tokens in the text.
        tokens: usize,
    },
    /// Too few documents for the split that was asked for.
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
    /// The same about a text of which only the part behind so many characters was looked at.
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
        io::ErrorKind::IsADirectory => "it is a folder, and a file is needed",
        _ => "check the path and the disk",
    }
}
