use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Tokenizer, WordCounts};
use crate::data::loading::Watch;
use crate::data::permutation::{narrow, wide};
use crate::data::split::train_share;
use crate::data::{DataError, Mode, Text};
use crate::files::pointer::lfs_pointer;

/// The tokenizer of a run: the value of `--tokenizer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenizerSpec {
    /// Chosen by the text.
    Auto,
    /// A token per character that occurs in the text.
    Char,
    /// A token per byte: 256 of them, any text.
    Byte,
    /// GPT-2's byte-pair encoding: 50,257 tokens.
    Gpt2,
    /// A byte-pair encoding of that many tokens, learned from the text.
    Bpe(u32),
    /// A `tokenizer.json` from tril or Hugging Face.
    File(PathBuf),
}

impl FromStr for TokenizerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "it must be auto, char, byte, gpt2, bpe:SIZE or the path of a tokenizer.json";
        Ok(match text {
            "auto" => Self::Auto,
            "char" => Self::Char,
            "byte" => Self::Byte,
            "gpt2" => Self::Gpt2,
            _ => match text.strip_prefix("bpe:") {
                Some(size) => match size.parse() {
                    Ok(size) if Tokenizer::BPE_SIZES.contains(&size) => Self::Bpe(size),
                    _ => {
                        let (least, most) = Tokenizer::BPE_SIZES.into_inner();
                        return Err(format!("SIZE of bpe:SIZE must be from {least} to {most}, not {size:?}"));
                    }
                },
                None if text.contains(['/', '\\', '.']) => Self::File(text.into()),
                None => return Err(EXPECTED.into()),
            },
        })
    }
}

impl fmt::Display for TokenizerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Char => f.write_str("char"),
            Self::Byte => f.write_str("byte"),
            Self::Gpt2 => f.write_str("gpt2"),
            Self::Bpe(size) => write!(f, "bpe:{size}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl TryFrom<String> for TokenizerSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TokenizerSpec> for String {
    fn from(spec: TokenizerSpec) -> String {
        spec.to_string()
    }
}

impl TokenizerSpec {
    /// Resolves [`TokenizerSpec::Auto`] for a text; any other spec stays.
    ///
    /// Characters learn fastest from little text, which is too short to learn merges from; with thousands of distinct
    /// characters, or with more text than a small model sees in a run, longer tokens let a block hold more.
    pub fn resolve(&self, text: &Text) -> Self {
        const SMALL_BYTES: u64 = 10 << 20;
        const LARGE_BYTES: u64 = 200 << 20;
        const MAX_CHARS: usize = 512;
        if *self != Self::Auto {
            return self.clone();
        }
        match text.n_byte() {
            ..SMALL_BYTES if text.alphabet().len() <= MAX_CHARS => Self::Char,
            ..SMALL_BYTES => Self::Bpe(4096),
            SMALL_BYTES..LARGE_BYTES => Self::Bpe(8192),
            _ => Self::Gpt2,
        }
    }

    /// Whether a tokenizer of this kind is the same for any text.
    pub fn needs_no_text(&self) -> bool {
        matches!(self, Self::Byte | Self::Gpt2 | Self::File(_))
    }

    /// Makes the tokenizer for a text in a mode; a character tokenizer covers the documents. A byte-pair encoding is
    /// learned from the first `1 - val_fraction` of the text, at most [`LEARN_BYTES`].
    ///
    /// # Errors
    ///
    /// A `tokenizer.json` that can't be read or isn't one; a text of one repeated character for a character tokenizer.
    pub fn make(&self, text: &Text, mode: &Mode, val_fraction: f64, watch: Watch<'_>) -> Result<Tokenizer, DataError> {
        match self.resolve(text) {
            // resolved above
            Self::Auto | Self::Char => match (mode, text.alphabet()) {
                // documents at least have a length to learn
                (Mode::Stream, &[character]) => Err(DataError::OneCharacter { character, times: text.n_char() }),
                _ => Ok(Tokenizer::from_chars(text.alphabet_in(mode)?)),
            },
            Self::Byte => Ok(Tokenizer::bytes()),
            Self::Gpt2 => Ok(Tokenizer::gpt2()),
            Self::Bpe(size) => {
                let n_byte = wide(train_share(narrow(text.n_byte()), val_fraction)).min(LEARN_BYTES);
                Tokenizer::train_bpe_on(text.count_words(WordCounts::new(size), n_byte, watch)?, size)
            }
            Self::File(path) => from_file(&path).map_err(|reason| DataError::TokenizerFile { path, reason }),
        }
    }
}

/// The most text that a byte-pair encoding is learned from: more changes little, and takes long.
pub const LEARN_BYTES: u64 = 64 << 20;

/// Reads a tokenizer from a file, or says what is wrong with it.
fn from_file(path: &Path) -> Result<Tokenizer, String> {
    if path.is_dir() {
        return Err("is a folder".into());
    }
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".into(),
        io::ErrorKind::InvalidData => "is not a tokenizer.json (it is not UTF-8 text)".into(),
        _ => format!("can't be read ({error})"),
    })?;
    if let Some(what) = lfs_pointer(text.as_bytes()) {
        return Err(what.into());
    }
    match Tokenizer::from_json(&text) {
        Ok(tokenizer) => Ok(tokenizer.recognised()),
        Err(DataError::BadTokenizer { reason }) => Err(format!("is not a tokenizer.json ({reason})")),
        Err(error) => Err(format!("can't be used ({error})")),
    }
}
