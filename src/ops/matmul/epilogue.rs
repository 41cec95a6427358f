//! What a matrix product's kernel does besides the product.

use crate::kernel::{Ro, Rw};
use crate::ops::OutSpec;
use crate::tensor::Shape;

/// Work fused into a matrix product's kernel (its epilogue): that of the op that follows, or of one that reads the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// Out is GELU of the product.
    Gelu,
    /// Out is the product, which the backward pass needs; second is GELU of it.
    GeluKeepInput,
    /// Out is the product times GELU's derivative at a third input: the gradient with respect to GELU's input.
    GeluGradient,
    /// A third input is added to the product.
    Residual,
    /// Out is the product; second holds the sums of b's columns: the gradients of a linear layer's weight and bias.
    ColumnSums,
}

impl Epilogue {
    /// Whether it has an input between b and the bias.
    pub(super) fn reads_other(self) -> bool {
        matches!(self, Self::GeluGradient | Self::Residual)
    }

    /// Whether it has a second output.
    pub(super) fn writes_second(self) -> bool {
        matches!(self, Self::GeluKeepInput | Self::ColumnSums)
    }

    /// The tensor bound in place of a second output if there is none.
    pub(super) fn stand_in(self) -> Option<OutSpec> {
        (!self.writes_second()).then(|| OutSpec::scratch("unused", Shape::new(&[4])))
    }
}

/// The epilogue of `matmul_tiled4_fused`.
#[derive(Debug, Clone, Copy)]
pub(super) struct EpilogueCall {
    pub then: Epilogue,
    /// The second output, or its stand-in. It has the layout of out, except for column sums.
    pub second: Rw,
    /// The third input, with the layout of out.
    pub other: Option<Ro>,
    /// Whether column sums are added to existing values.
    pub add: bool,
    /// Index in `second` where the column sums of a batch begin.
    pub first_sum: u64,
}

impl EpilogueCall {
    /// The epilogue of the part of a product with some rows of out, of `n` elements each, and some terms; `None` if it
    /// belongs to another part.
    pub(super) fn of_part(self, n: u64, (m0, m): (u64, u64), k0: u64, is_last: bool) -> Option<Self> {
        let (start, len) = (m0 * n, m * n);
        let part = match self.then {
            Epilogue::ColumnSums => Self { add: self.add || k0 > 0, ..self },
            Epilogue::GeluKeepInput => Self { second: self.second.slice(start, len), ..self },
            Epilogue::Gelu | Epilogue::GeluGradient | Epilogue::Residual => {
                Self { other: self.other.map(|other| other.slice(start, len)), ..self }
            }
        };
        // only the last part of a sum gets an epilogue; column sums are taken once, as each row of tiles would sum the
        // same columns
        (if self.then == Epilogue::ColumnSums { m0 == 0 } else { is_last }).then_some(part)
    }

    pub(super) fn mode(self) -> u32 {
        match self.then {
            Epilogue::Gelu => 1,
            Epilogue::GeluKeepInput => 2,
            Epilogue::GeluGradient => 3,
            Epilogue::Residual => 4,
            Epilogue::ColumnSums => 5 + u32::from(self.add),
        }
    }
}
