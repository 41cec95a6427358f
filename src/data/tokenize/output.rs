use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Form;
use crate::data::permutation::{narrow, wide};
use crate::data::tokens::{Layout, Width};
use crate::data::{DataError, Tokenizer};
use crate::files::claim::Claim;
use crate::files::unfinished::{Goes, Unfinished};

const TRAIN: &str = "train.bin";
const VAL: &str = "val.bin";
const TOKENIZER: &str = "tokenizer.json";
/// Exists while the files are renamed, so that a rename cut short by a kill isn't taken for a data set.
const NAMING: &str = ".naming";
/// In the order in which they are renamed: once the last one exists, the data set is complete.
const FILES: [&str; 3] = [TOKENIZER, VAL, TRAIN];

/// The maximum number of tokens in a file in llm.c's format, which counts in 31 bits.
const MAX_OF_LLMC: u64 = i32::MAX as u64;

/// A data set being written; unless it is finished, everything is removed.
pub(super) struct Output {
    dir: PathBuf,
    /// The files to be removed.
    written: Vec<PathBuf>,
    unfinished: Unfinished,
    /// Held until all files have their final names.
    claim: Option<Claim>,
    tokens: Option<BufWriter<File>>,
    form: Form,
    width: Width,
    n_token: u64,
    /// Characters and tokens per piece.
    pieces: Vec<(u64, u64)>,
}

/// A piece of text, encoded.
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    pub n_token: u64,
    pub n_char: u64,
}

impl Output {
    pub fn create(dir: &Path, form: Form, width: Width) -> Result<Output, DataError> {
        // before anything is written there
        check_free(dir)?;
        let claim =
            Claim::take(dir).map_err(unwritable(dir))?.ok_or_else(|| DataError::SetBusy { path: dir.into() })?;
        let unfinished = claim.unfinished();
        if is_half_named(dir) {
            let left = FILES.iter().map(|name| dir.join(name)).filter(|path| path.exists());
            left.chain([dir.join(NAMING)]).try_for_each(fs::remove_file).map_err(unwritable(dir))?;
        }
        // another process may have written a data set, and ended, in the meantime
        check_free(dir)?;
        let (dir, written, claim, pieces) = (dir.to_path_buf(), vec![], Some(claim), vec![]);
        let mut output = Output { dir, written, unfinished, claim, tokens: None, form, width, n_token: 0, pieces };
        let path = output.part(TRAIN);
        output.add(path.clone());
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let mut file = BufWriter::with_capacity(1 << 20, file.map_err(unwritable(&path))?);
        // the header is written when the number of tokens is known
        file.write_all(&vec![0; narrow(output.start())]).map_err(unwritable(&path))?;
        output.tokens = Some(file);
        Ok(output)
    }

    /// Registers a file for removal unless the data set is finished.
    fn add(&mut self, path: PathBuf) {
        self.unfinished.add(&path, Goes::Whole);
        self.written.push(path);
    }

    fn part(&self, name: &str) -> PathBuf {
        part(&self.dir, name)
    }

    /// Units: bytes before the tokens.
    fn start(&self) -> u64 {
        match self.form {
            Form::Nanogpt => 0,
            Form::Llmc => wide(Layout::HEAD_BYTES),
        }
    }

    pub fn n_token(&self) -> u64 {
        self.n_token
    }

    pub fn n_char(&self) -> u64 {
        self.pieces.iter().map(|(n_char, _)| n_char).sum()
    }

    pub fn write(&mut self, piece: &Piece) -> Result<(), DataError> {
        self.n_token += piece.n_token;
        self.pieces.push((piece.n_char, piece.n_token));
        if self.form == Form::Llmc && self.n_token > MAX_OF_LLMC {
            return Err(DataError::TooManyTokens { most: MAX_OF_LLMC });
        }
        let path = self.part(TRAIN);
        let file = self.tokens.as_mut().ok_or(DataError::Stopped)?;
        file.write_all(&piece.bytes).map_err(unwritable(&path))
    }

    /// Moves the tokens after the first `n_train` into the validation file, and gives all files their final names.
    pub fn finish(mut self, n_train: u64, tokenizer: &Tokenizer) -> Result<(), DataError> {
        let path = self.part(TRAIN);
        let file = self.tokens.take().ok_or(DataError::Stopped)?;
        let mut train = file.into_inner().map_err(|e| unwritable(&path)(e.into_error()))?;
        let n_val = self.n_token - n_train;
        if n_val > 0 {
            let end = self.start() + n_train * self.width.bytes();
            let path = self.part(VAL);
            self.add(path.clone());
            let mut copy = || {
                let mut val = File::create(&path)?;
                val.write_all(&self.header(n_val))?;
                train.seek(SeekFrom::Start(end))?;
                io::copy(&mut train, &mut val)?;
                val.sync_all()?;
                train.set_len(end)
            };
            copy().map_err(unwritable(&path))?;
        }
        let head = self.header(n_train);
        let mut complete = || {
            train.rewind()?;
            train.write_all(&head)?;
            train.sync_all()
        };
        complete().map_err(unwritable(&path))?;
        // other systems can't rename an open file
        drop(train);
        let json = self.part(TOKENIZER);
        self.add(json.clone());
        let content = tokenizer.to_json()?;
        let save = || {
            let mut file = File::create(&json)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()
        };
        save().map_err(unwritable(&json))?;
        let naming = self.dir.join(NAMING);
        self.add(naming.clone());
        File::create(&naming).map_err(unwritable(&naming))?;
        let mut names = vec![];
        let claim = &mut self.claim;
        let named = self.unfinished.finish(|| {
            FILES.into_iter().filter(|&name| name != VAL || n_val > 0).try_for_each(|name| {
                let to = self.dir.join(name);
                fs::rename(part(&self.dir, name), &to).map_err(unwritable(&to))?;
                names.push(to);
                Ok(())
            })?;
            fs::remove_file(&naming).map_err(unwritable(&naming))?;
            // other systems can't open folders, and make renames durable themselves
            if cfg!(unix) {
                File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(unwritable(&self.dir))?;
            }
            *claim = None;
            Ok(())
        });
        self.written.append(&mut names);
        named?;
        self.written.clear();
        Ok(())
    }

    fn header(&self, n_token: u64) -> Vec<u8> {
        match self.form {
            Form::Nanogpt => vec![],
            // at most MAX_OF_LLMC
            Form::Llmc => Layout::header(self.width, u32::try_from(n_token).unwrap_or(u32::MAX)),
        }
    }

    /// Returns how many tokens stand for the first `n_char` characters.
    pub fn tokens_before(&mut self, n_char: u64, tokenizer: &Tokenizer) -> Result<u64, DataError> {
        let (mut chars, mut before) = (0, 0);
        let here = self.pieces.iter().find(|&&(c, t)| {
            let is_here = chars + c >= n_char;
            if !is_here {
                (chars, before) = (chars + c, before + t);
            }
            is_here
        });
        let Some(&(c, t)) = here else { return Ok(self.n_token) };
        let at = self.start() + before * self.width.bytes();
        let path = self.part(TRAIN);
        let width = self.width;
        let file = self.tokens.as_mut().ok_or(DataError::Stopped)?;
        let mut read = || {
            file.seek(SeekFrom::Start(at))?;
            let mut bytes = vec![];
            BufReader::new(file.get_ref()).take(t * width.bytes()).read_to_end(&mut bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(bytes)
        };
        let bytes = read().map_err(unwritable(&path))?;
        Ok(before + tokens_of_chars(&width.decode(&bytes), n_char - chars, c, tokenizer))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.tokens = None;
        // best effort: the error that led here is the one to report
        self.written.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}

fn part(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.part"))
}

/// Fails if there is a data set already, or a file that would be taken for a part of one.
fn check_free(dir: &Path) -> Result<(), DataError> {
    let there = FILES.iter().map(|name| dir.join(name)).find(|path| path.exists());
    match there {
        Some(path) if !is_half_named(dir) => Err(DataError::SetExists { path }),
        _ => Ok(()),
    }
}

/// Whether a process was killed while renaming the files.
fn is_half_named(dir: &Path) -> bool {
    dir.join(NAMING).exists() && !dir.join(TRAIN).exists()
}

/// How many of a piece's tokens stand for the first `n_char` of its `all` characters: those that begin before the next
/// one. If tokens have no text of their own, scales by the counts.
fn tokens_of_chars(ids: &[u32], n_char: u64, all: u64, tokenizer: &Tokenizer) -> u64 {
    let (mut begun, mut n_before) = (0, None);
    for (i, &id) in ids.iter().enumerate() {
        let bytes = tokenizer.bytes_of(id);
        let is_inner = |byte: &u8| byte & 0xc0 == 0x80;
        let is_before = begun < n_char || begun == n_char && bytes.first().is_some_and(is_inner);
        if !is_before && n_before.is_none() {
            n_before = Some(wide(i));
        }
        begun += wide(bytes.iter().filter(|byte| !is_inner(byte)).count());
    }
    if begun == all {
        return n_before.unwrap_or(wide(ids.len()));
    }
    narrow_share(n_char, wide(ids.len()), all)
}

fn narrow_share(n_char: u64, n_token: u64, all: u64) -> u64 {
    // in u128, because a product of two counts may exceed 64 bits
    u64::try_from(u128::from(n_char) * u128::from(n_token) / u128::from(all.max(1))).unwrap_or(n_token)
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> DataError {
    let name = path.display().to_string();
    move |source| DataError::Unwritable { name: name.clone(), source }
}
