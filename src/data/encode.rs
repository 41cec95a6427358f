//! Encodes a text: reads it once, encodes on all cores and passes tokens on in order, in bounded memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::names::Names;
use super::permutation::{narrow, wide};
use super::text::{Border, Is, Origin, Part, Parting, Pass, Totals};
use super::tokenizer::{Settled, Stitcher, Window};
use super::{DataError, Findings, Lost, Tokenizer};

/// A text to be encoded.
pub(super) struct Encode<'a> {
    pub origin: &'a Origin,
    pub tokenizer: &'a Tokenizer,
    pub parting: Parting<'a>,
    /// The character whose byte offset is wanted.
    pub find: Option<u64>,
}

/// The tokens of a piece.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub ids: Vec<u32>,
    /// For each document that begins here, the number of tokens before it.
    pub begins: Vec<usize>,
    /// Units: bytes and characters of their text.
    pub n_byte: u64,
    pub n_char: u64,
    /// The part of it that became no token.
    pub lost: Lost,
    /// Units: bytes of the whole text read so far, compressed sizes for compressed files.
    pub n_read: u64,
}

enum Piece {
    Whole(Encoded),
    /// A part that depends on its neighbours, whether its document begins with it, and whether it is the last of its
    /// row.
    Window {
        begins: bool,
        is_last: bool,
        window: Window,
        lost: Lost,
    },
}

type Job = (Vec<Part>, SyncSender<Result<Piece, DataError>>);

impl Encode<'_> {
    /// Passes the tokens to `take`, whose error ends the work. Returns what was read and the findings.
    ///
    /// # Errors
    ///
    /// Any error of the text, a character or word that the tokenizer lacks, or the error of `take`.
    pub fn run(&self, take: &mut dyn FnMut(Encoded) -> Result<(), DataError>) -> Result<(Totals, Findings), DataError> {
        let n_read = AtomicU64::new(0);
        thread::scope(|scope| {
            let n_thread = thread::available_parallelism().map_or(1, usize::from);
            let (work, jobs) = sync_channel::<Job>(n_thread);
            // results in the order of the text
            let (promise, promised) = sync_channel::<Receiver<Result<Piece, DataError>>>(2 * n_thread);
            let jobs = Arc::new(Mutex::new(jobs));
            for _ in 0..n_thread {
                let jobs = jobs.clone();
                scope.spawn(move || {
                    loop {
                        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok((parts, done)) = job else { return };
                        // nobody waits for it after an error
                        let _ = done.send(self.piece(parts));
                    }
                });
            }
            drop(jobs);
            let counter = &n_read;
            let mut names = Names::new(self.tokenizer.names_as_text());
            let reader = scope.spawn(move || {
                let take = &mut |parts: Vec<Part>| {
                    parts.iter().for_each(|part| names.take(part));
                    let (done, result) = sync_channel(1);
                    promise.send(result).map_err(|_| DataError::Stopped)?;
                    work.send((parts, done)).map_err(|_| DataError::Stopped)
                };
                let border = Border::of(self.tokenizer);
                let pass = Pass { border, parting: self.parting, find: self.find, n_read: counter };
                let totals = self.origin.read(pass, &|_| Ok(()), take)?;
                Ok((totals, names.counts()))
            });
            let unknown = self.tokenizer.unknown_id();
            let take_all = || {
                let mut findings = Findings::of(self.tokenizer);
                let mut stitcher = Stitcher::default();
                for result in promised {
                    let encoded = match result.recv().map_err(|_| DataError::Stopped)?? {
                        Piece::Whole(encoded) => encoded,
                        Piece::Window { begins, is_last, window, lost } => {
                            findings.lost.add(lost);
                            self.stitch(&mut stitcher, window, begins, is_last)?
                        }
                    };
                    findings.lost.add(encoded.lost);
                    findings.count(&encoded.ids, unknown);
                    take(Encoded { n_read: n_read.load(Ordering::Relaxed), ..encoded })?;
                }
                Ok(findings)
            };
            let taken = take_all();
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (taken, read) {
                // `Stopped` on one side is a consequence of the error on the other
                (Err(DataError::Stopped), Err(error)) | (Err(error), _) => Err(error),
                (Ok(findings), read) => read.map(|(totals, names)| (totals, Findings { names, ..findings })),
            }
        })
    }

    fn piece(&self, parts: Vec<Part>) -> Result<Piece, DataError> {
        let mut encoded = Encoded::default();
        for part in parts {
            if let Is::Window { is_last } = part.is {
                // a window is a piece of its own
                let Part { begins, text, shared, first_char, .. } = part;
                let first_char = narrow(first_char);
                let tokens = self.tokenizer.encode_placed(&text).map_err(|error| error.further(first_char))?;
                let lost = self.tokenizer.lost(&text, shared, &tokens);
                let window = Window { text, shared, first_char, tokens };
                return Ok(Piece::Window { begins, is_last, lost, window });
            }
            if part.begins {
                encoded.begins.push(encoded.ids.len());
            }
            let counted = self.tokenizer.encode_counted(&part.text);
            let (ids, lost) = counted.map_err(|error| error.further(narrow(part.first_char)))?;
            encoded.ids.extend(ids);
            encoded.lost.add(lost);
            encoded.n_byte += wide(part.text.len());
            encoded.n_char += wide(part.text.chars().count());
        }
        Ok(Piece::Whole(encoded))
    }

    fn stitch(
        &self,
        stitcher: &mut Stitcher,
        window: Window,
        begins: bool,
        is_last: bool,
    ) -> Result<Encoded, DataError> {
        let encode = |text: &str| self.tokenizer.encode_placed(text);
        let mut settled = Settled::default();
        stitcher.push(window, &encode, &mut settled)?;
        if is_last {
            stitcher.finish(&encode, &mut settled)?;
        }
        let begins = if begins { vec![0] } else { vec![] };
        let Settled { ids, n_byte, n_char } = settled;
        Ok(Encoded { ids, begins, n_byte: wide(n_byte), n_char: wide(n_char), ..Encoded::default() })
    }
}
