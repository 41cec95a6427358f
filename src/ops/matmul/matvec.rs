use crate::kernel::{Dispatch, matmul_matvec as k};
use crate::ops::{Cost, Io, LowerCtx, Matmul, Op, OutSpec, ShapeError, to_u32};
use crate::reference::gelu;
use crate::tensor::{Shape, TensorSpec};

/// A linear layer over a few rows, with optional GELU. It reads the matrix once for all of them, where [`Matmul`]'s
/// tiles would be mostly empty. It has no backward rule.
///
/// Shapes: a (.., K); b (K, N), or (N, K) with `trans_b`; bias (N); out (.., N). K is a multiple of 4, and so is N
/// without `trans_b`.
#[derive(Debug, Clone, Copy)]
pub struct Matvec {
    /// B is stored (N, K) instead of (K, N).
    pub trans_b: bool,
    /// Whether to apply GELU to the result.
    pub gelu: bool,
}

impl Matvec {
    /// Maximum rows for which it is faster than the tiles.
    pub const MAX_ROWS: u64 = 16;

    /// Whether it supports this many rows with a weight of this shape, and is faster.
    pub fn suits(self, n_row: u64, weight: Shape) -> bool {
        let (n, k) = self.sizes(weight);
        n_row <= Self::MAX_ROWS && k.is_multiple_of(4) && (self.trans_b || n.is_multiple_of(4))
    }

    fn product(self) -> Matmul {
        Matmul { trans_a: false, trans_b: self.trans_b }
    }

    /// N and K from the shape of b.
    fn sizes(self, b: Shape) -> (u64, u64) {
        if self.trans_b { (b.n_row(), b.n_col()) } else { (b.n_col(), b.n_row()) }
    }
}

impl Op for Matvec {
    fn name(&self) -> &'static str {
        "matmul_matvec"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        if !self.suits(1, inputs[1].shape) {
            let expected = "terms, and without trans_b columns, in multiples of 4";
            return Err(ShapeError::new("matmul_matvec", "shape of b", expected, inputs[1].shape));
        }
        self.product().outputs(inputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let variant = ctx.variant(&k::DEF);
        let tune = k::tune(variant);
        let (a, (n, terms)) = (io.shape_in(0), self.sizes(io.shape_in(1)));
        let m = a.n_row();
        // no more than 4 rows at once: the sums of more would not fit in registers
        let rows = m.next_power_of_two().min(4);
        let per_group = u64::from(tune.wg / tune.slices) * 4;
        // parts of b as (first row, rows): parts of out's columns, or of the terms, where later parts are added
        let parts = ctx.row_ranges(io.shape_in(1).n_row(), io.shape_in(1).n_col());
        let n_part = parts.len();
        let part = |(i, (start, len)): (usize, (u64, u64))| {
            let width = io.shape_in(1).n_col();
            let (n_here, n0) = if self.trans_b { (len, start) } else { (n, 0) };
            let has_bias = io.inputs.len() > 2 && (self.trans_b || i == 0);
            let b = io.input(1).slice(start * width, len * width);
            let bind = k::Bind { out: io.output(0), a: io.input(0), b, bias: if has_bias { io.input(2) } else { b } };
            let params = k::Params {
                m: to_u32(m),
                n: to_u32(n_here),
                k: to_u32(if self.trans_b { terms } else { len }),
                a_ld: to_u32(terms),
                a_start: to_u32(if self.trans_b { 0 } else { start }),
                out_start: to_u32(n0),
                out_ld: to_u32(n),
                bias_start: to_u32(n0),
            };
            let mode = k::Mode {
                trans_b: self.trans_b,
                add: io.adds(0) || !self.trans_b && i > 0,
                bias: has_bias,
                gelu: self.gelu && (self.trans_b || i + 1 == n_part),
                rows: to_u32(rows),
            };
            let groups = [to_u32(n_here.div_ceil(per_group)), to_u32(m.div_ceil(rows)), 1];
            k::dispatch(variant, bind, mode, params, groups)
        };
        parts.into_iter().enumerate().map(part).collect()
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let mut out = self.product().reference(inputs, shapes);
        if self.gelu {
            out = out.iter().map(|values| gelu::forward(values)).collect();
        }
        out
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        self.product().cost(io)
    }

    /// Without GELU only: an existing value would have to be added before GELU.
    fn accumulates(&self, _output: usize) -> bool {
        !self.gelu
    }
}
