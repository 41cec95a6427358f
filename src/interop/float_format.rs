use half::{bf16, f16};
use safetensors::Dtype;

/// A format of floating-point numbers that models are kept in, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// Rounded to f32 where it is read.
    F64,
    F32,
    F16,
    Bf16,
}

impl Number {
    /// That of a safetensors file, where it is one of these.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 => Some(Self::F64),
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Bytes of a number.
    pub fn width(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Puts the numbers that bytes stand for in the place of `values`.
    pub fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        values.clear();
        match self {
            Self::F64 => values.extend(bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32)),
            Self::F32 => values.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            Self::F16 => values.extend(bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
            Self::Bf16 => values.extend(bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32())),
        }
    }
}
