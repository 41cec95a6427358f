//! Splits a text into training and validation and cuts batches from both.

use serde::{Deserialize, Serialize};

use super::order::{Permutation, Purpose, below, narrow, rng, wide};
use super::{Batch, DataError, Text, Tokenizer};

/// The split of documents is the same for every training seed, so that runs can be compared.
const SPLIT_SEED: u64 = 0;

/// What a row of a batch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mode {
    /// A window of one long text.
    Stream,
    /// A document, or one piece of a document longer than a block.
    Documents {
        /// What stands between two documents: a line break, or any other text. Line breaks at either end of a
        /// document are dropped, and so are documents of nothing but white space.
        separator: String,
    },
}

impl Mode {
    /// One document a line.
    pub fn lines() -> Mode {
        Mode::Documents { separator: "\n".into() }
    }
}

/// How a text becomes a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Stream or documents.
    pub mode: Mode,
    /// The share held out, 0 <= f < 1: the last characters of a stream (as nanoGPT does), or so many documents,
    /// picked by a fixed shuffle. 0 means no validation.
    pub val_fraction: f64,
    /// T, the length of a row.
    pub block_size: usize,
}

impl Options {
    /// Stream mode with a tenth held out.
    pub fn stream(block_size: usize) -> Options {
        Options { mode: Mode::Stream, val_fraction: 0.1, block_size }
    }
}

/// The tokens of both splits and the rule by which rows are cut from them.
///
/// *Stream*: a training row is `T + 1` tokens from a random place, the first T as inputs, the last T as targets.
///
/// *Documents*: a document of n tokens is `<start> d1 .. dn <end>`. Its inputs are all but the last, its targets
/// all but the first, and 0 and [`IGNORE`](super::IGNORE) fill the row to T. A document with more than T targets
/// is cut into consecutive pieces, a row each, so that each of its tokens is a target exactly once an epoch; a later
/// piece sees nothing of the pieces before it. An epoch takes each row once, in an order of its own.
#[derive(Debug)]
pub struct Dataset {
    block_size: usize,
    stream: bool,
    train: Split,
    val: Split,
}

/// Tokens, and the rows cut from them. A stream needs no rows for training: they start anywhere.
#[derive(Debug, Default)]
struct Split {
    tokens: Vec<u32>,
    rows: Vec<Row>,
}

/// A row takes `tokens[start..=start + len]`: `len` inputs and as many targets.
#[derive(Clone, Copy, Debug)]
struct Row {
    start: usize,
    len: usize,
    /// UTF-8 bytes that the targets stand for.
    bytes: usize,
}

/// How much an evaluation looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows that hold at least one target.
    pub windows: u64,
    /// Targets, each a prediction.
    pub targets: u64,
    /// Units: bytes of UTF-8 that the targets stand for; `<end>` stands for none.
    pub bytes: u64,
}

impl Extent {
    /// The mean loss per target (nats) of such an evaluation as bits per byte of text; `None` if there is no text.
    pub fn bits_per_byte(&self, loss_nats: f64) -> Option<f64> {
        if self.bytes == 0 {
            return None;
        }
        // Both counts are far below 2^53.
        Some(loss_nats / std::f64::consts::LN_2 * self.targets as f64 / self.bytes as f64)
    }
}

impl Dataset {
    /// Splits and encodes a text for training.
    ///
    /// # Errors
    /// Options out of range, a character outside the vocabulary, a split too short for a block, too few documents,
    /// documents without special tokens.
    pub fn new(text: &Text, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, DataError> {
        if !(0.0..1.0).contains(&options.val_fraction) {
            return Err(DataError::ValFraction { value: options.val_fraction });
        }
        Dataset::build(text, tokenizer, options, Use::Training)
    }

    /// Takes a whole text as the validation split, for evaluating a model on it; `val_fraction` is not looked at.
    ///
    /// # Errors
    /// As [`Dataset::new`], except that a text shorter than a block will do.
    pub fn for_evaluation(text: &Text, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, DataError> {
        let everything = Options { val_fraction: 1.0, ..options.clone() };
        Dataset::build(text, tokenizer, &everything, Use::Evaluation)
    }

    fn build(text: &Text, tokenizer: &Tokenizer, options: &Options, purpose: Use) -> Result<Dataset, DataError> {
        if options.block_size == 0 {
            return Err(DataError::ZeroBlock);
        }
        let (train, val) = match &options.mode {
            Mode::Stream => split_stream(text, tokenizer, options, purpose)?,
            Mode::Documents { separator } => split_documents(text, tokenizer, options, separator, purpose)?,
        };
        Ok(Dataset { block_size: options.block_size, stream: options.mode == Mode::Stream, train, val })
    }

    /// T, the length of every row.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Tokens in the training split, special ones included.
    pub fn token_count(&self) -> u64 {
        wide(self.train.tokens.len())
    }

    /// Tokens in the validation split, special ones included.
    pub fn val_token_count(&self) -> u64 {
        wide(self.val.tokens.len())
    }

    /// The validation split itself, document after document in documents mode.
    pub fn val_tokens(&self) -> &[u32] {
        &self.val.tokens
    }

    /// Rows in an epoch of documents; `None` for a stream, whose windows are drawn with replacement.
    pub fn rows_per_epoch(&self) -> Option<u64> {
        (!self.stream).then(|| wide(self.train.rows.len()))
    }

    /// Micro-batch number `index` of a training with this seed: a pure function, so that a resume needs no history.
    ///
    /// Shapes: (b, T). A dataset made for evaluation has nothing to train on and gives padding.
    pub fn train_batch(&self, seed: u64, index: u64, b: usize) -> Batch {
        let mut batch = Batch::padding(b, self.block_size);
        if self.train.tokens.is_empty() {
            return batch;
        }
        if self.stream {
            let mut rng = rng(Purpose::Windows, seed, index);
            let places = wide(self.train.tokens.len() - self.block_size);
            for i in 0..b {
                let start = narrow(below(&mut rng, places));
                batch.set_row(i, &self.train.tokens[start..=start + self.block_size]);
            }
            return batch;
        }
        let n_rows = wide(self.train.rows.len());
        let mut order: Option<(u64, Permutation)> = None;
        for i in 0..b {
            let position = index.wrapping_mul(wide(b)).wrapping_add(wide(i));
            let epoch = position / n_rows;
            if order.as_ref().is_none_or(|(current, _)| *current != epoch) {
                order = Some((epoch, Permutation::new(Purpose::Epoch, seed, epoch, n_rows)));
            }
            if let Some((_, permutation)) = &order {
                let row = self.train.rows[narrow(permutation.at(position % n_rows))];
                batch.set_row(i, &self.train.tokens[row.start..=row.start + row.len]);
            }
        }
        batch
    }

    /// The validation split as batches of `b` rows; the last batch is filled up with rows of padding.
    ///
    /// Without a limit: all of it, in windows that don't overlap, so that every token that has one before it (in
    /// its document) is a target exactly once. With a limit: at most so many windows, evenly spaced, always the same.
    ///
    /// Shapes: (b, T); `b` is at least 1.
    pub fn eval_batches(&self, b: usize, limit: Option<usize>) -> impl Iterator<Item = Batch> {
        let rows: Vec<Row> = self.eval_rows(limit).collect();
        let n_batches = rows.len().div_ceil(b);
        (0..n_batches).map(move |i| {
            let mut batch = Batch::padding(b, self.block_size);
            for (at, row) in rows[i * b..].iter().take(b).enumerate() {
                batch.set_row(at, &self.val.tokens[row.start..=row.start + row.len]);
            }
            batch
        })
    }

    /// What [`Dataset::eval_batches`] with the same limit looks at.
    pub fn eval_extent(&self, limit: Option<usize>) -> Extent {
        let mut extent = Extent { windows: 0, targets: 0, bytes: 0 };
        for row in self.eval_rows(limit) {
            extent.windows += 1;
            extent.targets += wide(row.len);
            extent.bytes += wide(row.bytes);
        }
        extent
    }

    fn eval_rows(&self, limit: Option<usize>) -> impl Iterator<Item = Row> {
        let n = self.val.rows.len();
        let wanted = limit.map_or(n, |limit| limit.min(n));
        (0..wanted).map(move |i| {
            // In u128, because a product of two counts may not fit into 64 bits.
            let at = i as u128 * n as u128 / wanted as u128;
            self.val.rows[usize::try_from(at).expect("an index below n")]
        })
    }
}

/// What a dataset is for, and so how short a split may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Training,
    Evaluation,
}

fn split_stream(
    text: &Text,
    tokenizer: &Tokenizer,
    options: &Options,
    purpose: Use,
) -> Result<(Split, Split), DataError> {
    let text = text.as_str();
    let n_train = train_share(text.chars().count(), options.val_fraction);
    let cut = text.char_indices().nth(n_train).map_or(text.len(), |(at, _)| at);
    // Encoded in one go, so that an error counts its position from the start of the text.
    let mut train = tokenizer.encode(text)?;
    let mut n_tokens = 0;
    let mut n_bytes = 0;
    while n_bytes < cut {
        n_bytes += tokenizer.byte_len(train[n_tokens]);
        n_tokens += 1;
    }
    let val = train.split_off(n_tokens);

    let block_size = options.block_size;
    if purpose == Use::Evaluation && val.len() < 2 {
        return Err(DataError::ShortEvaluation { tokens: val.len() });
    }
    if purpose == Use::Training && train.len() <= block_size {
        return Err(DataError::ShortTraining { tokens: train.len(), block_size });
    }
    if purpose == Use::Training && options.val_fraction > 0.0 && val.len() <= block_size {
        return Err(DataError::ShortValidation { tokens: val.len(), block_size });
    }
    let mut val = Split { tokens: val, rows: Vec::new() };
    val.cut(0, tokenizer, block_size);
    let train = Split { tokens: train, rows: Vec::new() };
    Ok((train, val))
}

fn split_documents(
    text: &Text,
    tokenizer: &Tokenizer,
    options: &Options,
    separator: &str,
    purpose: Use,
) -> Result<(Split, Split), DataError> {
    let (Some(start), Some(end)) = (tokenizer.start_id(), tokenizer.end_id()) else {
        return Err(DataError::NoSpecials);
    };
    if separator.is_empty() {
        return Err(DataError::EmptySeparator);
    }
    let documents: Vec<&str> = text
        .files()
        .flat_map(|file| file.split(separator))
        .map(|document| document.trim_matches(['\n', '\r']))
        .filter(|document| !document.trim().is_empty())
        .collect();
    let n = documents.len();
    let n_train = train_share(n, options.val_fraction);
    let train_missing = n_train == 0 && purpose == Use::Training;
    let val_missing = n_train == n && options.val_fraction > 0.0;
    if train_missing || val_missing {
        return Err(DataError::FewDocuments { documents: n, training: n_train, validation: n - n_train });
    }
    let shuffle = Permutation::new(Purpose::Split, SPLIT_SEED, 0, wide(n));
    let (mut train, mut val) = (Split::default(), Split::default());
    for (i, document) in documents.into_iter().enumerate() {
        let split = if shuffle.at(wide(i)) < wide(n_train) { &mut train } else { &mut val };
        let first = split.tokens.len();
        split.tokens.push(start);
        let ids = tokenizer.encode(document).map_err(|error| place_in(text, error))?;
        split.tokens.extend(ids);
        split.tokens.push(end);
        split.cut(first, tokenizer, options.block_size);
    }
    Ok((train, val))
}

/// Makes an error about a document count its position from the start of the text.
fn place_in(text: &Text, error: DataError) -> DataError {
    match error {
        DataError::UnknownCharacter { character, position, vocabulary } => DataError::UnknownCharacter {
            character,
            position: text.as_str().chars().position(|c| c == character).unwrap_or(position),
            vocabulary,
        },
        other => other,
    }
}

impl Split {
    /// Cuts the tokens from `first` to the end into consecutive rows of at most `block_size` targets.
    fn cut(&mut self, first: usize, tokenizer: &Tokenizer, block_size: usize) {
        let mut start = first;
        while start + 1 < self.tokens.len() {
            let len = block_size.min(self.tokens.len() - 1 - start);
            let targets = &self.tokens[start + 1..=start + len];
            let bytes = targets.iter().map(|&id| tokenizer.byte_len(id)).sum();
            self.rows.push(Row { start, len, bytes });
            start += len;
        }
    }
}

/// `floor(n * (1 - fraction))`, in the arithmetic of nanoGPT's `int(n * 0.9)`.
fn train_share(n: usize, val_fraction: f64) -> usize {
    // The cast can't truncate: the product lies in 0..=n, and counts of characters are far below 2^53.
    ((n as f64 * (1.0 - val_fraction)) as usize).min(n)
}
