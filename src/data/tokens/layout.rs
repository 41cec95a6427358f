/// Bytes in front of the tokens in a file of llm.c: 256 numbers.
const HEADER_BYTES: u64 = 1024;

/// Magic numbers of llm.c's files: its dates. Read as two tokens of nanoGPT, no file of GPT-2's ids begins with one.
const DATES: std::ops::RangeInclusive<u32> = 20_240_101..=20_241_231;
const TOKENS_16: u32 = 20_240_520;
const TOKENS_32: u32 = 20_240_801;
/// Those that hold something else.
const OTHERS: [(u32, &str); 4] = [
    (20_240_326, "a model"),
    (20_240_327, "the golden state of a model"),
    (20_240_328, "a tokenizer"),
    (20_240_522, "questions with several answers"),
];

/// How many bytes a token takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 16 bits.
    Two,
    /// 32 bits.
    Four,
}

impl Width {
    /// Units: bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Width::Two => 2,
            Width::Four => 4,
        }
    }

    /// Appends ids to bytes; each must fit.
    pub(in crate::data) fn encode(self, ids: impl Iterator<Item = u32>, bytes: &mut Vec<u8>) {
        match self {
            Width::Two => ids.for_each(|id| {
                let id = u16::try_from(id).expect("an id of a vocabulary of 16 bits");
                bytes.extend(id.to_le_bytes());
            }),
            Width::Four => ids.for_each(|id| bytes.extend(id.to_le_bytes())),
        }
    }

    /// The ids that bytes hold.
    pub(in crate::data) fn decode(self, bytes: &[u8]) -> Vec<u32> {
        match self {
            Width::Two => bytes.as_chunks().0.iter().map(|&id| u16::from_le_bytes(id).into()).collect(),
            Width::Four => bytes.as_chunks().0.iter().map(|&id| u32::from_le_bytes(id)).collect(),
        }
    }
}

/// Where the tokens of a file lie: little-endian, one after the other, up to its end.
///
/// Source: nanoGPT's `prepare.py` (nothing but 16-bit tokens), llm.c's `data_common.py` (a header, and 16 or 32 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Units: bytes in front of the first token.
    pub start: u64,
    /// Of one token.
    pub width: Width,
    /// Tokens in the file; at least one.
    pub n_token: u64,
}

impl Layout {
    /// Units: how much of a file [`Layout::of`] looks at.
    pub const HEAD_BYTES: usize = HEADER_BYTES as usize;

    /// The layout of a file of `n_bytes` bytes that begins with `head`: its first [`Layout::HEAD_BYTES`], or all there are.
    ///
    /// # Errors
    ///
    /// What is wrong with the file and what to do, to be read behind its name.
    pub fn of(head: &[u8], n_bytes: u64) -> Result<Layout, String> {
        let number = |i: usize| head.get(4 * i..4 * i + 4)?.try_into().ok().map(u32::from_le_bytes);
        let magic = number(0).filter(|magic| DATES.contains(magic));
        let layout = match magic {
            None => Layout { start: 0, width: Width::Two, n_token: n_bytes / 2 },
            Some(magic) => Layout::of_llmc(magic, number(1), number(2), n_bytes)?,
        };
        if layout.n_token == 0 {
            return Err("holds no tokens: give a file that does".into());
        }
        if magic.is_none() && !n_bytes.is_multiple_of(2) {
            return Err(format!(
                "has {n_bytes} bytes, no whole number of 16-bit tokens: it is cut off or no token file, make it again"
            ));
        }
        Ok(layout)
    }

    fn of_llmc(magic: u32, version: Option<u32>, count: Option<u32>, n_bytes: u64) -> Result<Layout, String> {
        let (width, known) = match magic {
            TOKENS_16 => (Width::Two, 1),
            TOKENS_32 => (Width::Four, 7),
            _ => {
                let other = OTHERS.iter().find(|(known, _)| *known == magic);
                let holds = other.map_or("something unknown", |(_, what)| what);
                return Err(format!(
                    "has llm.c's magic number {magic} of {holds}: give token files, with {TOKENS_16} or {TOKENS_32}"
                ));
            }
        };
        let (Some(version), Some(count), true) = (version, count, n_bytes >= HEADER_BYTES) else {
            return Err(format!("ends within its header of {HEADER_BYTES} bytes: it is cut off, make it again"));
        };
        if version != known {
            return Err(format!(
                "is version {version} of llm.c's token files with magic number {magic}, and {known} is known: write it as that"
            ));
        }
        let (n_token, rest) = (u64::from(count), n_bytes - HEADER_BYTES);
        if n_token * width.bytes() != rest {
            let bits = 8 * width.bytes();
            return Err(format!(
                "says {n_token} tokens of {bits} bits and has {rest} bytes for them: it is cut off or damaged, make it again"
            ));
        }
        Ok(Layout { start: HEADER_BYTES, width, n_token })
    }

    /// The first bytes of llm.c's form: a header for `n_token` tokens of a width.
    pub fn header(width: Width, n_token: u32) -> Vec<u8> {
        let (magic, version) = match width {
            Width::Two => (TOKENS_16, 1),
            Width::Four => (TOKENS_32, 7),
        };
        let mut header: Vec<u8> = [magic, version, n_token].into_iter().flat_map(u32::to_le_bytes).collect();
        header.resize(Layout::HEAD_BYTES, 0);
        header
    }

    /// Whether a file that begins with these bytes is one of llm.c's token files, sound or not.
    pub fn is_llmc(head: &[u8]) -> bool {
        [TOKENS_16, TOKENS_32].iter().any(|magic| head.starts_with(&magic.to_le_bytes()))
    }
}
