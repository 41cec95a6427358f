mod matvec;
mod probe;
mod split;
mod strided;
mod tiles;

pub use matvec::Matvec;
pub use probe::Probe;
pub(crate) use strided::{Layout, Strided};

use super::{Backward, ColumnSum, Cost, Dest, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::Dispatch;
use crate::reference::matmul as reference;
use crate::tensor::{Shape, TensorSpec};

/// The matrix product of two tensors, each taken as rows of its last axis, with an optional bias: a linear layer.
///
/// Shapes: a (.., K), or (K, M) with `trans_a`; b (K, N), or (N, K) with `trans_b`; bias (N); out (.., N), or (M, N) with
/// `trans_a`.
#[derive(Debug, Clone, Copy)]
pub struct Matmul {
    /// A is stored (K, M) instead of (M, K).
    pub trans_a: bool,
    /// B is stored (N, K) instead of (K, N).
    pub trans_b: bool,
}

impl Matmul {
    /// M, N and K by the shapes of a and b.
    fn sizes(self, a: Shape, b: Shape) -> (u64, u64, u64) {
        let (m, k) = if self.trans_a { (a.n_col(), a.n_row()) } else { (a.n_row(), a.n_col()) };
        (m, if self.trans_b { b.n_row() } else { b.n_col() }, k)
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let (a, b) = (inputs[0].shape, inputs[1].shape);
        let (m, n, k) = self.sizes(a, b);
        ShapeError::check("matmul", "terms (K) of b", k, if self.trans_b { b.n_col() } else { b.n_row() })?;
        if let Some(bias) = inputs.get(2) {
            ShapeError::check("matmul", "elements of bias", n, bias.shape.numel())?;
        }
        let shape = if self.trans_a { Shape::checked(&[m, n]) } else { with_n_col(a, n) };
        let too_large = |e| ShapeError::new("matmul", "shape of out", "fewer than 2^64 elements", e);
        let mut outputs = vec![OutSpec::f32("out", shape.map_err(too_large)?)];
        outputs.extend(split::scratch([m, n, k]).filter(|_| self.trans_a && inputs.len() == 2));
        Ok(outputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (m, n, k) = self.sizes(io.shape_in(0), io.shape_in(1));
        let (a_ld, b_ld) = (io.shape_in(0).n_col(), io.shape_in(1).n_col());
        // ranges of an axis, of which each row takes that much of one tensor or of two
        let over_m = ctx.row_ranges_of(m, if self.trans_a { n } else { n.max(k) }, self.cost(io));
        let over_n = if self.trans_b { ctx.row_ranges(n, k) } else { vec![(0, n)] };
        let rows_over_k = if self.trans_a { m } else { 0 }.max(if self.trans_b { 0 } else { n });
        let over_k = ctx.row_ranges(k, rows_over_k);
        let product = |(m0, m): (u64, u64), (n0, n_part): (u64, u64), (k0, k): (u64, u64)| {
            let product = Strided {
                m,
                n: n_part,
                k,
                trans_a: self.trans_a,
                trans_b: self.trans_b,
                add: io.adds(0) || k0 > 0,
                a: Layout { start: if self.trans_a { m0 } else { k0 }, ..Layout::rows(a_ld) },
                b: Layout { start: if self.trans_b { k0 } else { 0 }, ..Layout::rows(b_ld) },
                out: Layout { start: n0, ..Layout::rows(n) },
                n_outer: 1,
                n_inner: 1,
            };
            let (a_row, a_rows) = if self.trans_a { (k0, k) } else { (m0, m) };
            let (b_row, b_rows) = if self.trans_b { (n0, n_part) } else { (k0, k) };
            let out = io.output(0).slice(m0 * n, m * n);
            let a = io.input(0).slice(a_row * a_ld, a_rows * a_ld);
            (product, (out, a, io.input(1).slice(b_row * b_ld, b_rows * b_ld)))
        };
        if let ([over_m], [over_n], [over_k], Some(_)) = (&over_m[..], &over_n[..], &over_k[..], io.outputs.get(1)) {
            let (product, bind) = product(*over_m, *over_n, *over_k);
            if let Some(split) = split::dispatches(&product, ctx, bind, io.output(1)) {
                return split;
            }
        }
        let over_k = over_k.into_iter().flat_map(in_short_sums).collect::<Vec<_>>();
        let mut dispatches = vec![];
        for &over_m in &over_m {
            for &over_n in &over_n {
                for &over_k in &over_k {
                    let (product, (out, a, b)) = product(over_m, over_n, over_k);
                    let bias = (io.inputs.len() > 2 && over_k.0 == 0).then(|| (io.input(2), over_n.0));
                    dispatches.push(product.dispatch(ctx, out, a, b, bias));
                }
            }
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (m, n, k) = self.sizes(shapes[0], shapes[1]);
        let [m, n, k] = [m, n, k].map(super::to_usize);
        let dims = reference::Dims { m, n, k, trans_a: self.trans_a, trans_b: self.trans_b };
        vec![reference::forward(inputs[0], inputs[1], inputs.get(2).copied(), dims)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let (m, n, k) = self.sizes(io.shape_in(0), io.shape_in(1));
        // without the scratch
        Cost { flops: 2 * m * n * k, bytes: Io { outputs: &io.outputs[..1], ..*io }.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }

    /// `da = dout op(b)^T`, `db = op(a)^T dout` and `dbias = column sums of dout`, in the layout that each has.
    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        let (a, b) = (tape.input(0), tape.input(1));
        let mut product = |trans_a: bool, trans_b: bool, inputs: [_; 2], i: usize| {
            if !tape.wants(i) {
                return Ok(());
            }
            tape.apply(Box::new(Matmul { trans_a, trans_b }), &inputs, &[Dest::Grad(i)]).map(|_| ())
        };
        let da = if self.trans_a {
            product(self.trans_b, true, [b, dout], 0)
        } else {
            product(false, !self.trans_b, [dout, b], 0)
        };
        let db = da.and_then(|()| {
            if self.trans_b {
                product(true, self.trans_a, [dout, a], 1)
            } else {
                product(!self.trans_a, false, [a, dout], 1)
            }
        });
        Some(db.and_then(|()| {
            if tape.n_input() > 2 && tape.wants(2) {
                tape.apply(Box::new(ColumnSum), &[dout], &[Dest::Grad(2)])?;
            }
            Ok(())
        }))
    }
}

/// Most terms that are summed one after another: the sums of longer products are partial sums put together, whose rounding
/// errors grow more slowly. Also far from the rounds of a loop that llvmpipe allows.
const MAX_TERMS: u64 = 8192;

/// Splits a range of terms (start, count) into equal ones of at most [`MAX_TERMS`] that start at multiples of 64.
fn in_short_sums((start, len): (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
    let step = len.div_ceil(len.div_ceil(MAX_TERMS).max(1)).next_multiple_of(64).max(64);
    (0..len).step_by(super::to_usize(step)).map(move |k0| (start + k0, step.min(len - k0)))
}

/// The shape with another last axis.
fn with_n_col(shape: Shape, n_col: u64) -> Result<Shape, crate::tensor::ShapeOverflow> {
    let mut dims = shape.dims().to_vec();
    match dims.last_mut() {
        Some(last) => *last = n_col,
        None => dims.push(n_col),
    }
    Shape::checked(&dims)
}
