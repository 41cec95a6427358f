use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::border::Border;
use super::input::{Input, Opened, TextStream};
use crate::data::permutation::wide;
use crate::data::tokenizer::{WINDOW_BYTES, cut_window};
use crate::data::{DataError, Loading, decode, loading::Watch};

/// About how much text a thread encodes at a time.
pub(in crate::data) const PIECE_BYTES: usize = 1 << 18;

/// A text without a border for longer than this, such as DNA, is passed on in windows.
const LONG_WORD_BYTES: usize = 2 * PIECE_BYTES;

/// The longest JSON line held in memory; only files that aren't text have longer ones.
const MAX_LINE_BYTES: usize = 1 << 30;

/// How a text is split into documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Parting<'a> {
    /// Not at all; each file, and each JSON line, begins on a new line.
    None,
    /// Each file and each JSON line is a document.
    Inputs,
    /// The text between two separators is a document, and so is each JSON line; line breaks at their ends are dropped,
    /// and so are blank documents.
    Separator(&'a str),
}

/// Part of a document.
#[derive(Debug)]
pub(in crate::data) struct Part {
    /// Whether the document begins here.
    pub begins: bool,
    pub text: String,
    pub is: Is,
    /// Units: bytes at the start that the previous part also has: only in a window.
    pub shared: usize,
    /// Units: characters of the whole text before it.
    pub first_char: u64,
}

/// How a part depends on its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Is {
    /// Its tokens stand alone.
    Whole,
    /// Its tokens are merged with those of the neighbouring windows; `is_last` ends a row of windows.
    Window { is_last: bool },
}

/// Totals of a reading.
#[derive(Clone, Debug, Default)]
pub(in crate::data) struct Totals {
    pub documents: u64,
    /// Files and JSON lines with text in them.
    pub n_input: u64,
    /// Units: bytes and characters of the whole text.
    pub n_byte: u64,
    pub n_char: u64,
    /// CRC-32 of the whole text.
    pub crc: crc32fast::Hasher,
    pub n_replaced: usize,
    /// Binary files in folders, which were skipped.
    pub skipped: Vec<PathBuf>,
    /// The number of empty files in folders.
    pub n_empty: usize,
    /// Units: bytes before the character that was looked for.
    pub cut: Option<u64>,
}

/// Reads inputs from first to last, passing their text on in pieces.
pub(in crate::data) struct Reading<'a> {
    pub border: Border,
    pub bad: decode::InvalidUtf8,
    pub parting: Parting<'a>,
    /// The character whose byte offset is wanted.
    pub find: Option<u64>,
    /// Bytes read, compressed sizes for compressed files.
    pub n_read: &'a AtomicU64,
    /// Receives the pieces; its error ends the reading.
    pub take: &'a mut dyn FnMut(Vec<Part>) -> Result<(), DataError>,
}

impl<'a> Reading<'a> {
    /// # Errors
    ///
    /// Any error of an input, or the error of `take`.
    pub fn all(self, inputs: &[Input], watch: Watch<'_>) -> Result<Totals, DataError> {
        let total = inputs.iter().map(Input::len).sum::<Option<u64>>();
        let mut pieces = Pieces::new(self);
        let mut has_text = true;
        for (i, input) in inputs.iter().enumerate() {
            let before = pieces.totals.n_input;
            let report = |name: &str, n_read: &AtomicU64| {
                watch(Loading::Reading { name, bytes: n_read.load(Ordering::Relaxed), total })
            };
            pieces.one(input, &report)?;
            let is_empty = pieces.totals.n_input == before;
            let Some(folder) = input.folder() else {
                if is_empty {
                    return Err(DataError::Empty { name: input.name() });
                }
                continue;
            };
            let is_in = |other: Option<&Input>| other.is_some_and(|other| other.folder() == Some(folder));
            has_text = !is_empty || has_text && i > 0 && is_in(inputs.get(i - 1));
            if !has_text && !is_in(inputs.get(i + 1)) {
                return Err(DataError::NoTextInFolder { path: folder.into() });
            }
        }
        pieces.finish()
    }

    /// Reads texts that are in memory.
    ///
    /// # Errors
    ///
    /// The error of `take`.
    pub fn texts<'t>(self, texts: impl Iterator<Item = &'t str>) -> Result<Totals, DataError> {
        let mut pieces = Pieces::new(self);
        for text in texts {
            pieces.begin_input(false)?;
            pieces.feed(text)?;
            pieces.end_input()?;
        }
        pieces.finish()
    }

    /// Reads a text while it is generated.
    ///
    /// # Errors
    ///
    /// The error of `take`.
    pub fn made(self, mut parts: impl Iterator<Item = String>) -> Result<Totals, DataError> {
        let mut pieces = Pieces::new(self);
        pieces.begin_input(false)?;
        parts.try_for_each(|part| pieces.feed(&part))?;
        pieces.end_input()?;
        pieces.finish()
    }
}

/// The current document, except what was already passed on.
#[derive(Default)]
struct Document {
    text: String,
    /// Whether none of it was passed on yet.
    begins: bool,
    /// If the last part passed on is a window that continues here, the number of bytes that both share.
    in_windows: bool,
    shared: usize,
    /// Units: bytes known to have no border or separator.
    n_searched: usize,
    /// Units: characters before it.
    first_char: u64,
}

/// Where one part of a text ends and the next one begins.
struct Cut {
    end: usize,
    next: usize,
    is: Is,
}

struct Pieces<'a> {
    reading: Reading<'a>,
    piece: Vec<Part>,
    n_byte: usize,
    document: Document,
    /// Whether the document is a whole JSON line.
    is_record: bool,
    /// Whether the text so far ends a line, or is empty.
    ends_line: bool,
    totals: Totals,
}

impl<'a> Pieces<'a> {
    fn new(reading: Reading<'a>) -> Self {
        Self {
            reading,
            piece: vec![],
            n_byte: 0,
            document: Document { begins: true, ..Document::default() },
            is_record: false,
            ends_line: true,
            totals: Totals::default(),
        }
    }

    fn one(
        &mut self,
        input: &Input,
        report: &dyn Fn(&str, &AtomicU64) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let name = input.name();
        let mut stream = match input.open(self.reading.bad, self.reading.n_read)? {
            Opened::Text(stream) => stream,
            Opened::Empty => {
                self.totals.n_empty += 1;
                return Ok(());
            }
            Opened::Binary => {
                self.totals.skipped.push(name.into());
                return Ok(());
            }
        };
        if input.is_lines() {
            self.lines(&name, &mut stream, report)?;
        } else {
            let (mut block, mut is_begun) = (String::new(), false);
            while stream.read(&mut block)? {
                report(&name, self.reading.n_read)?;
                if !is_begun && !block.is_empty() {
                    self.begin_input(false)?;
                    is_begun = true;
                }
                self.feed(&block)?;
                block.clear();
            }
            if !block.is_empty() {
                if !is_begun {
                    self.begin_input(false)?;
                    is_begun = true;
                }
                self.feed(&block)?;
            }
            if is_begun {
                self.end_input()?;
            }
        }
        self.totals.n_replaced += stream.n_replaced;
        Ok(())
    }

    /// Reads a file of JSON lines with a text each.
    fn lines(
        &mut self,
        name: &str,
        stream: &mut TextStream<'_>,
        report: &dyn Fn(&str, &AtomicU64) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let (mut held, mut n_line, mut is_more) = (String::new(), 0, true);
        while is_more {
            let from = held.len();
            is_more = stream.read(&mut held)?;
            report(name, self.reading.n_read)?;
            let n = if is_more { held[from..].rfind('\n').map_or(0, |at| from + at + 1) } else { held.len() };
            for line in held[..n].lines() {
                n_line += 1;
                if let Some(document) = decode::document(name, n_line, line)? {
                    self.begin_input(true)?;
                    self.feed(&document)?;
                    self.end_input()?;
                }
            }
            held.drain(..n);
            if held.len() > MAX_LINE_BYTES {
                return Err(DataError::LongLine { name: name.into(), bytes: MAX_LINE_BYTES });
            }
            // don't keep the memory of a long line for the short ones after it
            held.shrink_to(held.len().max(PIECE_BYTES) * 2);
        }
        Ok(())
    }

    /// Begins a file or JSON line.
    fn begin_input(&mut self, is_record: bool) -> Result<(), DataError> {
        if self.reading.parting != Parting::Inputs && !self.ends_line {
            self.feed("\n")?;
        }
        if matches!(self.reading.parting, Parting::Separator(_)) {
            self.end_document()?;
        }
        self.is_record = is_record;
        self.totals.n_input += 1;
        Ok(())
    }

    fn end_input(&mut self) -> Result<(), DataError> {
        if self.reading.parting == Parting::Inputs { self.end_document() } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Totals, DataError> {
        self.end_document()?;
        self.flush()?;
        Ok(self.totals)
    }

    /// Adds text of the input.
    fn feed(&mut self, text: &str) -> Result<(), DataError> {
        let mut rest = text;
        while !rest.is_empty() {
            // in small blocks, so that a long text isn't held twice
            let (block, behind) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            self.feed_block(block)?;
            rest = behind;
        }
        Ok(())
    }

    fn feed_block(&mut self, text: &str) -> Result<(), DataError> {
        let Some(last) = text.as_bytes().last() else { return Ok(()) };
        self.ends_line = *last == b'\n';
        let (totals, n_char) = (&mut self.totals, wide(text.chars().count()));
        if let Some(at) = self.reading.find.and_then(|find| find.checked_sub(totals.n_char))
            && at < n_char
            && let Some((cut, _)) = text.char_indices().nth(usize::try_from(at).unwrap_or(usize::MAX))
        {
            totals.cut = Some(totals.n_byte + wide(cut));
        }
        totals.n_byte += wide(text.len());
        totals.n_char += n_char;
        totals.crc.update(text.as_bytes());
        self.document.text.push_str(text);
        match self.reading.parting {
            Parting::Separator(separator) if !self.is_record => self.split(separator),
            _ => self.cut_off(),
        }
    }

    /// Passes on the documents that a separator ends.
    fn split(&mut self, separator: &str) -> Result<(), DataError> {
        let mut all = mem::take(&mut self.document.text);
        let (mut done, mut from) = (0, self.document.n_searched);
        while let Some(n) = all[from..].find(separator) {
            let end = from + n;
            self.document.text.push_str(&all[done..end]);
            self.end_document()?;
            self.document.first_char += wide(separator.chars().count());
            (done, from) = (end + separator.len(), end + separator.len());
        }
        all.drain(..done);
        self.document.text = all;
        self.cut_off()?;
        // a separator may have begun
        let text = &self.document.text;
        self.document.n_searched = text.floor_char_boundary(text.len().saturating_sub(separator.len()));
        Ok(())
    }

    /// Passes on the text up to the last border.
    fn cut_off(&mut self) -> Result<(), DataError> {
        if self.document.text.len() < 2 * WINDOW_BYTES {
            return Ok(());
        }
        let mut all = mem::take(&mut self.document.text);
        let is_trimmed = matches!(self.reading.parting, Parting::Separator(_));
        // keep what may be dropped at the end, and a possible separator
        let keep = match self.reading.parting {
            Parting::Separator(separator) => {
                let n_search = all.floor_char_boundary(all.len().saturating_sub(separator.len()));
                all[..n_search].trim_end_matches(BREAKS).len()
            }
            _ => all.len(),
        };
        let mut from = 0;
        if is_trimmed && self.document.begins {
            let n = all.len() - all.trim_start_matches(BREAKS).len();
            self.document.first_char += wide(n);
            from = n;
            if all.trim().is_empty() {
                all.drain(..from);
                self.document.text = all;
                return Ok(());
            }
        }
        loop {
            let rest = &all[from..];
            let searched = if from == 0 { self.document.n_searched } else { 0 };
            let Some(Cut { end, next, is }) = self.cut(rest, searched) else { break };
            if from + end > keep {
                break;
            }
            self.push(rest[..end].to_string(), is)?;
            self.document.in_windows = is == Is::Window { is_last: false };
            self.document.shared = end - next;
            self.document.first_char += wide(rest[..next].chars().count());
            from += next;
        }
        all.drain(..from);
        self.document.text = all;
        self.document.n_searched = self.document.text.len();
        Ok(())
    }

    /// How to cut a text whose first `searched` bytes have no border; `None` until more of it is read.
    fn cut(&self, text: &str, searched: usize) -> Option<Cut> {
        let Document { in_windows, shared, .. } = self.document;
        let window = || {
            let (end, next) = cut_window(text);
            Cut { end, next, is: Is::Window { is_last: false } }
        };
        if self.reading.border == Border::Window {
            return (text.len() >= 2 * WINDOW_BYTES).then(window);
        }
        let from = if in_windows { shared + 1 } else { PIECE_BYTES };
        let most = if in_windows { 2 * WINDOW_BYTES } else { LONG_WORD_BYTES };
        match self.reading.border.find(text, from.max(searched)).filter(|&at| at < most) {
            Some(at) => {
                let is = if in_windows { Is::Window { is_last: true } } else { Is::Whole };
                Some(Cut { end: at, next: at, is })
            }
            None => (text.len() >= most).then(window),
        }
    }

    fn end_document(&mut self) -> Result<(), DataError> {
        let text = mem::take(&mut self.document.text);
        let n_char = wide(text.chars().count());
        let first_char = self.document.first_char;
        if matches!(self.reading.parting, Parting::Separator(_)) {
            let mut kept = text.trim_end_matches(BREAKS);
            if self.document.begins {
                let behind = kept.trim_start_matches(BREAKS);
                self.document.first_char += wide(kept.len() - behind.len());
                kept = if behind.trim().is_empty() { "" } else { behind };
            }
            if !(kept.is_empty() && self.document.begins) {
                self.push(kept.to_string(), self.last())?;
            }
        } else if !(text.is_empty() && self.document.begins) {
            self.push(text, self.last())?;
        }
        self.document = Document { begins: true, first_char: first_char + n_char, ..Document::default() };
        Ok(())
    }

    /// What kind of part the end of the document is.
    fn last(&self) -> Is {
        if self.document.in_windows { Is::Window { is_last: true } } else { Is::Whole }
    }

    fn push(&mut self, text: String, is: Is) -> Result<(), DataError> {
        let Document { begins, shared, first_char, .. } = self.document;
        self.totals.documents += u64::from(begins);
        self.document.begins = false;
        self.n_byte += text.len();
        // a window is a piece of its own
        let is_alone = is != Is::Whole;
        if is_alone {
            self.flush()?;
        }
        self.piece.push(Part { begins, text, is, shared, first_char });
        if is_alone || self.n_byte >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), DataError> {
        self.n_byte = 0;
        let piece = mem::take(&mut self.piece);
        if piece.is_empty() { Ok(()) } else { (self.reading.take)(piece) }
    }
}

/// The characters dropped at either end of a document.
const BREAKS: [char; 2] = ['\n', '\r'];
