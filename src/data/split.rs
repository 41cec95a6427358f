use std::borrow::Cow;
use std::ops::Range;

use super::Tokens;
use super::packing::{Packed, best_fit};

/// Tokens, and the rows cut from them.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// The tokens of all documents, whichever split they are in.
    pub tokens: Tokens,
    pub documents: usize,
    /// The number of tokens in this split.
    pub n_token: usize,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    /// Windows of that many targets, not overlapping. Training on a stream needs none: its rows start anywhere.
    Windows(usize),
    /// Pieces of documents.
    Pieces {
        pieces: Vec<Piece>,
        /// With packing, for each row, how many pieces it and the rows before it hold; otherwise a row is one piece.
        ends: Option<Vec<usize>>,
    },
}

impl Default for Rows {
    fn default() -> Rows {
        Rows::Pieces { pieces: vec![], ends: None }
    }
}

/// A piece takes `tokens[start..=start + len]`: `len` inputs and as many targets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub start: usize,
    pub len: usize,
}

impl Piece {
    /// The range of its tokens.
    pub fn tokens(self) -> Range<usize> {
        self.start..self.start + self.len + 1
    }
}

impl Split {
    /// One long text.
    pub fn stream(tokens: impl Into<Tokens>, block_size: usize) -> Split {
        let tokens = tokens.into();
        Split { n_token: tokens.len(), tokens, documents: 0, rows: Rows::Windows(block_size) }
    }

    /// Some of the documents in `tokens`, each with its start and end.
    pub fn documents(tokens: Tokens, documents: impl Iterator<Item = Range<usize>>, block_size: usize) -> Split {
        let mut split = Split { tokens, ..Split::default() };
        let mut pieces = vec![];
        for document in documents {
            split.documents += 1;
            split.n_token += document.len();
            pieces.extend(cut(document, block_size));
        }
        pieces.shrink_to_fit();
        Split { rows: Rows::Pieces { pieces, ends: None }, ..split }
    }

    /// All tokens, document after document.
    pub fn all(&self) -> Vec<u32> {
        let Rows::Pieces { pieces, .. } = &self.rows else { return self.tokens.get(0..self.tokens.len()) };
        let mut pieces = pieces.clone();
        pieces.sort_unstable_by_key(|piece| piece.start);
        let (mut all, mut done) = (vec![], 0);
        for piece in pieces {
            // a piece begins with the last target of the one before, if both belong to one document
            let Range { start, end } = piece.tokens();
            all.extend(self.tokens.get(start.max(done)..end));
            done = end;
        }
        all
    }

    /// The number of rows.
    pub fn n_row(&self) -> usize {
        match &self.rows {
            Rows::Windows(len) => self.tokens.len().saturating_sub(1).div_ceil(*len),
            Rows::Pieces { pieces, ends } => ends.as_ref().map_or(pieces.len(), Vec::len),
        }
    }

    /// The pieces of a row.
    pub fn row(&self, row: usize) -> Cow<'_, [Piece]> {
        match &self.rows {
            Rows::Windows(len) => {
                let start = row * len;
                Cow::Owned(vec![Piece { start, len: (*len).min(self.tokens.len() - 1 - start) }])
            }
            Rows::Pieces { pieces, ends: None } => Cow::Borrowed(&pieces[row..=row]),
            Rows::Pieces { pieces, ends: Some(ends) } => {
                Cow::Borrowed(&pieces[if row == 0 { 0 } else { ends[row - 1] }..ends[row]])
            }
        }
    }

    /// Packs pieces into rows.
    pub fn pack(&mut self, block_size: usize) {
        let Rows::Pieces { pieces, ends } = &mut self.rows else { return };
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len).collect();
        let Packed { order, ends: packed } = best_fit(&lengths, block_size);
        *pieces = order.into_iter().map(|i| pieces[i]).collect();
        *ends = Some(packed);
    }

    /// The number of targets in all rows.
    pub fn n_target(&self) -> usize {
        match &self.rows {
            Rows::Windows(_) => self.tokens.len().saturating_sub(1),
            Rows::Pieces { pieces, .. } => pieces.iter().map(|piece| piece.len).sum(),
        }
    }
}

/// `floor(n * (1 - fraction))`, in the arithmetic of nanoGPT's `int(n * 0.9)`.
pub(super) fn train_share(n: usize, val_fraction: f64) -> usize {
    // the cast can't truncate: the product lies in 0..=n, and counts of characters are far below 2^53
    ((n as f64 * (1.0 - val_fraction)) as usize).min(n)
}

/// Cuts a document into consecutive pieces of at most `block_size` targets.
fn cut(document: Range<usize>, block_size: usize) -> impl Iterator<Item = Piece> {
    let last = document.end.saturating_sub(1);
    (document.start..last).step_by(block_size).map(move |start| Piece { start, len: block_size.min(last - start) })
}
