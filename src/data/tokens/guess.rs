//! Guesses what a file holds if it isn't what it seems.
//!
//! Numbers of another width or byte order leave a pattern: every second or fourth 16-bit word is 0, whatever the text.
//! Counts of zeros alone prove nothing, as id 0 may be the most frequent token.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::layout::Layout;
use super::scan::{Scan, Signed};
use super::width::Width;
use crate::units;

/// The likely type of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// Little-endian integers.
    Little(Width),
    /// Big-endian integers.
    Big(Width),
    /// Floating-point numbers.
    Floats(Width),
    /// Little-endian integers, some of them negative, and the lowest.
    Signed(Width, i64),
}

/// The id that PyTorch's losses ignore, and so a common mark for targets to skip.
const PYTORCH_IGNORES: i64 = -100;

/// Describes a negative id.
fn about_negative(id: i64) -> &'static str {
    if id == PYTORCH_IGNORES { "which PyTorch ignores as a target" } else { "which is not an id" }
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guess::Little(width) => write!(f, "{width}-bit ids"),
            Guess::Big(width) => write!(f, "big-endian {width}-bit ids"),
            Guess::Floats(width) => write!(f, "{width}-bit floating-point numbers"),
            Guess::Signed(width, lowest) => {
                write!(f, "{width}-bit ids, some of them negative, down to {lowest}, {}", about_negative(*lowest))
            }
        }
    }
}

impl Guess {
    /// Returns what to do about it.
    pub fn remedy(self) -> String {
        let of = match self {
            Guess::Little(width) => return format!("give --token-width {width}"),
            Guess::Floats(Width::Two) => {
                return "they round ids above 2048, so create the file again with integers".into();
            }
            Guess::Big(width) => format!(">u{}", width.bytes()),
            Guess::Floats(width) => format!("<f{}", width.bytes()),
            Guess::Signed(width, _) => return without_negative(width, 0),
        };
        format!("convert them, as with NumPy: np.fromfile(FILE, '{of}').astype('<u2').tofile(NEW)")
    }

    fn width(self) -> Width {
        let (Guess::Little(width) | Guess::Big(width) | Guess::Floats(width) | Guess::Signed(width, _)) = self;
        width
    }

    /// The numbers in some bytes; `None` for those that can't be ids.
    fn ids(self, bytes: &[u8]) -> impl Iterator<Item = Option<u64>> {
        let whole = |x: f64| (x.fract() == 0.0 && (0.0..MAX_IDS).contains(&x)).then_some(x as u64);
        let n = usize::try_from(self.width().bytes()).unwrap_or(size_of::<u64>());
        bytes.chunks_exact(n).map(move |number| {
            let mut word = [0; size_of::<u64>()];
            match self {
                Guess::Big(_) => word.iter_mut().zip(number.iter().rev()).for_each(|(to, &from)| *to = from),
                _ => word[..n].copy_from_slice(number),
            }
            let word = u64::from_le_bytes(word);
            match self {
                Guess::Floats(Width::Eight) => whole(f64::from_bits(word)),
                Guess::Floats(Width::Two) => whole(half((word & u64::from(u16::MAX)) as u16)),
                Guess::Floats(_) => whole(f32::from_bits((word & u64::from(u32::MAX)) as u32).into()),
                _ => Some(word),
            }
        })
    }

    /// Whether all numbers in some bytes are ids below a limit, and at least `n_other` of them are not 0.
    fn fits(self, bytes: &[u8], limit: u64, n_other: usize) -> bool {
        let mut n_nonzero = 0;
        self.ids(bytes).all(|id| {
            n_nonzero += usize::from(id.is_some_and(|id| id > 0));
            id.is_some_and(|id| id < limit)
        }) && n_nonzero >= n_other
    }
}

/// Returns what to do about negative ids.
fn without_negative(width: Width, start: u64) -> String {
    let header = if start > 0 { format!(", offset={start}") } else { String::new() };
    format!(
        "leave out the negative ones, in NumPy: ids = np.fromfile(FILE, '<i{}'{header}); ids[ids >= 0].astype('<u2').tofile(NEW)",
        width.bytes()
    )
}

/// Returns what to do about an id outside a vocabulary if it is a negative number; for 16-bit files, which have none,
/// if it was converted from one.
pub(super) fn negative_advice(&Layout { width, start, .. }: &Layout, id: u64) -> Option<String> {
    let negative = match width {
        Width::One => return None,
        Width::Two => i64::from(u16::try_from(id).ok()?.cast_signed()),
        Width::Four => i64::from(u32::try_from(id).ok()?.cast_signed()),
        Width::Eight => id.cast_signed(),
    };
    match width {
        Width::Two if [-1, PYTORCH_IGNORES].contains(&negative) => Some(format!(
            "as a signed number it is {negative}, {}: {}",
            about_negative(negative),
            without_negative(width, start)
        )),
        Width::Four | Width::Eight if negative < 0 => {
            Some(format!("it is negative, {}: {}", about_negative(negative), without_negative(width, start)))
        }
        _ => None,
    }
}

/// Decodes a 16-bit float: 5 bits of exponent, 10 of fraction.
///
/// Source: IEEE 754, binary16.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 { size } else { -size }
}

/// A limit above the number of ids that a model may have.
const MAX_IDS: f64 = (1u64 << 18) as f64;

/// The minimum number of values in a pattern: by chance it occurs in less than one of 2^30 files.
const FEWEST: usize = 32;

/// The first bytes of other kinds of files; a file of ids begins with them by a chance of less than one in ten million.
const MAGICS: [(&[u8], &str); 10] = [
    (b"PK\x03\x04", "a zip archive, as PyTorch's and NumPy's .npz are"),
    (b"\x1f\x8b\x08", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"GGUF", "a GGUF model"),
    (b"\x80\x02}", "a Python pickle"),
    (b"\x80\x03]", "a Python pickle"),
    (b"\x80\x04\x95", "a Python pickle"),
];

/// Refuses a file whose beginning, `head`, shows that it is something else.
///
/// # Errors
///
/// What it is and what to do, worded to follow its name.
pub(super) fn check_head(head: &[u8]) -> Result<(), String> {
    if let Some((_, what)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(format!("is {what}, not a file of tokens: give ids as little-endian uint16, one after the other"));
    }
    if is_text(head) {
        return Err(
            "holds text, not tokens: give it a name that ends in .txt, or tokenize it with tril tokenize".into()
        );
    }
    let floats = [Width::Four, Width::Eight].map(Guess::Floats);
    if let Some(guess) = floats.into_iter().find(|guess| guess.fits(head, MAX_IDS as u64, FEWEST)) {
        return Err(contradicts(guess, Width::Two));
    }
    if is_halves(head) {
        return Err(contradicts(Guess::Floats(Width::Two), Width::Two));
    }
    // a 16-bit id has any low byte, or no high one
    let is_filled =
        |first: usize| head.iter().skip(first).step_by(2).filter(|&&byte| byte > 0).count() > head.len() / 4;
    if head.len() >= 2 * FEWEST && head.iter().all(|&byte| byte < 0x80) && is_filled(0) && is_filled(1) {
        return Err(contradicts(Guess::Little(Width::One), Width::Two));
    }
    Ok(())
}

/// Whether bytes are 16-bit floats that hold integers. Few of the words are, but from 1024 on each of a range: so some
/// have to be below.
fn is_halves(head: &[u8]) -> bool {
    const FEWEST_SMALL: usize = 4;
    let guess = Guess::Floats(Width::Two);
    let n_small = guess.ids(head).flatten().filter(|id| (1..1024).contains(id)).count();
    n_small >= FEWEST_SMALL && guess.fits(head, MAX_IDS as u64, FEWEST)
}

/// Whether bytes are printable UTF-8, as far as they go. Ids below 256 have zero bytes, and others any bytes.
fn is_text(head: &[u8]) -> bool {
    const FEWEST_BYTES: usize = 24;
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // a character truncated by the end
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    valid.len() >= FEWEST_BYTES
        && !valid.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c'))
}

/// Refuses a whole file that was never filled, or whose numbers contradict its width, unless that was
/// given explicitly. Returns a warning about what is only odd, worded to follow the file's name.
///
/// # Errors
///
/// What it looks like and what to do, worded to follow its name.
pub(super) fn check_whole(layout: &Layout, scan: &Scan, asked: Option<Width>) -> Result<Option<String>, String> {
    let is_constant = scan.lowest == scan.highest && layout.n_token >= FEWEST as u64;
    if is_constant && scan.highest == 0 {
        return Err("holds only zeros: it was never filled; create it again".into());
    }
    if let Some(guess) = pattern(layout.width, scan).filter(|_| asked.is_none()) {
        return Err(contradicts(guess, layout.width));
    }
    if is_constant {
        let n = units::count(layout.n_token, "time");
        return Err(format!("holds only id {}, {n}: there is nothing to learn; create it again", scan.highest));
    }
    check_zeros(layout.n_token, scan)
}

/// Refuses a file that is largely one run of zeros, as when a file was created with its full size and then not
/// filled to the end. Rows padded with zeros form runs, too, but many of them.
fn check_zeros(n_token: u64, scan: &Scan) -> Result<Option<String>, String> {
    // a short file may end with one padded row
    const FEWEST_ZEROS: u64 = 256;
    const MAX_PERCENT: u64 = 25;
    // longer than most rows
    const ODD_ZEROS: u64 = 4096;
    const ODD_PERCENT: u64 = 1;
    let run = scan.zeros.longest();
    let n = run.end - run.start;
    if n == 0 {
        return Ok(None);
    }
    let is_share = |percent: u64| u128::from(n) * 100 >= u128::from(n_token) * u128::from(percent);
    let is_rare_elsewhere = scan.n_zero - n <= (n_token - n) / 2;
    // counts of tokens are far below 2^53
    let percent = 100.0 * n as f64 / n_token as f64;
    let where_it_is = if run.end == n_token {
        format!("from token {} to its end", run.start)
    } else {
        format!("from token {} to {}", run.start, run.end - 1)
    };
    let what = format!("has only zeros {where_it_is} ({percent:.0} % of it)");
    let cause = "its writing was interrupted, or its space preallocated and not filled";
    if n >= FEWEST_ZEROS && is_share(MAX_PERCENT) && is_rare_elsewhere {
        return Err(format!("{what}: {cause}; create it again, or cut the zeros off"));
    }
    let is_odd = n >= ODD_ZEROS && is_share(ODD_PERCENT);
    Ok(is_odd.then(|| format!("{what}: unless they are padding, {cause}")))
}

fn contradicts(guess: Guess, width: Width) -> String {
    format!(
        "looks like {guess}, not {width}-bit ones: {}, or --token-width {width} if that is what they are",
        guess.remedy()
    )
}

/// Infers the number type from the words of a file.
fn pattern(width: Width, scan: &Scan) -> Option<Guess> {
    if scan.n_nonzero < FEWEST as u64 {
        return None;
    }
    let signed = |of: Width, Signed { bits, lowest }: Signed| {
        let is_it = lowest < 0 && of.bytes() > width.bytes() && pattern_of(width, bits) == Some(Guess::Little(of));
        is_it.then_some(Guess::Signed(of, lowest))
    };
    pattern_of(width, scan.bits)
        .or_else(|| signed(Width::Eight, scan.signed_8))
        .or_else(|| signed(Width::Four, scan.signed_4))
}

/// Infers the number type from the 16-bit words of 8 bytes, each the OR of all words in its position.
fn pattern_of(width: Width, bits: u64) -> Option<Guess> {
    // the largest vocabularies have ids of 18 bits
    const MAX_HIGH: u16 = 3;
    // with this many distinct ids, their low bits fill every second word for certain
    const LOW: u16 = 1 << 12;
    let words: [u16; 4] = std::array::from_fn(|i| (bits >> (16 * i)) as u16);
    let swapped = words.map(u16::swap_bytes);
    let is_high = |i: usize, words: &[u16; 4], low: usize| words[i] == 0 || words[i] <= MAX_HIGH && words[low] >= LOW;
    let little_eight = words[2] == 0 && words[3] == 0 && is_high(1, &words, 0) && words[0] > 0;
    let big_eight = words[0] == 0 && words[1] == 0 && is_high(2, &swapped, 3) && words[3] > 0;
    let little_four = is_high(1, &words, 0) && is_high(3, &words, 2) && words[0] > 0 && words[2] > 0;
    let big_four = is_high(0, &swapped, 1) && is_high(2, &swapped, 3) && words[1] > 0 && words[3] > 0;
    let big_two = words.iter().all(|word| word & 0xff == 0);
    let guess = match width {
        Width::One | Width::Eight => return None,
        _ if little_eight => Guess::Little(Width::Eight),
        _ if big_eight => Guess::Big(Width::Eight),
        Width::Four => return big_four.then_some(Guess::Big(Width::Four)).filter(|_| words[0] == 0 && words[2] == 0),
        Width::Two if little_four => Guess::Little(Width::Four),
        Width::Two if big_four => Guess::Big(Width::Four),
        Width::Two if big_two => Guess::Big(Width::Two),
        Width::Two => return None,
    };
    Some(guess)
}

/// Guesses what a file without a header is whose ids exceed its vocabulary: the only other reading of its beginning whose ids fit, if
/// there is exactly one.
pub(super) fn other_reading(path: &Path, layout: &Layout, vocab_size: u64) -> Option<Guess> {
    const PROBE_BYTES: u64 = 1 << 20;
    if layout.start > 0 {
        // a header names the type
        return None;
    }
    let mut bytes = vec![];
    let read = |bytes: &mut Vec<u8>| -> io::Result<usize> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(layout.start))?;
        file.take(PROBE_BYTES).read_to_end(bytes)
    };
    read(&mut bytes).ok()?;
    let wide = [Width::Two, Width::Four, Width::Eight];
    let little = wide.map(Guess::Little).into_iter().chain((vocab_size <= 128).then_some(Guess::Little(Width::One)));
    let big = [Width::Two, Width::Four, Width::Eight].map(Guess::Big);
    let all = little.chain(big).chain([Width::Two, Width::Four, Width::Eight].map(Guess::Floats));
    let mut fitting =
        all.filter(|guess| *guess != Guess::Little(layout.width) && guess.fits(&bytes, vocab_size, FEWEST));
    fitting.next().filter(|_| fitting.next().is_none())
}
