//! A tokenizer's vocabulary in the form that other programs' files list it.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::hf::{self, Hf};
use super::{Token, Tokenizer, Units, gpt2, id};

/// A byte-level vocabulary as GPT-2's files write it: a printable character for each byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteLevel {
    /// The token of each id.
    pub tokens: Vec<ListedToken>,
    /// Pairs of tokens to merge, separated by a space, in merge order.
    pub merges: Vec<String>,
}

/// A token of a [`ByteLevel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// Its text in the file.
    pub text: String,
    /// Its kind.
    pub kind: TokenKind,
}

/// The kind of a listed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Bytes of text.
    Text,
    /// A special token, which no text becomes.
    Special,
    /// A word added to the vocabulary; written as it is.
    Added,
    /// A gap in the ids.
    Unused,
}

impl ListedToken {
    /// The placeholder for an id without a token.
    pub fn unused(id: u64) -> Self {
        // no token of bytes has a space in it
        Self { text: format!("[unused {id}]"), kind: TokenKind::Unused }
    }
}

impl Tokenizer {
    /// The name of a special token.
    pub fn special_name(&self, id: u32) -> Option<String> {
        if !matches!(self.token(id), Token::Special) {
            return None;
        }
        match &self.units {
            Units::Gpt2 => Some(gpt2::END_OF_TEXT_NAME.into()),
            Units::Hf(hf) => hf.name(id),
            Units::Bytes | Units::Chars { .. } => {
                let names = [(self.pad_id(), "<pad>"), (self.start_id(), "<start>"), (self.end_id(), "<end>")];
                names.iter().find(|(special, _)| *special == Some(id)).map(|(_, name)| (*name).into())
            }
        }
    }

    /// Whether an id can occur in a text: it has a token, and one that isn't only for the start of texts or for
    /// padding. Many models pad their vocabulary, and have more ids than their tokenizer.
    pub fn is_in_texts(&self, id: u32) -> bool {
        let is_known = match &self.units {
            Units::Hf(hf) => hf.name(id).is_some(),
            _ => usize::try_from(id).is_ok_and(|id| id < self.vocab_size()),
        };
        // byte-pair encodings often begin a text with the token that ends one
        let is_before = self.has_units() && (Some(id) == self.pad_id() || Some(id) == self.start_id());
        is_known && !is_before
    }

    /// The bytes of an id, or of its name if it is special; `None` if there is no token, or its text depends on its
    /// neighbours.
    pub fn listed_bytes(&self, id: u32) -> Option<Vec<u8>> {
        match self.token(id) {
            _ if self.stream_of().is_some() => None,
            Token::Byte(byte) => Some(vec![byte]),
            Token::Char(c) => Some(c.to_string().into_bytes()),
            Token::Piece(bytes) => Some(bytes.to_vec()),
            Token::Special => self.special_name(id).map(String::into_bytes),
            Token::Unknown => None,
        }
    }

    /// The id that a text begins with if there is no prompt.
    pub fn opening_id(&self) -> u32 {
        let line_break = || self.encode("\n").ok().and_then(|ids| ids.first().copied());
        // a model trained with end-of-text tokens knows what follows one
        self.start_id().or_else(|| self.end_of_text()).or_else(line_break).unwrap_or(0)
    }

    /// The vocabulary of a tokenizer that splits text into words as GPT-2's does, or whose merges don't depend on
    /// words.
    ///
    /// # Errors
    ///
    /// Why the tokenizer isn't of this kind.
    pub fn byte_level(&self) -> Result<ByteLevel, String> {
        match &self.units {
            Units::Chars { chars, .. } => self.ascii_level(chars),
            Units::Hf(hf) => of_hf(hf),
            Units::Gpt2 | Units::Bytes => of_hf(&*Hf::from_json(&self.to_hf_json()).map_err(|e| e.to_string())?),
        }
    }

    fn ascii_level(&self, chars: &[char]) -> Result<ByteLevel, String> {
        if let Some(c) = chars.iter().find(|c| !c.is_ascii()) {
            return Err(format!("its characters aren't all single bytes: {c:?} is not ASCII"));
        }
        let alphabet = hf::alphabet();
        let token = |i: u32| match self.token(i) {
            Token::Char(c) => ListedToken { text: alphabet[c as usize].to_string(), kind: TokenKind::Text },
            _ => ListedToken { text: self.special_name(i).unwrap_or_default(), kind: TokenKind::Special },
        };
        Ok(ByteLevel { tokens: (0..id(self.vocab_size())).map(token).collect(), merges: vec![] })
    }
}

fn of_hf(hf: &Hf) -> Result<ByteLevel, String> {
    let file: Value = serde_json::from_str(&hf.json).map_err(|e| e.to_string())?;
    let model = &file["model"];
    let merges = merges(&model["merges"]);
    let is_plain = |key: &str| model[key].is_null() || model[key] == json!("") || model[key] == json!(false);
    if !model["type"].is_null() && model["type"] != json!("BPE") {
        return Err(format!("its tokenizer is a {} model, not byte-pair encoding", model["type"]));
    }
    if let Some(key) =
        ["continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"].iter().find(|k| !is_plain(k))
    {
        return Err(format!("its tokenizer sets {key}"));
    }
    let pre = &file["pre_tokenizer"];
    let is_byte_level = pre["type"] == json!("ByteLevel") && pre["add_prefix_space"] == json!(false);
    let splits = pre["use_regex"] != json!(false);
    if !is_byte_level || !splits && !merges.is_empty() || !file["normalizer"].is_null() {
        return Err("its tokenizer doesn't split text into words of bytes as GPT-2's does".into());
    }
    let vocab = model["vocab"].as_object().ok_or("its tokenizer lists no vocabulary")?;
    if let Some(c) = hf::alphabet().into_iter().find(|c| !vocab.contains_key(&c.to_string())) {
        return Err(format!("its vocabulary lacks the byte that is written as {c:?}"));
    }
    let mut tokens = vec![];
    for (id, token) in (0..).zip(hf.listed()) {
        let (text, kind) = match token {
            None => {
                tokens.push(ListedToken::unused(id));
                continue;
            }
            Some((text, None)) => (text, TokenKind::Text),
            Some((text, Some(added))) if added.special => (text, TokenKind::Special),
            Some((text, Some(added))) if added.lstrip || added.rstrip || added.single_word => {
                return Err(format!("its tokenizer's word {text:?} includes or depends on surrounding text"));
            }
            Some((text, Some(_))) => (text, TokenKind::Added),
        };
        tokens.push(ListedToken { text, kind });
    }
    let mut seen = HashSet::new();
    match tokens.iter().find(|token| !seen.insert(token.text.as_str())) {
        Some(twice) => Err(format!("its tokenizer lists {:?} twice", twice.text)),
        None => Ok(ByteLevel { tokens, merges }),
    }
}

/// Reads both notations of a pair.
fn merges(list: &Value) -> Vec<String> {
    let pair = |pair: &Value| match pair {
        Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        one => one.as_str().unwrap_or_default().into(),
    };
    list.as_array().into_iter().flatten().map(pair).collect()
}
