use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crc32fast::Hasher;

use super::layout::Layout;
use super::width::Width;
use super::zeros::Zeros;

/// Units: bytes that a thread reads at a time. A multiple of every token width, so that no token is split.
const PIECE_BYTES: u64 = 4 << 20;

/// Statistics of a file, from reading every byte of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    pub crc: Hasher,
    /// The highest id.
    pub highest: u64,
    /// Its first position. Units: tokens from the start of the file.
    pub place: u64,
    /// The lowest id.
    pub lowest: u64,
    /// The number of zero tokens, and their longest run.
    pub n_zero: u64,
    pub zeros: Zeros,
    /// All groups of 8 bytes, counted from the first token, as little-endian numbers, OR'ed.
    pub bits: u64,
    /// The statistics of 8-byte and of 4-byte numbers if they are signed.
    pub signed_8: Signed,
    pub signed_4: Signed,
    /// The number of 16-bit words that aren't 0.
    pub n_nonzero: u64,
}

/// Statistics of numbers read as signed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signed {
    /// Groups of 8 bytes as in [`Scan::bits`], with negative numbers as 0.
    pub bits: u64,
    /// The lowest number that is close enough to 0 to be a mark such as -100; 0 if none is negative.
    pub lowest: i64,
}

/// The lowest number that counts as a mark.
const LOWEST_MARK: i64 = -1024;

impl Signed {
    fn take(&mut self, number: i64, bits: u64) {
        let is_mark = (LOWEST_MARK..0).contains(&number);
        self.bits |= if is_mark { 0 } else { bits };
        self.lowest = self.lowest.min(if is_mark { number } else { 0 });
    }

    fn add(&mut self, other: Signed) {
        self.bits |= other.bits;
        self.lowest = self.lowest.min(other.lowest);
    }
}

/// Part of a file, in bytes.
#[derive(Clone, Copy)]
struct Piece {
    file: usize,
    from: u64,
    to: u64,
}

/// Reads every byte of some files, on all cores. They are read, not mapped, so that the process doesn't grow.
///
/// # Errors
///
/// The index of a file that can't be read, and the error.
pub(super) fn scan(files: &[(&Path, Layout)]) -> Result<Vec<Scan>, (usize, io::Error)> {
    let pieces_of = |(file, (_, layout)): (usize, &(&Path, Layout))| {
        let (start, n) = (layout.start, layout.n_token * layout.width.bytes());
        // the header is read with the first piece
        let from = move |i: u64| if i == 0 { 0 } else { start + i * PIECE_BYTES };
        (0..n.div_ceil(PIECE_BYTES)).map(move |i| Piece {
            file,
            from: from(i),
            to: start + n.min((i + 1) * PIECE_BYTES),
        })
    };
    let pieces: Vec<Piece> = files.iter().enumerate().flat_map(pieces_of).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut done, mut bytes) = (vec![], vec![]);
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(&piece) = pieces.get(i) else { return Ok(done) };
            let scanned = scan_piece(files[piece.file], piece, &mut bytes);
            done.push((i, scanned.map_err(|error| (piece.file, error))?));
        }
    };
    let n_thread = thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
    let mut scanned = thread::scope(|scope| {
        let threads: Vec<_> = (0..n_thread).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().expect("a scan doesn't panic"));
        ended.collect::<Result<Vec<_>, _>>().map(|parts| parts.concat())
    })?;
    scanned.sort_unstable_by_key(|&(i, _)| i);
    let mut whole = vec![Scan { lowest: u64::MAX, ..Scan::default() }; files.len()];
    for (i, piece) in scanned {
        let whole = &mut whole[pieces[i].file];
        whole.lowest = whole.lowest.min(piece.lowest);
        whole.n_zero += piece.n_zero;
        whole.zeros.add(&piece.zeros);
        whole.crc.combine(&piece.crc);
        whole.bits |= piece.bits;
        whole.signed_8.add(piece.signed_8);
        whole.signed_4.add(piece.signed_4);
        whole.n_nonzero += piece.n_nonzero;
        if piece.highest > whole.highest {
            (whole.highest, whole.place) = (piece.highest, piece.place);
        }
    }
    Ok(whole)
}

fn scan_piece((path, layout): (&Path, Layout), piece: Piece, bytes: &mut Vec<u8>) -> io::Result<Scan> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(piece.from))?;
    bytes.clear();
    let wanted = piece.to - piece.from;
    if file.take(wanted).read_to_end(bytes)? as u64 != wanted {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was shortened"));
    }
    let mut crc = Hasher::new();
    crc.update(bytes);
    // the header is in memory, so its length fits
    let tokens = if piece.from == 0 { &bytes[layout.start as usize..] } else { &bytes[..] };
    let first = (piece.from.max(layout.start) - layout.start) / layout.width.bytes();
    let scan = match layout.width {
        Width::One => of_tokens(tokens.as_chunks().0, |bytes| u8::from_le_bytes(bytes).into()),
        Width::Two => of_tokens(tokens.as_chunks().0, |bytes| u16::from_le_bytes(bytes).into()),
        Width::Four => of_tokens(tokens.as_chunks().0, |bytes| u32::from_le_bytes(bytes).into()),
        Width::Eight => of_tokens(tokens.as_chunks().0, u64::from_le_bytes),
    };
    let (mut bits, mut signed_8, mut signed_4) = (0, Signed::default(), Signed::default());
    for &eight in tokens.as_chunks().0 {
        let number = u64::from_le_bytes(eight);
        bits |= number;
        signed_8.take(number.cast_signed(), number);
        let (low, high) = (number as u32, (number >> 32) as u32);
        signed_4.take(low.cast_signed().into(), low.into());
        signed_4.take(high.cast_signed().into(), u64::from(high) << 32);
    }
    let n_nonzero = tokens.as_chunks::<2>().0.iter().filter(|&&word| word != [0; 2]).count() as u64;
    Ok(Scan { crc, place: first + scan.place, bits, signed_8, signed_4, n_nonzero, ..scan })
}

/// The statistics of a piece's tokens.
fn of_tokens<const N: usize>(tokens: &[[u8; N]], number: impl Fn([u8; N]) -> u64) -> Scan {
    let highest = tokens.iter().map(|&bytes| number(bytes)).max().unwrap_or(0);
    let lowest = tokens.iter().map(|&bytes| number(bytes)).min().unwrap_or(0);
    let place = tokens.iter().position(|&bytes| number(bytes) == highest).unwrap_or(0) as u64;
    let n_zero = tokens.iter().filter(|&&bytes| bytes == [0; N]).count() as u64;
    Scan { highest, place, lowest, n_zero, zeros: Zeros::of(tokens), ..Scan::default() }
}
