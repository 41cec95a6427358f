use std::sync::atomic::AtomicU64;

use super::input::Input;
use crate::data::tokenizer::cut;
use crate::data::{DataError, Tokenizer, forms};

/// About how much text a thread encodes at a time.
pub(super) const PIECE_BYTES: usize = 1 << 18;

/// The longest word, and the longest line or document, that is held in memory; only what isn't text has longer ones.
const MOST_WORD_BYTES: usize = 8 << 20;
const MOST_LINE_BYTES: usize = 64 << 20;

/// Where a text may be cut so that its parts give the ids of the whole, or nearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// Between any two characters.
    Character,
    /// In front of white space.
    Word,
    /// Behind a line; a token that would reach into the next line is lost.
    Line,
}

impl Border {
    pub fn of(tokenizer: &Tokenizer) -> Border {
        match tokenizer.encodes_chunks() {
            true if tokenizer.has_units() => Border::Character,
            true => Border::Word,
            false => Border::Line,
        }
    }

    /// The first one at `from` bytes or behind.
    fn find(self, text: &str, from: usize) -> Option<usize> {
        match self {
            Border::Word => cut(text, from),
            Border::Character => (from.max(1)..text.len()).find(|&at| text.is_char_boundary(at)),
            Border::Line => text.as_bytes().get(from..)?.iter().position(|&byte| byte == b'\n').map(|n| from + n + 1),
        }
    }
}

/// Part of a document.
#[derive(Debug)]
pub(super) struct Part {
    /// Whether the document begins here.
    pub begins: bool,
    pub text: String,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub documents: u64,
    pub n_replaced: usize,
    /// Files of folders that hold no text.
    pub n_skipped: usize,
}

/// Reads inputs from the first to the last, and gives their text on in pieces.
pub(super) struct Reading<'a> {
    pub border: Border,
    pub bad: forms::Bad,
    /// Whether documents are told apart by a token; otherwise each begins on a line of its own, as in [`Text`](crate::data::Text).
    pub separates: bool,
    /// Bytes read, packed where they are.
    pub n_read: &'a AtomicU64,
    /// Takes a piece; an error ends the reading.
    pub take: &'a mut dyn FnMut(Vec<Part>) -> Result<(), DataError>,
}

impl Reading<'_> {
    /// # Errors
    ///
    /// Whatever is wrong with an input, or what `take` says.
    pub fn all(self, inputs: &[Input]) -> Result<Totals, DataError> {
        let mut pieces = Pieces { reading: self, piece: vec![], n_byte: 0, ends_line: true, totals: Totals::default() };
        for input in inputs {
            pieces.one(input)?;
        }
        pieces.flush()?;
        Ok(pieces.totals)
    }
}

/// A document of which not all is given on.
struct Document {
    /// Whether none is yet.
    begins: bool,
    text: String,
    /// Up to where there is no border, in bytes.
    n_searched: usize,
}

struct Pieces<'a> {
    reading: Reading<'a>,
    piece: Vec<Part>,
    n_byte: usize,
    /// Whether the text so far ends a line, or is empty.
    ends_line: bool,
    totals: Totals,
}

impl Pieces<'_> {
    fn one(&mut self, input: &Input) -> Result<(), DataError> {
        let before = self.totals.documents;
        let Some(mut stream) = input.open(self.reading.bad, self.reading.n_read)? else {
            self.totals.n_skipped += 1;
            return Ok(());
        };
        if input.is_lines() {
            let (mut held, mut n_line, mut is_more) = (String::new(), 0, true);
            while is_more {
                is_more = stream.read(&mut held)?;
                let n = if is_more { held.rfind('\n').map_or(0, |at| at + 1) } else { held.len() };
                for line in held[..n].lines() {
                    n_line += 1;
                    if let Some(document) = forms::document(&input.name(), n_line, line)? {
                        self.document(document, &input.name())?;
                    }
                }
                held.drain(..n);
                bound(held.len(), MOST_LINE_BYTES, &input.name())?;
            }
        } else {
            let mut document = Document { begins: true, text: String::new(), n_searched: 0 };
            while stream.read(&mut document.text)? {
                self.cut_off(&mut document, &input.name())?;
            }
            if !document.text.is_empty() {
                self.push(document.begins, document.text)?;
            }
        }
        self.totals.n_replaced += stream.n_replaced;
        input.must_hold_text(self.totals.documents == before)
    }

    fn document(&mut self, text: String, name: &str) -> Result<(), DataError> {
        let mut document = Document { begins: true, text, n_searched: 0 };
        if self.reading.border != Border::Line {
            self.cut_off(&mut document, name)?;
        }
        self.push(document.begins, document.text)
    }

    /// Gives on what is there up to the last border.
    fn cut_off(&mut self, document: &mut Document, name: &str) -> Result<(), DataError> {
        let Document { begins, text, n_searched } = document;
        while let Some(at) = self.reading.border.find(text, PIECE_BYTES.max(*n_searched)) {
            // a copy, so that no piece holds the memory of a long document
            let piece = text[..at].to_string();
            text.drain(..at);
            self.push(*begins, piece)?;
            (*begins, *n_searched) = (false, 0);
        }
        *n_searched = text.len();
        let most = if self.reading.border == Border::Line { MOST_LINE_BYTES } else { MOST_WORD_BYTES };
        bound(text.len(), most, name)
    }

    fn push(&mut self, begins: bool, mut text: String) -> Result<(), DataError> {
        if begins {
            self.totals.documents += 1;
            if !self.reading.separates && !self.ends_line {
                text.insert(0, '\n');
            }
        }
        self.ends_line = text.ends_with('\n');
        self.n_byte += text.len();
        self.piece.push(Part { begins: begins && self.reading.separates, text });
        if self.n_byte >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), DataError> {
        self.n_byte = 0;
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() { Ok(()) } else { (self.reading.take)(piece) }
    }
}

fn bound(n_byte: usize, most: usize, name: &str) -> Result<(), DataError> {
    if n_byte > most { Err(DataError::NoBorder { name: name.into(), bytes: most }) } else { Ok(()) }
}
