//! The headers of token files.

use super::layout::Layout;
use super::npy;
use super::width::Width;
use crate::units;

/// Units: bytes of the header of a file in llm.c's format: 256 numbers.
const HEADER_BYTES: u64 = 1024;

/// Magic numbers of llm.c's files: their dates. Read as two 16-bit tokens, no file of GPT-2's ids begins with one.
const DATES: std::ops::RangeInclusive<u32> = 20_240_101..=20_241_231;
const TOKENS_16: u32 = 20_240_520;
const TOKENS_32: u32 = 20_240_801;
/// Magic numbers of llm.c's other files.
const OTHERS: [(u32, &str); 4] = [
    (20_240_326, "a model"),
    (20_240_327, "the golden state of a model"),
    (20_240_328, "a tokenizer"),
    (20_240_522, "questions with several answers"),
];

fn is_known(magic: u32) -> bool {
    [TOKENS_16, TOKENS_32].contains(&magic) || OTHERS.iter().any(|(known, _)| *known == magic)
}

impl Layout {
    /// Units: bytes of a file that [`Layout::of`] looks at.
    pub const HEAD_BYTES: usize = HEADER_BYTES as usize;

    /// The layout of a file of `n_bytes` bytes that begins with `head`: its first [`Layout::HEAD_BYTES`], or all of it.
    /// Unless a header gives their width, tokens have the requested one, or 16 bits.
    ///
    /// # Errors
    ///
    /// What is wrong with the file and what to do, worded to follow its name.
    pub fn of(head: &[u8], n_bytes: u64, asked: Option<Width>) -> Result<Layout, String> {
        let number = |i: usize| head.get(4 * i..4 * i + 4)?.try_into().ok().map(u32::from_le_bytes);
        let magic = number(0).filter(|magic| DATES.contains(magic) && asked.is_none_or(|asked| asked.bytes() > 1));
        let layout = if npy::is_npy(head) {
            npy::layout(head, n_bytes)?
        } else if let Some(magic) = magic {
            Layout::of_llmc(magic, number(1), number(2), n_bytes)?
        } else if number(0).is_some_and(|magic| is_known(magic.swap_bytes())) {
            return Err("has a big-endian header of llm.c: write the file again with little-endian numbers".into());
        } else {
            let width = asked.unwrap_or(Width::Two);
            if !n_bytes.is_multiple_of(width.bytes()) && n_bytes > width.bytes() {
                return Err(format!(
                    "has {}, not a multiple of {width}-bit tokens: it is truncated or not a token file; create it again",
                    units::count(n_bytes, "byte")
                ));
            }
            Layout { start: 0, width, n_token: n_bytes / width.bytes() }
        };
        if layout.n_token == 0 {
            return Err("holds no tokens: give another file".into());
        }
        match asked {
            Some(asked) if asked != layout.width => {
                Err(format!("has {}-bit tokens according to its header: leave out --token-width {asked}", layout.width))
            }
            _ => Ok(layout),
        }
    }

    fn of_llmc(magic: u32, version: Option<u32>, count: Option<u32>, n_bytes: u64) -> Result<Layout, String> {
        let (width, known) = match magic {
            TOKENS_16 => (Width::Two, 1),
            TOKENS_32 => (Width::Four, 7),
            _ => {
                let other = OTHERS.iter().find(|(known, _)| *known == magic);
                let holds = other.map_or("something unknown", |(_, what)| what);
                return Err(format!(
                    "has llm.c's magic number {magic} of {holds}: give token files, whose number is {TOKENS_16} or {TOKENS_32}"
                ));
            }
        };
        let (Some(version), Some(count), true) = (version, count, n_bytes >= HEADER_BYTES) else {
            return Err(format!("ends within its header of {HEADER_BYTES} bytes: it is truncated; create it again"));
        };
        if version != known {
            return Err(format!(
                "is version {version} of llm.c's token files with magic number {magic}, but tril reads version {known}: convert it"
            ));
        }
        let (n_token, rest) = (u64::from(count), n_bytes - HEADER_BYTES);
        if n_token * width.bytes() != rest {
            let fits = |other: &Width| n_token > 0 && n_token.checked_mul(other.bytes()) == Some(rest);
            let advice = match Width::ALL.into_iter().find(fits) {
                Some(other) => format!("these look like {other}-bit ids; write them as {width}-bit ones"),
                None => "it is truncated or damaged; create it again".into(),
            };
            return Err(format!(
                "declares {} of {width} bits in its header, but has {} for them: {advice}",
                units::count(n_token, "token"),
                units::count(rest, "byte")
            ));
        }
        Ok(Layout { start: HEADER_BYTES, width, n_token })
    }

    /// The header in llm.c's format, for `n_token` tokens of a width.
    pub fn header(width: Width, n_token: u32) -> Vec<u8> {
        let (magic, version) = match width {
            Width::One | Width::Two => (TOKENS_16, 1),
            Width::Four | Width::Eight => (TOKENS_32, 7),
        };
        let mut header: Vec<u8> = [magic, version, n_token].into_iter().flat_map(u32::to_le_bytes).collect();
        header.resize(Layout::HEAD_BYTES, 0);
        header
    }

    /// Whether a file that begins with these bytes declares its own format.
    pub(super) fn has_header(head: &[u8]) -> bool {
        let magic = head.first_chunk().map(|&magic| u32::from_le_bytes(magic));
        npy::is_npy(head) || magic.is_some_and(|magic| DATES.contains(&magic) || is_known(magic.swap_bytes()))
    }

    /// Whether a file that begins with these bytes is a token file in llm.c's format, valid or not.
    pub fn is_llmc(head: &[u8]) -> bool {
        [TOKENS_16, TOKENS_32].iter().any(|magic| head.starts_with(&magic.to_le_bytes()))
    }
}
