//! Text into token files: read once, encoded on all cores, written as it goes, so that memory doesn't grow with the text.

mod input;
mod output;
mod pieces;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::dataset::train_share;
use super::forms::Bad;
use super::order::{narrow, wide};
use super::tokens::Width;
use super::{DataError, Tokenizer, TokenizerSpec};
use input::{Input, inputs};
use output::{Encoded, Output};
use pieces::{Border, Part, Reading};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Job<'_> {
    fn bad(&self) -> Bad {
        if self.lossy { Bad::Replace } else { Bad::Refuse }
    }

    /// Makes the tokenizer that a spec asks for; without a choice, GPT-2's. One of characters takes those of all the text; a byte-pair encoding is learned
    /// from [`LEARN_BYTES`] of it at most, or from the part that is trained on, if that is less.
    ///
    /// # Errors
    ///
    /// Text that can't be read, or that can't be read twice; a `tokenizer.json` that isn't one.
    pub fn tokenizer(&self, spec: &TokenizerSpec) -> Result<Tokenizer, DataError> {
        let inputs = inputs(self.paths)?;
        let twice = matches!(spec, TokenizerSpec::Char | TokenizerSpec::Bpe(_));
        if twice && inputs.iter().any(|input| input.path.is_none()) {
            return Err(DataError::ReadOnce { tokenizer: spec.to_string() });
        }
        match spec {
            TokenizerSpec::Char => {
                let mut is_seen = vec![false; char::MAX as usize + 1];
                self.read(&inputs, &mut |text| {
                    text.chars().for_each(|c| is_seen[c as usize] = true);
                    Ok(())
                })?;
                let seen = ('\0'..=char::MAX).filter(|&c| is_seen[c as usize]);
                Ok(Tokenizer::from_chars(seen.collect()))
            }
            TokenizerSpec::Bpe(_) => {
                let mut start = String::new();
                let read = self.read(&inputs, &mut |text| {
                    start.push_str(text);
                    if start.len() < LEARN_BYTES { Ok(()) } else { Err(DataError::Stopped) }
                });
                match read {
                    Ok(()) => spec.make(&start, self.val_fraction),
                    Err(DataError::Stopped) => spec.make(&start, 0.0),
                    Err(error) => Err(error),
                }
            }
            TokenizerSpec::Auto => Ok(Tokenizer::gpt2()),
            other => other.make("", 0.0),
        }
    }

    /// Gives all the text on, with each document on a line of its own.
    fn read(&self, inputs: &[Input], take: &mut dyn FnMut(&str) -> Result<(), DataError>) -> Result<(), DataError> {
        let n_read = AtomicU64::new(0);
        let take = &mut |parts: Vec<Part>| parts.iter().try_for_each(|part| take(&part.text));
        let reading = Reading { border: Border::Character, bad: self.bad(), separates: false, n_read: &n_read, take };
        reading.all(inputs).map(|_| ())
    }

    /// Whether a text is encoded in pieces that end with a line, because this tokenizer's words depend on what is around them:
    /// a token that would reach over such a border is lost.
    pub fn cuts_lines(tokenizer: &Tokenizer) -> bool {
        Border::of(tokenizer) == Border::Line
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
        let inputs = inputs(self.paths)?;
        let is_plain = inputs.len() == 1 && !inputs[0].is_lines();
        let end = tokenizer.end_of_text().filter(|_| !is_plain);
        let mut output = Output::create(out, form, width)?;
        let n_byte = inputs.iter().filter_map(Input::len).sum();
        let n_read = AtomicU64::new(0);
        let encode = |parts: &[Part]| encode(parts, tokenizer, end, width);
        let totals = thread::scope(|scope| {
            let n_thread = thread::available_parallelism().map_or(1, usize::from);
            let (work, jobs) = sync_channel::<(Vec<Part>, SyncSender<Result<Encoded, DataError>>)>(n_thread);
            // results in the order of the text
            let (promise, promised) = sync_channel::<Receiver<Result<Encoded, DataError>>>(2 * n_thread);
            let jobs = Arc::new(Mutex::new(jobs));
            for _ in 0..n_thread {
                let jobs = jobs.clone();
                scope.spawn(move || {
                    loop {
                        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok((parts, done)) = job else { return };
                        // nobody waits for it any more where something failed
                        let _ = done.send(encode(&parts));
                    }
                });
            }
            drop(jobs);
            let (border, bad, counter) = (Border::of(tokenizer), self.bad(), &n_read);
            let inputs = &inputs;
            let reader = scope.spawn(move || {
                let take = &mut |parts| {
                    let (done, result) = sync_channel(1);
                    promise.send(result).map_err(|_| DataError::Stopped)?;
                    work.send((parts, done)).map_err(|_| DataError::Stopped)
                };
                Reading { border, bad, separates: end.is_some(), n_read: counter, take }.all(inputs)
            });
            let write_all = || {
                for result in promised {
                    let encoded = result.recv().map_err(|_| DataError::Stopped)?;
                    output.write(&encoded.map_err(|error| error.further(narrow(output.n_char())))?)?;
                    let n_read = n_read.load(Ordering::Relaxed);
                    if !on(Progress { n_read, n_byte, n_token: output.n_token() }) {
                        return Err(DataError::Stopped);
                    }
                }
                Ok(())
            };
            let written = write_all();
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // what stopped the reader is what happened here
            written.and(read)
        })?;
        let n_token = output.n_token();
        if n_token == 0 {
            return Err(DataError::Empty { name: "the text".into() });
        }
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
            documents: totals.documents,
            is_parted: end.is_some(),
            n_read: n_read.into_inner(),
            n_replaced: totals.n_replaced,
            n_skipped: totals.n_skipped,
            form,
            bits: 8 * width.bytes(),
        })
    }
}

/// How much of a text a byte-pair encoding is learned from at most: more changes little, and takes long.
pub const LEARN_BYTES: usize = 64 << 20;

fn encode(parts: &[Part], tokenizer: &Tokenizer, end: Option<u32>, width: Width) -> Result<Encoded, DataError> {
    let mut encoded = Encoded { bytes: vec![], n_token: 0, n_char: 0 };
    for part in parts {
        let ids = tokenizer.encode(&part.text).map_err(|error| error.further(narrow(encoded.n_char)))?;
        let end = end.filter(|_| part.begins);
        width.encode(end.into_iter().chain(ids.iter().copied()), &mut encoded.bytes);
        encoded.n_token += wide(ids.len() + usize::from(end.is_some()));
        encoded.n_char += wide(part.text.chars().count());
    }
    Ok(encoded)
}
