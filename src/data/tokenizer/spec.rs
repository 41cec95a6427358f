use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Tokenizer;
use crate::data::DataError;

/// Which tokenizer a run is to have: what `--tokenizer` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenizerSpec {
    /// Chosen by the size of the text.
    Auto,
    /// A token per character that occurs in the text.
    Char,
    /// A token per byte: 256 of them, any text.
    Byte,
    /// GPT-2's byte-pair encoding: 50,257 tokens.
    Gpt2,
    /// A byte-pair encoding of so many tokens, learned from the text.
    Bpe(u32),
    /// A `tokenizer.json`, tril's or Hugging Face's.
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
    /// What [`TokenizerSpec::Auto`] means for a text; any other spec stays.
    ///
    /// Characters learn fastest from little text and need no merges that it is too short to teach; with thousands of them,
    /// or with more text than a small model sees in a run, longer tokens let a block hold more.
    pub fn resolve(&self, text: &str) -> Self {
        const SMALL_BYTES: usize = 10 << 20;
        const LARGE_BYTES: usize = 200 << 20;
        const MOST_CHARS: usize = 512;
        if *self != Self::Auto {
            return self.clone();
        }
        let has_few = || {
            let mut seen = HashSet::new();
            text.chars().all(|c| {
                seen.insert(c);
                seen.len() <= MOST_CHARS
            })
        };
        match text.len() {
            ..SMALL_BYTES if has_few() => Self::Char,
            ..SMALL_BYTES => Self::Bpe(4096),
            SMALL_BYTES..LARGE_BYTES => Self::Bpe(8192),
            _ => Self::Gpt2,
        }
    }

    /// Makes the tokenizer for a text. A byte-pair encoding is learned from the first `1 - val_fraction` of it.
    ///
    /// # Errors
    ///
    /// A `tokenizer.json` that can't be read, or isn't one.
    pub fn make(&self, text: &str, val_fraction: f64) -> Result<Tokenizer, DataError> {
        match self.resolve(text) {
            // resolved above
            Self::Auto | Self::Char => Ok(Tokenizer::chars(text)),
            Self::Byte => Ok(Tokenizer::bytes()),
            Self::Gpt2 => Ok(Tokenizer::gpt2()),
            Self::Bpe(size) => Tokenizer::train_bpe(training_part(text, val_fraction), size),
            Self::File(path) => from_file(&path).map_err(|reason| DataError::TokenizerFile { path, reason }),
        }
    }
}

/// The tokenizer in a file, or what is wrong with that.
fn from_file(path: &Path) -> Result<Tokenizer, String> {
    if path.is_dir() {
        return Err("is a folder".into());
    }
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is not there".into(),
        io::ErrorKind::InvalidData => "is no tokenizer.json (it is not UTF-8 text)".into(),
        _ => format!("can't be read ({error})"),
    })?;
    match Tokenizer::from_json(&text) {
        Ok(tokenizer) => Ok(tokenizer.recognised()),
        Err(DataError::BadTokenizer { reason }) => Err(format!("is no tokenizer.json ({reason})")),
        Err(error) => Err(format!("can't be used ({error})")),
    }
}

fn training_part(text: &str, val_fraction: f64) -> &str {
    let mut end = ((text.len() as f64 * (1.0 - val_fraction)) as usize).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
