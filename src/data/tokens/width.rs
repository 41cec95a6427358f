use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The size of a token in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub enum Width {
    /// 8 bits.
    One,
    /// 16 bits.
    Two,
    /// 32 bits.
    Four,
    /// 64 bits.
    Eight,
}

impl Width {
    /// All of them.
    pub const ALL: [Width; 4] = [Width::One, Width::Two, Width::Four, Width::Eight];

    /// The width. Units: bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Width::One => 1,
            Width::Two => 2,
            Width::Four => 4,
            Width::Eight => 8,
        }
    }

    /// The width. Units: bits.
    pub fn bits(self) -> u64 {
        8 * self.bytes()
    }

    /// Appends ids to bytes; each must fit.
    pub(in crate::data) fn encode(self, ids: impl Iterator<Item = u32>, bytes: &mut Vec<u8>) {
        let n = usize::try_from(self.bytes()).unwrap_or(size_of::<u64>());
        for id in ids {
            let (low, high) = (u64::from(id).to_le_bytes(), u64::from(id) >> (self.bits() - 1) >> 1);
            assert!(high == 0, "an id of a vocabulary of {} bits", self.bits());
            bytes.extend(&low[..n]);
        }
    }

    /// Decodes ids; [`u32::MAX`] for one that no vocabulary has.
    pub(in crate::data) fn decode(self, bytes: &[u8]) -> Vec<u32> {
        match self {
            Width::One => bytes.iter().map(|&id| id.into()).collect(),
            Width::Two => bytes.as_chunks().0.iter().map(|&id| u16::from_le_bytes(id).into()).collect(),
            Width::Four => bytes.as_chunks().0.iter().map(|&id| u32::from_le_bytes(id)).collect(),
            Width::Eight => {
                let id = |&id| u32::try_from(u64::from_le_bytes(id)).unwrap_or(u32::MAX);
                bytes.as_chunks().0.iter().map(id).collect()
            }
        }
    }

    /// Formats a number of this width as its author meant it: if its highest bit is set, as negative. 8-bit and 16-bit
    /// ids use that bit.
    pub(super) fn shown(self, number: u64) -> String {
        match self {
            Width::One | Width::Two => number.to_string(),
            Width::Four => u32::try_from(number).map_or(number.to_string(), |n| n.cast_signed().to_string()),
            Width::Eight => number.cast_signed().to_string(),
        }
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits().fmt(f)
    }
}

impl FromStr for Width {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let width = text.parse().ok().and_then(|bits: u64| Width::ALL.into_iter().find(|width| width.bits() == bits));
        width.ok_or_else(|| "it must be 8, 16, 32 or 64".into())
    }
}

impl TryFrom<u64> for Width {
    type Error = String;

    fn try_from(bits: u64) -> Result<Self, String> {
        bits.to_string().parse()
    }
}

impl From<Width> for u64 {
    fn from(width: Width) -> u64 {
        width.bits()
    }
}
