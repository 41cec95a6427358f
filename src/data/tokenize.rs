//! Text into token files: encoded on all cores and written as it goes, so that memory doesn't grow with the text.

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

/// Whose form token files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// nanoGPT's: 16 bits a token and nothing else.
    Nanogpt,
    /// llm.c's: a header, then 16 bits a token, or 32 where the vocabulary needs them.
    Llmc,
}

/// Text to be made into token files.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Files, folders, and `-` for standard input.
    pub paths: &'a [PathBuf],
    /// Whether bytes that aren't UTF-8 are replaced by U+FFFD.
    pub lossy: bool,
    /// The share at the end of the text that is held out, 0 <= f < 1.
    pub val_fraction: f64,
    /// The form, or the first that holds the vocabulary.
    pub form: Option<Form>,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes read, packed where they are.
    pub n_read: u64,
    /// Bytes that there are, but for standard input.
    pub n_byte: u64,
    /// Tokens written.
    pub n_token: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Tokens to train on.
    pub n_train: u64,
    /// Tokens to validate on.
    pub n_val: u64,
    /// Files, and lines of JSON lines.
    pub documents: u64,
    /// Whether an end-of-text token stands in front of each.
    pub is_parted: bool,
    /// Bytes read, packed where they are.
    pub n_read: u64,
    /// Places where bytes that aren't UTF-8 were replaced.
    pub n_replaced: usize,
    /// Binary and empty files that were found in folders and left out.
    pub n_skipped: usize,
    /// Its form.
    pub form: Form,
    /// Bits of a token.
    pub bits: u64,
    /// How well the tokenizer fits the text.
    pub findings: Findings,
}

/// The tokenizer of a job, and the text that it was chosen for.
#[derive(Clone, Debug)]
pub struct Chosen {
    origin: Origin,
    /// Which it is; never [`TokenizerSpec::Auto`].
    pub spec: TokenizerSpec,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
}

impl Job<'_> {
    fn origin(&self) -> Result<Origin, DataError> {
        Origin::of_paths(self.paths, if self.lossy { InvalidUtf8::Replace } else { InvalidUtf8::Refuse })
    }

    /// Chooses and makes the tokenizer that a spec asks for, as a run on the same text does. Only where that depends on the text
    /// is it read for it; what comes through a pipe is kept then.
    ///
    /// # Errors
    ///
    /// As [`TokenizerSpec::make`], and text that can't be read.
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

    /// Writes `train.bin`, `val.bin` and `tokenizer.json` into a folder, new or without these. An end-of-text token, if the
    /// tokenizer has one, stands in front of each document, unless the text is a single plain file. `on` hears of the progress,
    /// and ends it by `false`.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the text, the folder or the disk; nothing is left behind then.
    pub fn run(
        &self,
        tokenizer: &Tokenizer,
        out: &Path,
        on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Summary, DataError> {
        let chosen = Chosen { origin: self.origin()?, spec: TokenizerSpec::Auto, tokenizer: tokenizer.clone() };
        self.run_chosen(&chosen, out, on)
    }

    /// [`Job::run`] with the tokenizer that was chosen.
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

/// Tokens as they are written, with the end of a text in front of each document.
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
