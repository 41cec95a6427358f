//! Converts text to token ids and back.

mod catch_panic;
mod chunks;
mod decoder;
mod exported;
mod file;
mod gpt2;
mod gpt2_split;
mod hf;
mod learn;
mod spec;
mod vocabulary;
mod windows;
mod word_cache;

pub use chunks::{chunks, cut};
pub use decoder::Decoder;
pub(super) use learn::WordCounts;
pub use spec::{LEARN_BYTES, TokenizerSpec};
pub use vocabulary::{ByteLevel, ListedToken, TokenKind};
pub(super) use windows::{Placed, Settled, Stitcher, WINDOW_BYTES, Window, cut_window};

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{DataError, Lost, Mode};
use hf::Hf;

/// Units: ids, if every byte has one.
const BYTES: usize = 256;

/// Maps text to ids: one per character, one per UTF-8 byte, or byte-pair encoding.
///
/// Characters and bytes: without special tokens (stream mode) ids count from 0. With them (documents mode,
/// [`Tokenizer::for_documents`]) id 0 is `<pad>`, the characters or bytes follow from 1, and `<start>` and `<end>` come
/// last.
///
/// Byte-pair encodings keep their ids; their end-of-text token, `<|endoftext|>` in GPT-2's, also begins a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    units: Units,
    specials: bool,
    /// Whether names of special tokens in a text become their ids.
    reads_specials: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Units {
    Bytes,
    Chars { chars: Vec<char>, ranks: HashMap<char, usize> },
    Gpt2,
    Hf(Arc<Hf>),
}

/// One id, resolved.
enum Token<'a> {
    Byte(u8),
    Char(char),
    Piece(&'a [u8]),
    Special,
    Unknown,
}

impl Tokenizer {
    /// Sizes of a learned byte-pair encoding: at least the bytes and an end-of-text token.
    pub const BPE_SIZES: RangeInclusive<u32> = 257..=262_000;

    /// A tokenizer of the characters of a text, sorted (nanoGPT's convention).
    pub fn chars(text: &str) -> Tokenizer {
        Tokenizer::from_chars(text.chars().collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// A tokenizer of the 256 bytes, which can encode any text.
    pub fn bytes() -> Tokenizer {
        Tokenizer::of(Units::Bytes)
    }

    /// GPT-2's byte-pair encoding: 50,257 ids, the last of them `<|endoftext|>`.
    pub fn gpt2() -> Tokenizer {
        Tokenizer::of(Units::Gpt2)
    }

    /// Learns a byte-pair encoding of `size` ids from a text; of fewer, if the text has no more pairs to merge.
    ///
    /// # Errors
    /// [`DataError::Encode`] if the crate `tokenizers` fails, which is not expected.
    pub fn train_bpe(text: &str, size: u32) -> Result<Tokenizer, DataError> {
        let mut words = WordCounts::new(size);
        words.add(text);
        Tokenizer::train_bpe_on(words, size)
    }

    /// The same, from word counts.
    pub(super) fn train_bpe_on(words: WordCounts, size: u32) -> Result<Tokenizer, DataError> {
        let size = size.clamp(*Self::BPE_SIZES.start(), *Self::BPE_SIZES.end());
        Ok(Tokenizer::of(Units::Hf(words.learn(size)?)))
    }

    fn of(units: Units) -> Tokenizer {
        Tokenizer { units, specials: false, reads_specials: false }
    }

    pub(super) fn from_chars(chars: Vec<char>) -> Tokenizer {
        let ranks = chars.iter().enumerate().map(|(i, &c)| (c, i)).collect();
        Tokenizer::of(Units::Chars { chars, ranks })
    }

    /// The same tokenizer with `<pad>` before and `<start>` and `<end>` after its ids; byte-pair encodings keep their
    /// own.
    pub fn for_documents(mut self) -> Tokenizer {
        self.specials = true;
        self
    }

    /// The same tokenizer, but names of special tokens in a text, such as `<|endoftext|>`, become their ids. Characters
    /// and bytes have no such names.
    #[must_use]
    pub fn reading_specials(mut self) -> Tokenizer {
        if let Units::Hf(hf) = &self.units {
            self.units = Units::Hf(hf.with_specials());
        }
        self.reads_specials = true;
        self
    }

    /// The tokenizer for a run's data: with special tokens in documents mode, and reading them if asked.
    #[must_use]
    pub fn for_data(mut self, mode: &Mode, reads_specials: bool) -> Tokenizer {
        if *mode != Mode::Stream {
            self = self.for_documents();
        }
        if reads_specials { self.reading_specials() } else { self }
    }

    /// The number of ids, including special ones.
    pub fn vocab_size(&self) -> usize {
        self.n_units() + if self.specials && self.has_units() { 3 } else { 0 }
    }

    /// The padding id: 0, if there are special tokens. Byte-pair encodings have none: padding is never a target.
    pub fn pad_id(&self) -> Option<u32> {
        (self.specials && self.has_units()).then_some(0)
    }

    /// The id before a document, in documents mode.
    pub fn start_id(&self) -> Option<u32> {
        self.ends().filter(|_| self.specials).map(|(start, _)| start)
    }

    /// The id after a document, in documents mode.
    pub fn end_id(&self) -> Option<u32> {
        self.ends().filter(|_| self.specials).map(|(_, end)| end)
    }

    /// The id that ends a document in a stream.
    pub fn end_of_text(&self) -> Option<u32> {
        if self.has_units() && !self.specials { None } else { self.ends().map(|(_, end)| end) }
    }

    /// The id that begins a document in a stream; often the end-of-text token.
    pub fn begin_of_text(&self) -> Option<u32> {
        self.end_of_text().and(self.ends()).map(|(start, _)| start)
    }

    /// The id for everything that the tokenizer doesn't know.
    pub fn unknown_id(&self) -> Option<u32> {
        match &self.units {
            Units::Bytes | Units::Chars { .. } | Units::Gpt2 => None,
            Units::Hf(hf) => hf.unknown,
        }
    }

    /// The names of special tokens that are read as plain text. Characters and bytes have none of their own, but
    /// GPT-2's is the most common document separator.
    pub(super) fn names_as_text(&self) -> Vec<String> {
        match &self.units {
            _ if self.reads_specials => vec![],
            Units::Bytes | Units::Chars { .. } | Units::Gpt2 => vec![gpt2::END_OF_TEXT_NAME.into()],
            Units::Hf(hf) => hf.special_names(),
        }
    }

    /// The text of a token of a `tokenizer.json`.
    pub fn name_of(&self, id: u32) -> Option<String> {
        match &self.units {
            Units::Bytes | Units::Chars { .. } | Units::Gpt2 => None,
            Units::Hf(hf) => hf.name(id),
        }
    }

    fn ends(&self) -> Option<(u32, u32)> {
        match &self.units {
            Units::Bytes | Units::Chars { .. } => Some((id(self.n_units() + 1), id(self.n_units() + 2))),
            Units::Gpt2 => Some((gpt2::END_OF_TEXT, gpt2::END_OF_TEXT)),
            Units::Hf(hf) => hf.ends,
        }
    }

    /// Whether a text can name special tokens: [`Tokenizer::reading_specials`].
    pub fn can_read_specials(&self) -> bool {
        !self.has_units()
    }

    /// Whether ids are characters or bytes.
    pub(super) fn has_units(&self) -> bool {
        matches!(self.units, Units::Bytes | Units::Chars { .. })
    }

    /// Encodes a text; the ids never include special tokens.
    ///
    /// # Errors
    /// [`DataError::UnknownCharacter`] for a character outside a vocabulary of characters; [`DataError::UnknownWord`]
    /// or [`DataError::Encode`] if the model of a `tokenizer.json` refuses.
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
            Units::Gpt2 => gpt2::encode(text, self.reads_specials),
            Units::Hf(hf) => hf.encode(text),
        }
    }

    /// The bytes of each id's text.
    pub(super) fn byte_lens(&self) -> Vec<u32> {
        let len = |id| u32::try_from(self.byte_len(id)).unwrap_or(u32::MAX);
        (0..u32::try_from(self.vocab_size()).unwrap_or(u32::MAX)).map(len).collect()
    }

    /// Encodes a part of a text into tokens with their spans.
    pub(super) fn encode_placed(&self, text: &str) -> Result<Vec<Placed>, DataError> {
        match &self.units {
            Units::Hf(hf) => hf.encode_placed(text),
            Units::Gpt2 => gpt2::encode_placed(text, self.reads_specials),
            Units::Bytes | Units::Chars { .. } => panic!("characters and bytes need no spans"),
        }
    }

    /// Encodes a text, and measures what of it became no token.
    pub(super) fn encode_counted(&self, text: &str) -> Result<(Vec<u32>, Lost), DataError> {
        match &self.units {
            // longer texts are encoded in windows, which have no spans
            Units::Hf(hf) if hf.drops && text.len() < 2 * WINDOW_BYTES => {
                let tokens = hf.encode_placed(text)?;
                Ok((tokens.iter().map(|token| token.id).collect(), self.lost(text, 0, &tokens)))
            }
            _ => Ok((self.encode(text)?, Lost::default())),
        }
    }

    /// The part of a text from byte `from` on that became no token, for a tokenizer that drops what it doesn't know.
    pub(super) fn lost(&self, text: &str, from: usize, tokens: &[Placed]) -> Lost {
        match &self.units {
            Units::Hf(hf) if hf.drops => Lost::between(text, from, tokens.iter().map(|token| (token.start, token.end))),
            _ => Lost::default(),
        }
    }

    /// Whether [`chunks`] of a text, encoded one by one, give the ids of the whole text.
    pub fn encodes_chunks(&self) -> bool {
        match &self.units {
            Units::Bytes | Units::Chars { .. } | Units::Gpt2 => true,
            Units::Hf(hf) => hf.cuts_at_words,
        }
    }

    /// Decodes ids. Special tokens vanish; bytes that aren't UTF-8 and ids that don't exist become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = self.decoder();
        let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// The decoder for ids that have no text of their own.
    fn stream_of(&self) -> Option<&Hf> {
        match &self.units {
            Units::Hf(hf) if !hf.has_pieces() => Some(hf),
            _ => None,
        }
    }

    /// Returns a decoder that takes one id at a time.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(self)
    }

    /// The bytes that an id stands for; none if it has none of its own.
    pub(super) fn bytes_of(&self, id: u32) -> Cow<'_, [u8]> {
        match self.token(id) {
            Token::Byte(byte) => vec![byte].into(),
            Token::Char(c) => c.to_string().into_bytes().into(),
            Token::Piece(bytes) => bytes.into(),
            Token::Special | Token::Unknown => Cow::default(),
        }
    }

    /// How many bytes of UTF-8 an id stands for; 0 for special tokens, ids that don't exist, and ids whose text depends
    /// on their neighbours.
    pub fn byte_len(&self, id: u32) -> usize {
        match self.token(id) {
            Token::Byte(_) => 1,
            Token::Char(c) => c.len_utf8(),
            Token::Piece(bytes) => bytes.len(),
            Token::Special | Token::Unknown => 0,
        }
    }

    fn n_units(&self) -> usize {
        match &self.units {
            Units::Bytes => BYTES,
            Units::Chars { chars, .. } => chars.len(),
            Units::Gpt2 => gpt2::VOCAB_SIZE,
            Units::Hf(hf) => hf.vocab_size(),
        }
    }

    /// The id of the first character or byte.
    fn first_unit(&self) -> usize {
        usize::from(self.specials && self.has_units())
    }

    fn token(&self, id: u32) -> Token<'_> {
        let Ok(id) = usize::try_from(id) else {
            return Token::Unknown;
        };
        if id >= self.vocab_size() {
            return Token::Unknown;
        }
        let unit = id.checked_sub(self.first_unit());
        match (unit, &self.units) {
            (_, Units::Gpt2) => gpt2::piece(id).map_or(Token::Special, Token::Piece),
            (_, Units::Hf(hf)) => hf.piece(id).map_or(Token::Special, Token::Piece),
            (Some(rank), Units::Bytes) => u8::try_from(rank).map_or(Token::Special, Token::Byte),
            (Some(rank), Units::Chars { chars, .. }) => chars.get(rank).map_or(Token::Special, |&c| Token::Char(c)),
            (None, _) => Token::Special,
        }
    }
}

/// Converts an index into a vocabulary to an id. Unicode has 1,114,112 code points, so it always fits.
fn id(index: usize) -> u32 {
    u32::try_from(index).expect("a vocabulary of characters fits into u32")
}
