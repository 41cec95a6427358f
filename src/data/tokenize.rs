//! Encodes text into token files, on all cores and written as it goes, in bounded memory.

mod output;

use std::io;
use std::path::{Path, PathBuf};

use super::decode::InvalidUtf8;
use super::encode::{Encode, Encoded};
use super::loading::Watch;
use super::permutation::{narrow, wide};
use super::split::train_share;
use super::text::{Origin, Parting};
use super::tokens::Width;
use super::{DataError, Findings, Mode, Text, Tokenizer, TokenizerSpec};
use output::{Output, Piece};

/// The format of token files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// nanoGPT's: 16-bit tokens without a header.
    Nanogpt,
    /// llm.c's: a header, then 16-bit tokens, or 32-bit ones if the vocabulary needs them.
    Llmc,
}

/// Text to be encoded into token files.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Files, folders, and `-` for standard input.
    pub paths: &'a [PathBuf],
    /// Whether bytes that aren't UTF-8 become U+FFFD.
    pub lossy: bool,
    /// The share held out from the end of the text, 0 <= f < 1.
    pub val_fraction: f64,
    /// The format; if `None`, the first that can hold the vocabulary.
    pub form: Option<Form>,
}

/// Progress of a job.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes read, compressed sizes for compressed files.
    pub n_read: u64,
    /// Bytes to read, not counting standard input.
    pub n_byte: u64,
    /// Tokens written.
    pub n_token: u64,
}

/// The result of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Tokens to train on.
    pub n_train: u64,
    /// Tokens to validate on.
    pub n_val: u64,
    /// Files and JSON lines.
    pub documents: u64,
    /// Whether an end-of-text token precedes each document.
    pub is_parted: bool,
    /// Bytes read, compressed sizes for compressed files.
    pub n_read: u64,
    /// Places where bytes that aren't UTF-8 were replaced.
    pub n_replaced: usize,
    /// Binary and empty files in folders, which were skipped.
    pub n_skipped: usize,
    /// The format.
    pub form: Form,
    /// Bits of a token.
    pub bits: u64,
    /// How well the tokenizer fits the text.
    pub findings: Findings,
}

/// The tokenizer of a job, and the text it was chosen for.
#[derive(Clone, Debug)]
pub struct Chosen {
    origin: Origin,
    /// Its spec; never [`TokenizerSpec::Auto`].
    pub spec: TokenizerSpec,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
}

impl Job<'_> {
    fn origin(&self) -> Result<Origin, DataError> {
        Origin::of_paths(self.paths, if self.lossy { InvalidUtf8::Replace } else { InvalidUtf8::Refuse })
    }

    /// Chooses and makes the tokenizer that a spec asks for, as a run on the same text does. Reads the text only if the
    /// choice depends on it; data from pipes is stored then.
    ///
    /// # Errors
    ///
    /// As [`TokenizerSpec::make`]; text that can't be read.
    pub fn choose(&self, spec: &TokenizerSpec, watch: Watch<'_>) -> Result<Chosen, DataError> {
        let origin = self.origin()?;
        if spec.needs_no_text() {
            let tokenizer = spec.make(&"".into(), &Mode::Stream, 0.0, watch)?;
            return Ok(Chosen { origin, spec: spec.clone(), tokenizer });
        }
        let origin = origin.kept(&mut io::stdin().lock(), watch)?;
        let text = Text::open(origin.clone(), watch)?;
        let tokenizer = spec.make(&text, &Mode::Stream, self.val_fraction, watch)?;
        Ok(Chosen { origin, spec: spec.resolve(&text), tokenizer })
    }

    /// Writes `train.bin`, `val.bin` and `tokenizer.json` into a folder that is new or has none of them. An end-of-text
    /// token, if the tokenizer has one, precedes each document, unless the text is a single plain file. `on` receives
    /// progress, and stops the job by returning `false`.
    ///
    /// # Errors
    ///
    /// Any error of the text, the folder or the disk; nothing is left behind then.
    pub fn run(
        &self,
        tokenizer: &Tokenizer,
        out: &Path,
        on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Summary, DataError> {
        let chosen = Chosen { origin: self.origin()?, spec: TokenizerSpec::Auto, tokenizer: tokenizer.clone() };
        self.run_chosen(&chosen, out, on)
    }

    /// [`Job::run`] with a chosen tokenizer.
    ///
    /// # Errors
    ///
    /// As [`Job::run`].
    pub fn run_chosen(
        &self,
        Chosen { origin, tokenizer, .. }: &Chosen,
        out: &Path,
        on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Summary, DataError> {
        if !(0.0..1.0).contains(&self.val_fraction) {
            return Err(DataError::ValFraction { value: self.val_fraction });
        }
        let fits = u16::try_from(tokenizer.vocab_size().saturating_sub(1)).is_ok();
        let (form, width) = match (self.form, fits) {
            (Some(Form::Nanogpt), false) => {
                return Err(DataError::TooWide { vocab_size: tokenizer.vocab_size() });
            }
            (form, true) => (form.unwrap_or(Form::Nanogpt), Width::Two),
            (_, false) => (Form::Llmc, Width::Four),
        };
        let end = tokenizer.end_of_text().filter(|_| !origin.is_plain());
        let parting = if end.is_some() { Parting::Inputs } else { Parting::None };
        let mut output = Output::create(out, form, width)?;
        let (n_byte, mut n_read) = (origin.len(), 0);
        let (totals, findings) = Encode { origin, tokenizer, parting, find: None }.run(&mut |encoded| {
            n_read = encoded.n_read;
            output.write(&piece(&encoded, end, width))?;
            if on(Progress { n_read, n_byte, n_token: output.n_token() }) { Ok(()) } else { Err(DataError::Stopped) }
        })?;
        findings.lost.check()?;
        let n_token = output.n_token();
        if n_token == 0 {
            return Err(DataError::Empty { name: "the text".into() });
        }
        findings.check()?;
        let n_char = output.n_char();
        let n_train = match self.val_fraction {
            0.0 => n_token,
            fraction => output.tokens_before(wide(train_share(narrow(n_char), fraction)), tokenizer)?,
        };
        if n_train == 0 || self.val_fraction > 0.0 && n_train == n_token {
            return Err(DataError::FewTokens { training: n_train, validation: n_token - n_train });
        }
        output.finish(n_train, tokenizer)?;
        Ok(Summary {
            n_train,
            n_val: n_token - n_train,
            documents: if end.is_some() { totals.documents } else { totals.n_input },
            is_parted: end.is_some(),
            n_read,
            n_replaced: totals.n_replaced,
            n_skipped: totals.skipped.len() + totals.n_empty,
            form,
            bits: 8 * width.bytes(),
            findings,
        })
    }
}

/// Tokens as written to the file, with an end-of-text token before each document.
fn piece(encoded: &Encoded, end: Option<u32>, width: Width) -> Piece {
    let mut piece = Piece { bytes: vec![], n_token: 0, n_char: encoded.n_char };
    let mut add = |ids: &[u32]| {
        piece.n_token += wide(ids.len());
        width.encode(ids.iter().copied(), &mut piece.bytes);
    };
    let mut done = 0;
    for &at in &encoded.begins {
        add(&encoded.ids[done..at]);
        end.iter().for_each(|&end| add(&[end]));
        done = at;
    }
    add(&encoded.ids[done..]);
    piece
}
