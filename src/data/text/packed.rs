//! Decompresses files block by block.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Packing {
    Gzip,
    Zstd,
}

/// Limits on decompression: a factor, and a size that is always allowed. Text shrinks to about a tenth when compressed;
/// decompression bombs to a thousandth or less.
pub(in crate::data) const MAX_TIMES: u64 = 100;
pub(in crate::data) const ALWAYS_BYTES: u64 = 4 << 20;

/// The members of a `.gz` or the frames of a `.zst`, one after the other.
pub(in crate::data) struct Unpacked<R: BufRead> {
    packing: Packing,
    part: Part<R>,
    /// Whether one was read to its end.
    has_any: bool,
}

enum Part<R: BufRead> {
    Between(Peeked<R>),
    Gzip(GzDecoder<Peeked<R>>),
    Zstd(Box<StreamingDecoder<Peeked<R>, FrameDecoder>>),
    /// Only during a transition, or after an error.
    Gone,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame has the magic number 0x184d2a50 to 0x184d2a5f, followed by its length.
const SKIP_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];

impl<R: BufRead> Unpacked<R> {
    pub fn new(packing: Packing, file: R) -> Self {
        Self { packing, part: Part::Between(Peeked { front: vec![], at: 0, rest: file }), has_any: false }
    }

    /// Begins the next part; `None` at the end of the file.
    fn next(&mut self, mut file: Peeked<R>) -> io::Result<Option<Part<R>>> {
        loop {
            let head = file.peek(2 * ZSTD_MAGIC.len())?;
            let is_next = match self.packing {
                Packing::Gzip => head.starts_with(&GZIP_MAGIC),
                Packing::Zstd => head.starts_with(&ZSTD_MAGIC),
            };
            if let (Packing::Zstd, &[kind, a, b, c, ref len @ ..]) = (self.packing, head)
                && kind >> 4 == 5
                && [a, b, c] == SKIP_MAGIC
                && let Ok(len) = <[u8; 4]>::try_from(len)
            {
                let len = u64::from(u32::from_le_bytes(len)) + 2 * ZSTD_MAGIC.len() as u64;
                if io::copy(&mut (&mut file).take(len), &mut io::sink())? < len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            // padding, as on tapes; gzip ignores it, too
            if let (Packing::Gzip, true, [0, ..]) = (self.packing, self.has_any, head) {
                return if file.is_zeros()? { Ok(None) } else { Err(trailing()) };
            }
            return match (head, is_next) {
                ([], _) => Ok(None),
                (_, false) if self.has_any => Err(trailing()),
                (_, false) => Err(io::Error::new(io::ErrorKind::InvalidData, NotPacked)),
                _ => Ok(Some(match self.packing {
                    Packing::Gzip => Part::Gzip(GzDecoder::new(file)),
                    Packing::Zstd => Part::Zstd(Box::new(StreamingDecoder::new(file).map_err(bad_zstd)?)),
                })),
            };
        }
    }
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.part, Part::Gone) {
                Part::Gone => return Ok(0),
                Part::Between(file) => match self.next(file)? {
                    None => return Ok(0),
                    Some(part) => self.part = part,
                },
                Part::Gzip(mut member) => match member.read(buffer)? {
                    0 if !buffer.is_empty() => {
                        (self.has_any, self.part) = (true, Part::Between(member.into_inner()));
                    }
                    n => {
                        self.part = Part::Gzip(member);
                        return Ok(n);
                    }
                },
                Part::Zstd(mut frame) => match frame.read(buffer).map_err(bad_zstd)? {
                    0 if !buffer.is_empty() => {
                        (self.has_any, self.part) = (true, Part::Between(frame.into_inner()));
                    }
                    n => {
                        self.part = Part::Zstd(frame);
                        return Ok(n);
                    }
                },
            }
        }
    }
}

/// The error for bytes after the end of a compressed file.
#[derive(Debug, thiserror::Error)]
#[error("other bytes follow the compressed data")]
pub(in crate::data) struct Trailing;

/// The error for a file that doesn't begin as its kind does.
#[derive(Debug, thiserror::Error)]
#[error("it is not compressed")]
pub(in crate::data) struct NotPacked;

/// The crate's own errors are written for programmers.
fn bad_zstd(_: impl std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "invalid zstd data")
}

/// The kind of compressed file that begins like this, as a remark and what to do.
pub(in crate::data) fn packed(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(&GZIP_MAGIC) {
        return Some("is compressed with gzip; decompress it, or give it a name that ends in .gz");
    }
    if head.starts_with(&ZSTD_MAGIC) {
        return Some("is compressed with zstd; decompress it, or give it a name that ends in .zst");
    }
    head.starts_with(b"PK\x03\x04").then_some("is a zip archive; unpack it, and give the texts in it")
}

fn trailing() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Trailing)
}

/// A file whose next bytes can be peeked at.
struct Peeked<R> {
    front: Vec<u8>,
    at: usize,
    rest: R,
}

impl<R: BufRead> Peeked<R> {
    /// The next `n` bytes, or all that there are.
    fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        self.front.drain(..self.at);
        self.at = 0;
        let missing = n.saturating_sub(self.front.len()) as u64;
        (&mut self.rest).take(missing).read_to_end(&mut self.front)?;
        Ok(&self.front[..n.min(self.front.len())])
    }

    /// Whether only zeros follow; reads them all if so.
    fn is_zeros(&mut self) -> io::Result<bool> {
        loop {
            let bytes = self.fill_buf()?;
            let (n, are_zeros) = (bytes.len(), bytes.iter().all(|&byte| byte == 0));
            if n == 0 || !are_zeros {
                return Ok(are_zeros);
            }
            self.consume(n);
        }
    }
}

impl<R: BufRead> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Peeked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.front.len() { Ok(&self.front[self.at..]) } else { self.rest.fill_buf() }
    }

    fn consume(&mut self, n: usize) {
        if self.at < self.front.len() {
            self.at += n;
        } else {
            self.rest.consume(n);
        }
    }
}
