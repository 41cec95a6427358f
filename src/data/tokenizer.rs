//! Text to token ids and back.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::DataError;

/// Units: ids, when every byte has one.
const BYTES: usize = 256;

/// Maps text to ids: one per character, or one per UTF-8 byte.
///
/// Without special tokens (stream mode) ids count from 0. With them (documents mode, [`Tokenizer::for_documents`])
/// id 0 is `<pad>`, the characters or bytes follow from 1, and `<start>` and `<end>` come last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    units: Units,
    specials: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Units {
    Bytes,
    Chars { chars: Vec<char>, ranks: HashMap<char, usize> },
}

/// One id, looked up.
enum Token {
    Byte(u8),
    Char(char),
    Special,
    Unknown,
}

impl Tokenizer {
    /// A vocabulary of the characters of a text, sorted (nanoGPT's convention).
    pub fn chars(text: &str) -> Tokenizer {
        Tokenizer::from_chars(text.chars().collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// A vocabulary of the 256 bytes, which can spell any text.
    pub fn bytes() -> Tokenizer {
        Tokenizer { units: Units::Bytes, specials: false }
    }

    fn from_chars(chars: Vec<char>) -> Tokenizer {
        let ranks = chars.iter().enumerate().map(|(i, &c)| (c, i)).collect();
        Tokenizer { units: Units::Chars { chars, ranks }, specials: false }
    }

    /// The same units with `<pad>` in front and `<start>` and `<end>` behind.
    pub fn for_documents(mut self) -> Tokenizer {
        self.specials = true;
        self
    }

    /// How many ids there are, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.n_units() + if self.specials { 3 } else { 0 }
    }

    /// The id that fills rows up: 0, if there are special tokens.
    pub fn pad_id(&self) -> Option<u32> {
        self.specials.then_some(0)
    }

    /// The id in front of a document.
    pub fn start_id(&self) -> Option<u32> {
        self.specials.then(|| id(self.n_units() + 1))
    }

    /// The id behind a document.
    pub fn end_id(&self) -> Option<u32> {
        self.specials.then(|| id(self.n_units() + 2))
    }

    /// The ids of a text; special tokens are never among them.
    ///
    /// # Errors
    /// [`DataError::UnknownCharacter`] for a character outside the vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let first = self.first_unit();
        match &self.units {
            Units::Bytes => Ok(text.bytes().map(|byte| id(first) + u32::from(byte)).collect()),
            Units::Chars { chars, ranks } => text
                .chars()
                .enumerate()
                .map(|(position, character)| match ranks.get(&character) {
                    Some(rank) => Ok(id(first + rank)),
                    None => Err(DataError::UnknownCharacter { character, position, vocabulary: chars.len() }),
                })
                .collect(),
        }
    }

    /// The text of some ids. Special tokens vanish; bytes that aren't UTF-8 and ids that don't exist become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = self.decoder();
        let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// A decoder that takes one id at a time.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder { tokenizer: self, held: Vec::new() }
    }

    /// How many bytes of UTF-8 an id stands for; 0 for special tokens and ids that don't exist.
    pub fn byte_len(&self, id: u32) -> usize {
        match self.token(id) {
            Token::Byte(_) => 1,
            Token::Char(c) => c.len_utf8(),
            Token::Special | Token::Unknown => 0,
        }
    }

    /// The contents of `tokenizer.json`.
    ///
    /// # Errors
    /// [`DataError::BadTokenizer`] if serde_json refuses, which it has no reason to.
    pub fn to_json(&self) -> Result<String, DataError> {
        let file = File {
            format: FORMAT.into(),
            kind: match self.units {
                Units::Bytes => Kind::Byte,
                Units::Chars { .. } => Kind::Char,
            },
            chars: match &self.units {
                Units::Bytes => None,
                Units::Chars { chars, .. } => Some(chars.clone()),
            },
            specials: self.special_ids(),
        };
        serde_json::to_string_pretty(&file).map_err(bad)
    }

    /// A tokenizer from the contents of `tokenizer.json`.
    ///
    /// # Errors
    /// [`DataError::BadTokenizer`] for anything that [`Tokenizer::to_json`] could not have written.
    pub fn from_json(json: &str) -> Result<Tokenizer, DataError> {
        let file: File = serde_json::from_str(json).map_err(bad)?;
        if file.format != FORMAT {
            return Err(bad(format!("format is {:?}, not {FORMAT:?}", file.format)));
        }
        let mut tokenizer = match (file.kind, file.chars) {
            (Kind::Byte, None) => Tokenizer::bytes(),
            (Kind::Byte, Some(_)) => return Err(bad("a byte tokenizer lists characters")),
            (Kind::Char, None) => return Err(bad("a character tokenizer lists no characters")),
            (Kind::Char, Some(chars)) => {
                let mut seen = BTreeSet::new();
                if let Some(twice) = chars.iter().find(|&&c| !seen.insert(c)) {
                    return Err(bad(format!("character {twice:?} is listed twice")));
                }
                Tokenizer::from_chars(chars)
            }
        };
        if file.specials.is_some() {
            tokenizer = tokenizer.for_documents();
        }
        if file.specials != tokenizer.special_ids() {
            return Err(bad("the ids of the special tokens do not fit the vocabulary"));
        }
        Ok(tokenizer)
    }

    fn special_ids(&self) -> Option<Specials> {
        Some(Specials { pad: self.pad_id()?, start: self.start_id()?, end: self.end_id()? })
    }

    fn n_units(&self) -> usize {
        match &self.units {
            Units::Bytes => BYTES,
            Units::Chars { chars, .. } => chars.len(),
        }
    }

    /// The id of the first character or byte.
    fn first_unit(&self) -> usize {
        usize::from(self.specials)
    }

    fn token(&self, id: u32) -> Token {
        let Ok(id) = usize::try_from(id) else {
            return Token::Unknown;
        };
        if id >= self.vocab_size() {
            return Token::Unknown;
        }
        let unit = id.checked_sub(self.first_unit());
        match (unit, &self.units) {
            (Some(rank), Units::Bytes) => u8::try_from(rank).map_or(Token::Special, Token::Byte),
            (Some(rank), Units::Chars { chars, .. }) => chars.get(rank).map_or(Token::Special, |&c| Token::Char(c)),
            (None, _) => Token::Special,
        }
    }
}

/// Turns ids into text as they come; holds back the bytes of a character that isn't complete yet.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    held: Vec<u8>,
}

impl Decoder<'_> {
    /// The text that an id completes; often one character, sometimes none.
    pub fn push(&mut self, id: u32) -> String {
        match self.tokenizer.token(id) {
            Token::Byte(byte) => {
                self.held.push(byte);
                self.take(Incomplete::Hold)
            }
            Token::Char(c) => c.to_string(),
            Token::Special => self.take(Incomplete::Replace),
            Token::Unknown => self.take(Incomplete::Replace) + "\u{fffd}",
        }
    }

    /// What is left at the end: U+FFFD if a character was never completed.
    pub fn finish(mut self) -> String {
        self.take(Incomplete::Replace)
    }

    fn take(&mut self, incomplete: Incomplete) -> String {
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let rest = &self.held[done..];
            let open = std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
            if open && incomplete == Incomplete::Hold {
                break;
            }
            if !chunk.invalid().is_empty() {
                text.push('\u{fffd}');
            }
            done += chunk.invalid().len();
        }
        self.held.drain(..done);
        text
    }
}

/// What to do with a character whose last bytes are missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Incomplete {
    Hold,
    Replace,
}

const FORMAT: &str = "tril-tokenizer-1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    chars: Option<Vec<char>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    specials: Option<Specials>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Byte,
    Char,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Specials {
    #[serde(rename = "<pad>")]
    pad: u32,
    #[serde(rename = "<start>")]
    start: u32,
    #[serde(rename = "<end>")]
    end: u32,
}

fn bad(reason: impl ToString) -> DataError {
    DataError::BadTokenizer { reason: reason.to_string() }
}

/// Unicode has 1,114,112 code points, so an index into a vocabulary always fits.
fn id(index: usize) -> u32 {
    u32::try_from(index).expect("a vocabulary of characters fits into u32")
}
