use std::fmt;

/// The extent of each axis of a tensor, slowest axis first; at most four axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u64; Self::MAX_RANK],
    rank: usize,
}

/// A shape whose element count doesn't fit in `u64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shape {0:?} has more than 2^64 elements; make the model or the batch smaller")]
pub struct ShapeOverflow(pub [u64; Shape::MAX_RANK]);

impl Shape {
    /// The maximum number of axes.
    pub const MAX_RANK: usize = 4;

    /// Makes a shape from its axes, slowest first.
    ///
    /// # Panics
    ///
    /// If there are more than [`Shape::MAX_RANK`] axes or the element count exceeds `u64`; [`Shape::checked`] reports
    /// the latter.
    pub fn new(dims: &[u64]) -> Self {
        match Self::checked(dims) {
            Ok(shape) => shape,
            Err(error) => panic!("{error}"),
        }
    }

    /// Makes a shape from its axes.
    ///
    /// # Errors
    ///
    /// [`ShapeOverflow`] if the element count doesn't fit in `u64`.
    pub fn checked(dims: &[u64]) -> Result<Self, ShapeOverflow> {
        assert!(dims.len() <= Self::MAX_RANK, "a tensor has at most {} axes", Self::MAX_RANK);
        let mut padded = [1; Self::MAX_RANK];
        padded[..dims.len()].copy_from_slice(dims);
        dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or(ShapeOverflow(padded))?;
        Ok(Self { dims: padded, rank: dims.len() })
    }

    /// The axes, slowest first.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.rank]
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of elements.
    pub fn numel(&self) -> u64 {
        self.dims().iter().product()
    }

    /// The extent of the fastest axis (1 for a scalar): the row length.
    pub fn n_col(&self) -> u64 {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The number of rows of length [`Shape::n_col`].
    pub fn n_row(&self) -> u64 {
        self.dims().iter().rev().skip(1).product()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.dims().iter().map(u64::to_string).collect();
        write!(f, "({})", dims.join(", "))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
