//! Splits a text into training and validation and cuts batches from both.

use std::borrow::Cow;
use std::sync::Arc;

use super::encoding::Encoding;
use super::loading::Watch;
use super::options::{Options, Use, check_lengths};
use super::permutation::{Permutation, Purpose, below, narrow, rng, wide};
use super::prepared::{Prepared, Splits};
use super::split::{Piece, Split, train_share};
use super::stats::{Extent, Packing};
use super::{Batch, Corpus, DataError, Findings, Mode, Text, TokenSet, Tokenizer, Tokens};

/// The tokens of both splits, and how rows are cut from them.
///
/// *Stream*: a training row is `T + 1` tokens from a random place, the first T as inputs, the last T as targets.
///
/// *Documents*: a document of n tokens is `<start> d1 .. dn <end>`. Its inputs are all but the last, its targets
/// all but the first, and 0 and [`IGNORE`](super::IGNORE) fill the row to T. A document with more than T targets
/// is cut into consecutive pieces, so that each of its tokens is a target exactly once per epoch; a later piece does
/// not see earlier ones. A row holds one piece, or with packing as many as best-fit places there, the same ones in
/// each epoch. An epoch visits each row once, in its own order.
#[derive(Clone, Debug)]
pub struct Dataset {
    block_size: usize,
    stream: bool,
    mask: Mask,
    train: Arc<Split>,
    val: Arc<Split>,
    /// Units: bytes of UTF-8 per id.
    byte_lens: Arc<[u32]>,
    findings: Findings,
}

/// How batches mark which positions form a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    /// Not at all.
    None,
    /// Each piece in a row is a document.
    Pieces,
    /// A document begins with each of these tokens.
    Token(u32),
}

impl Dataset {
    /// Splits and encodes a text for training.
    ///
    /// # Errors
    /// Options out of range, a character outside the vocabulary, a split too short for a block, too few documents,
    /// documents without special tokens.
    pub fn new(text: &Text, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, DataError> {
        let is_same = |known: &&Prepared| known.options == *options && known.tokenizer == *tokenizer;
        if let Some(known) = text.prepared.get().filter(is_same) {
            return Dataset::with(known.splits.clone(), tokenizer, options);
        }
        Dataset::for_training(text, tokenizer, options, &|_| Ok(()))
    }

    /// Makes the dataset in advance, so that [`Dataset::new`] with the same arguments is fast.
    pub(super) fn prepare(
        text: &Text,
        tokenizer: &Tokenizer,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Findings, DataError> {
        let Dataset { train, val, findings, .. } = Dataset::for_training(text, tokenizer, options, watch)?;
        let splits = Splits { train, val, findings: findings.clone() };
        let prepared = Prepared { tokenizer: tokenizer.clone(), options: options.clone(), splits };
        // what was made for other options stays
        let _ = text.prepared.set(prepared);
        Ok(findings)
    }

    fn for_training(
        text: &Text,
        tokenizer: &Tokenizer,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Dataset, DataError> {
        if !(0.0..1.0).contains(&options.val_fraction) {
            return Err(DataError::ValFraction { value: options.val_fraction });
        }
        Dataset::build(&Encoding { text, tokenizer, options, watch }, Use::Training)
    }

    /// [`Dataset::new`] for a corpus. Token files are windows of one long stream, read from the files; without
    /// validation files, the last `val_fraction` of the tokens are for validation.
    ///
    /// # Errors
    /// As [`Dataset::new`]; ids outside the tokenizer's vocabulary.
    pub fn of(corpus: &Corpus, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, DataError> {
        match corpus {
            Corpus::Text(text) => Dataset::new(text, tokenizer, options),
            Corpus::Tokens(tokens) => Dataset::of_tokens(tokens, tokenizer, options, Use::Training),
        }
    }

    /// Takes a whole text as the validation split, to evaluate a model on it; `val_fraction` is ignored.
    ///
    /// # Errors
    /// As [`Dataset::new`], except that a text shorter than a block is fine.
    pub fn for_evaluation(text: &Text, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, DataError> {
        Dataset::evaluation(text, tokenizer, options, &|_| Ok(()))
    }

    /// [`Dataset::for_evaluation`] for a text, or for all training tokens of a set.
    ///
    /// # Errors
    /// As [`Dataset::for_evaluation`]; ids outside the tokenizer's vocabulary.
    pub fn evaluation_of(corpus: &Corpus, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, DataError> {
        Dataset::evaluation_watched(corpus, tokenizer, options, &|_| Ok(()))
    }

    /// [`Dataset::evaluation_of`], reporting progress to `watch`.
    ///
    /// # Errors
    /// As [`Dataset::evaluation_of`].
    pub fn evaluation_watched(
        corpus: &Corpus,
        tokenizer: &Tokenizer,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Dataset, DataError> {
        let everything = Options { val_fraction: 1.0, ..options.clone() };
        match corpus {
            Corpus::Text(text) => Dataset::evaluation(text, tokenizer, options, watch),
            Corpus::Tokens(tokens) => Dataset::of_tokens(tokens, tokenizer, &everything, Use::Evaluation),
        }
    }

    fn evaluation(
        text: &Text,
        tokenizer: &Tokenizer,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Dataset, DataError> {
        let options = &Options { val_fraction: 1.0, ..options.clone() };
        Dataset::build(&Encoding { text, tokenizer, options, watch }, Use::Evaluation)
    }

    fn build(encoding: &Encoding<'_>, purpose: Use) -> Result<Dataset, DataError> {
        let Encoding { tokenizer, options, .. } = *encoding;
        // before the text is encoded
        mask(tokenizer, options)?;
        let (mut train, mut val, findings) = match &options.mode {
            Mode::Stream => encoding.stream(purpose)?,
            Mode::Documents { separator } => encoding.documents(separator, purpose)?,
        };
        if options.pack {
            train.pack(options.block_size);
            val.pack(options.block_size);
        }
        Dataset::with(Splits { train: train.into(), val: val.into(), findings }, tokenizer, options)
    }

    fn with(splits: Splits, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, DataError> {
        let Splits { train, val, findings } = splits;
        let (mask, stream) = (mask(tokenizer, options)?, options.mode == Mode::Stream);
        let byte_lens = tokenizer.byte_lens().into();
        Ok(Dataset { block_size: options.block_size, stream, mask, train, val, byte_lens, findings })
    }

    fn of_tokens(set: &TokenSet, tokenizer: &Tokenizer, options: &Options, purpose: Use) -> Result<Dataset, DataError> {
        if !(0.0..=1.0).contains(&options.val_fraction) || options.val_fraction == 1.0 && purpose == Use::Training {
            return Err(DataError::ValFraction { value: options.val_fraction });
        }
        let mask = mask(tokenizer, options)?;
        if options.mode != Mode::Stream {
            return Err(DataError::DocumentsOfTokens);
        }
        set.check(tokenizer.vocab_size())?;
        let block_size = options.block_size;
        let (train, val) = match (set.val(), purpose) {
            (Some(val), Use::Training) => {
                for tokens in [set.train(), val] {
                    if tokens.len() <= block_size {
                        let name = set.name(tokens);
                        return Err(DataError::ShortTokens { name, tokens: tokens.len(), block_size });
                    }
                }
                (set.train().clone(), val.clone())
            }
            _ => {
                let (train, val) = set.train().split_at(train_share(set.train().len(), options.val_fraction));
                check_lengths(train.len(), val.len(), options, purpose)?;
                (train, val)
            }
        };
        for (split, tokens) in [("training", &train), ("validation", &val)] {
            if let Some(id) = tokens.only_id() {
                return Err(DataError::OneToken { split, id, times: tokens.len() });
            }
        }
        let (train, val) = (Split::stream(train, block_size).into(), Split::stream(val, block_size).into());
        let (byte_lens, findings) = (tokenizer.byte_lens().into(), Findings::default());
        Ok(Dataset { block_size, stream: true, mask, train, val, byte_lens, findings })
    }

    /// T, the length of every row.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// How well the tokenizer fits the text; empty for token files.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Tokens in the training split, including special ones.
    pub fn token_count(&self) -> u64 {
        wide(self.train.n_token)
    }

    /// Tokens in the validation split, including special ones.
    pub fn val_token_count(&self) -> u64 {
        wide(self.val.n_token)
    }

    /// The validation split, document after document in documents mode.
    pub fn val_tokens(&self) -> Vec<u32> {
        self.val.all()
    }

    /// Rows in an epoch of documents; `None` for a stream, whose windows are sampled with replacement.
    pub fn rows_per_epoch(&self) -> Option<u64> {
        (!self.stream).then(|| wide(self.train.n_row()))
    }

    /// How the training documents fill rows; `None` for a stream.
    pub fn packing(&self) -> Option<Packing> {
        let rows = self.rows_per_epoch()?;
        let tokens = self.train.n_target();
        let places = rows * wide(self.block_size);
        // counts of tokens are far below 2^53
        let padding = if places == 0 { 0.0 } else { 1.0 - tokens as f64 / places as f64 };
        Some(Packing { documents: wide(self.train.documents), rows, padding })
    }

    /// Returns micro-batch number `index` for a seed: a pure function, so resuming needs no history.
    ///
    /// Shapes: (b, T). A dataset made for evaluation has no training split and gives padding.
    pub fn train_batch(&self, seed: u64, index: u64, b: usize) -> Batch {
        let mut batch = self.padding(b);
        if self.train.n_token == 0 {
            return batch;
        }
        if self.stream {
            let mut rng = rng(Purpose::Windows, seed, index);
            let places = wide(self.train.tokens.len() - self.block_size);
            for i in 0..b {
                let start = narrow(below(&mut rng, places));
                self.fill(&mut batch, i, &self.train.tokens, &[Piece { start, len: self.block_size }]);
            }
            return batch;
        }
        let n_rows = wide(self.train.n_row());
        let mut order: Option<(u64, Permutation)> = None;
        for i in 0..b {
            let position = index.wrapping_mul(wide(b)).wrapping_add(wide(i));
            let epoch = position / n_rows;
            if order.as_ref().is_none_or(|(current, _)| *current != epoch) {
                order = Some((epoch, Permutation::new(Purpose::Epoch, seed, epoch, n_rows)));
            }
            if let Some((_, permutation)) = &order {
                let row = self.train.row(narrow(permutation.at(position % n_rows)));
                self.fill(&mut batch, i, &self.train.tokens, &row);
            }
        }
        batch
    }

    /// Returns the validation split as batches of `b` rows; the last batch is filled up with padding rows.
    ///
    /// Without a limit: all of it, in windows that don't overlap, so that every token that follows another one (in
    /// its document) is a target exactly once. With a limit: at most that many windows, evenly spaced, always the same.
    ///
    /// Shapes: (b, T); `b` is at least 1.
    pub fn eval_batches(&self, b: usize, limit: Option<usize>) -> impl Iterator<Item = Batch> {
        let mut rows = self.eval_rows(limit).peekable();
        std::iter::from_fn(move || {
            rows.peek()?;
            let mut batch = self.padding(b);
            for (at, row) in rows.by_ref().take(b).enumerate() {
                self.fill(&mut batch, at, &self.val.tokens, &row);
            }
            Some(batch)
        })
    }

    /// How much [`Dataset::eval_batches`] with the same limit covers.
    pub fn eval_extent(&self, limit: Option<usize>) -> Extent {
        let mut extent = Extent { windows: 0, targets: 0, bytes: 0 };
        for row in self.eval_rows(limit) {
            extent.windows += 1;
            extent.targets += row.iter().map(|piece| wide(piece.len)).sum::<u64>();
            let targets = row.iter().flat_map(|piece| self.val.tokens.get(piece.tokens()).into_iter().skip(1));
            let bytes = targets.map(|id| self.byte_lens.get(narrow(id.into())).copied().unwrap_or(0));
            extent.bytes += bytes.map(u64::from).sum::<u64>();
        }
        extent
    }

    fn eval_rows(&self, limit: Option<usize>) -> impl Iterator<Item = Cow<'_, [Piece]>> {
        let n = self.val.n_row();
        let wanted = limit.map_or(n, |limit| limit.min(n));
        (0..wanted).map(move |i| {
            // in u128, because a product of two counts may exceed 64 bits
            let at = i as u128 * n as u128 / wanted as u128;
            self.val.row(usize::try_from(at).expect("an index below n"))
        })
    }

    /// Returns a batch of padding; with a mask, each row of it is one document.
    fn padding(&self, b: usize) -> Batch {
        let firsts = if self.mask == Mask::None { vec![] } else { vec![0; b * self.block_size] };
        Batch { firsts, ..Batch::padding(b, self.block_size) }
    }

    /// Writes pieces into a row of padding, one after the other.
    fn fill(&self, batch: &mut Batch, row: usize, tokens: &Tokens, pieces: &[Piece]) {
        let mut at = 0;
        for piece in pieces {
            batch.put(row, at, &tokens.get(piece.tokens()));
            self.begin(batch, row, at);
            at += piece.len;
        }
        match self.mask {
            Mask::None => {}
            Mask::Pieces => self.begin(batch, row, at),
            Mask::Token(token) => {
                let begins = |&column: &usize| batch.tokens[row * self.block_size + column] == token;
                let places: Vec<usize> = (1..at).filter(begins).collect();
                places.into_iter().for_each(|column| self.begin(batch, row, column));
            }
        }
    }

    /// Starts another document at column `at` of the row.
    fn begin(&self, batch: &mut Batch, row: usize, at: usize) {
        if self.mask != Mask::None {
            let first = u32::try_from(at).expect("a block is indexed with 32 bits");
            batch.firsts[row * self.block_size + at..(row + 1) * self.block_size].fill(first);
        }
    }
}

/// Returns the mask that batches have with these options.
fn mask(tokenizer: &Tokenizer, options: &Options) -> Result<Mask, DataError> {
    if options.block_size == 0 {
        return Err(DataError::ZeroBlock);
    }
    Ok(match (options.document_mask, &options.mode) {
        (false, _) => Mask::None,
        (true, Mode::Documents { .. }) => Mask::Pieces,
        (true, Mode::Stream) => {
            Mask::Token(tokenizer.start_id().or(tokenizer.end_of_text()).ok_or(DataError::NoDocuments)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_parted_at_its_end_of_text_tokens() {
        const END: u32 = 9;
        let tokens = vec![1, 2, END, 3, 4, 5, END, END, 6, 7, 8];
        let (train, val, byte_lens) = (Split::stream(tokens, 10).into(), Arc::default(), [].into());
        let (mask, findings) = (Mask::Token(END), Findings::default());
        let data = Dataset { block_size: 10, stream: true, mask, train, val, byte_lens, findings };
        let batch = data.train_batch(1, 0, 2);
        // The only window. The token that ends a document is a target in it, and the first input of the next.
        let firsts = [0, 0, 2, 2, 2, 2, 6, 7, 7, 7];
        assert_eq!(batch.firsts, firsts.repeat(2));
        assert_eq!(batch.tokens[..10], [1, 2, END, 3, 4, 5, END, END, 6, 7]);
        assert_eq!(batch.targets[..10], [2, END, 3, 4, 5, END, END, 6, 7, 8]);
    }
}
