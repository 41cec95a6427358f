//! Reads and writes `tokenizer.json`, in tril's and in Hugging Face's format.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hf::{self, Hf};
use super::{BYTES, Tokenizer, Units, gpt2};
use crate::data::DataError;

impl Tokenizer {
    /// The contents of a run's `tokenizer.json`: in Hugging Face's format if the tokenizer came in it, otherwise
    /// tril's.
    ///
    /// # Errors
    /// [`DataError::BadTokenizer`] if serde_json fails, which is not expected.
    pub fn to_json(&self) -> Result<String, DataError> {
        let (kind, chars) = match &self.units {
            Units::Hf(hf) => return Ok(hf.json.clone()),
            Units::Bytes => (Kind::Byte, None),
            Units::Chars { chars, .. } => (Kind::Char, Some(chars.clone())),
            Units::Gpt2 => (Kind::Gpt2, None),
        };
        let file = File { format: FORMAT.into(), kind, chars, specials: self.special_ids() };
        serde_json::to_string_pretty(&file).map_err(bad)
    }

    /// Parses the contents of `tokenizer.json`, in tril's or Hugging Face's format.
    ///
    /// # Errors
    /// [`DataError::BadTokenizer`] for anything that is neither.
    pub fn from_json(json: &str) -> Result<Tokenizer, DataError> {
        #[derive(Deserialize)]
        struct Probe {
            format: Option<String>,
        }
        let probe: Probe = serde_json::from_str(json).map_err(bad)?;
        if probe.format.is_none() {
            return Tokenizer::from_hf_json(json);
        }
        let file: File = serde_json::from_str(json).map_err(bad)?;
        if file.format != FORMAT {
            return Err(bad(format!("format is {:?}, not {FORMAT:?}", file.format)));
        }
        let mut tokenizer = match (file.kind, file.chars) {
            (Kind::Byte, None) => Tokenizer::bytes(),
            (Kind::Byte, Some(_)) => return Err(bad("a byte tokenizer lists characters")),
            (Kind::Gpt2, None) => Tokenizer::gpt2(),
            (Kind::Gpt2, Some(_)) => return Err(bad("GPT-2's tokenizer lists characters")),
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

    /// Parses Hugging Face's `tokenizer.json`.
    ///
    /// # Errors
    /// [`DataError::BadTokenizer`] for anything else, and for ids above a model's maximum.
    pub fn from_hf_json(json: &str) -> Result<Tokenizer, DataError> {
        Ok(Tokenizer::of(Units::Hf(Hf::from_json(json)?)))
    }

    /// Parses the contents of GPT-2's two files, `vocab.json` and `merges.txt`; `<|endoftext|>`, if in the vocabulary,
    /// ends a text.
    ///
    /// # Errors
    /// [`DataError::BadTokenizer`] for anything else.
    pub fn from_vocab_and_merges(vocab: &str, merges: &str) -> Result<Tokenizer, DataError> {
        Ok(Tokenizer::of(Units::Hf(Hf::from_vocab_and_merges(vocab, merges)?)))
    }

    /// This tokenizer as a `tokenizer.json` that Hugging Face's libraries read, with the same ids for every text. A
    /// character tokenizer fails there, too, on other characters.
    pub fn to_hf_json(&self) -> String {
        let specials = match self.special_ids() {
            Some(Specials { pad: Some(pad), start, end }) => vec![(pad, "<pad>"), (start, "<start>"), (end, "<end>")],
            _ => vec![],
        };
        match &self.units {
            Units::Hf(hf) => hf.json.clone(),
            Units::Gpt2 => hf::gpt2_json(),
            Units::Bytes => hf::bytes_json(self.first_unit(), &specials),
            Units::Chars { chars, .. } => hf::chars_json(chars, self.first_unit(), &specials),
        }
    }

    /// Tril's own tokenizer, if this one came in a file that tril writes for it: of characters (whose errors then name
    /// the unknown character), of bytes, or GPT-2's.
    #[must_use]
    pub fn recognised(self) -> Tokenizer {
        let Units::Hf(hf) = &self.units else { return self };
        let parsed = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
        let file = parsed(&hf.json);
        let units = match (file["model"]["type"].as_str(), hf.vocab_size()) {
            (Some("WordLevel"), _) => {
                let listed = hf.listed().into_iter().flatten().filter(|(_, added)| added.is_none());
                let single = |(token, _): (String, _)| {
                    let mut chars = token.chars();
                    chars.next().filter(|_| chars.next().is_none())
                };
                listed.map(single).collect::<Option<Vec<char>>>().map(Tokenizer::from_chars)
            }
            (_, gpt2::VOCAB_SIZE) => Some(Tokenizer::gpt2()),
            (_, BYTES | WITH_SPECIALS) => Some(Tokenizer::bytes()),
            _ => None,
        };
        let forms: Vec<Tokenizer> =
            units.into_iter().flat_map(|units| [units.clone(), units.for_documents()]).collect();
        let is_same =
            |own: &&Tokenizer| [own.to_hf_json(), own.to_exported_json()].iter().any(|own| parsed(own) == file);
        let json = forms.iter().find(is_same).map(Tokenizer::to_hf_json);
        // if forms differ only in where a text begins, the plain one
        let same = forms.into_iter().find(|own| Some(own.to_hf_json()) == json);
        same.unwrap_or(self)
    }

    fn special_ids(&self) -> Option<Specials> {
        Some(Specials { pad: self.pad_id(), start: self.start_id()?, end: self.end_id()? })
    }
}

/// Bytes, and the three special tokens.
const WITH_SPECIALS: usize = BYTES + 3;

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
    Gpt2,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Specials {
    #[serde(rename = "<pad>", default, skip_serializing_if = "Option::is_none")]
    pad: Option<u32>,
    #[serde(rename = "<start>")]
    start: u32,
    #[serde(rename = "<end>")]
    end: u32,
}

fn bad(reason: impl ToString) -> DataError {
    DataError::BadTokenizer { reason: reason.to_string() }
}
