//! A tensor in a file: where its numbers are.

use super::float_format::Number;

/// How a tensor is stored in a file.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    /// The format of its numbers, or the name of an unsupported one.
    pub number: Result<Number, String>,
    pub shape: Vec<u64>,
    /// The distance from an element to the next in each dimension. Units: elements.
    pub strides: Vec<u64>,
    /// Units: bytes from the start of the file.
    pub start: u64,
}

impl Saved {
    /// The strides of a row-major tensor.
    pub fn dense(shape: &[u64]) -> Vec<u64> {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = shape[i].saturating_mul(strides[i]);
        }
        strides
    }

    pub fn is_dense(&self) -> bool {
        let dense = Self::dense(&self.shape);
        self.shape.iter().zip(self.strides.iter().zip(dense)).all(|(&n, (&stride, dense))| n == 1 || stride == dense)
    }

    /// Elements from the first to the last, inclusive; `None` if that overflows.
    pub fn span(&self) -> Option<u64> {
        let steps = self.shape.iter().zip(&self.strides);
        let mut last = steps.map(|(n, stride)| n.saturating_sub(1).checked_mul(*stride));
        last.try_fold(1u64, |sum, step| sum.checked_add(step?))
    }
}
