mod epilogue;
mod fused;
mod matvec;
mod probe;
mod product;
mod split;
mod straight;
mod strided;
mod tiles;

pub use epilogue::Epilogue;
pub use fused::Fused;
pub use matvec::Matvec;
pub use probe::Probe;
use product::Product;
pub(crate) use strided::{Layout, Strided};

use super::{Backward, ColumnSum, Cost, Dest, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::Dispatch;
use crate::reference::matmul as reference;
use crate::tensor::{Shape, TensorSpec};

/// The matrix product of two tensors, each viewed as rows of its last axis, with an optional bias: a linear layer.
///
/// Shapes: a (.., K), or (K, M) with `trans_a`; b (K, N), or (N, K) with `trans_b`; bias (N); out (.., N), or (M, N)
/// with `trans_a`.
#[derive(Debug, Clone, Copy)]
pub struct Matmul {
    /// A is stored (K, M) instead of (M, K).
    pub trans_a: bool,
    /// B is stored (N, K) instead of (K, N).
    pub trans_b: bool,
}

impl Matmul {
    /// M, N and K from the shapes of a and b.
    fn sizes(self, a: Shape, b: Shape) -> (u64, u64, u64) {
        let (m, k) = if self.trans_a { (a.n_col(), a.n_row()) } else { (a.n_row(), a.n_col()) };
        (m, if self.trans_b { b.n_row() } else { b.n_col() }, k)
    }

    /// The product of a node's first two inputs into its first output.
    fn product(self, io: &Io<'_>, cost: Cost) -> Product {
        Product {
            op: self,
            size: self.sizes(io.shape_in(0), io.shape_in(1)),
            out: io.output(0),
            a: io.input(0),
            b: io.input(1),
            bias: None,
            add: io.adds(0),
            parts: None,
            epilogue: None,
            cost,
        }
    }

    /// The shape of out, after checks of a, b and the bias.
    fn out_shape(self, a: Shape, b: Shape, bias: Option<&&TensorSpec>) -> Result<Shape, ShapeError> {
        let (m, n, k) = self.sizes(a, b);
        ShapeError::check("matmul", "terms (K) of b", k, if self.trans_b { b.n_col() } else { b.n_row() })?;
        if let Some(bias) = bias {
            ShapeError::check("matmul", "elements of bias", n, bias.shape.numel())?;
        }
        let shape = if self.trans_a { Shape::checked(&[m, n]) } else { with_n_col(a, n) };
        shape.map_err(|e| ShapeError::new("matmul", "shape of out", "fewer than 2^64 elements", e))
    }

    /// The product in f64.
    fn in_f64(self, a: (&[f64], Shape), b: (&[f64], Shape), bias: Option<&[f64]>) -> Vec<f64> {
        let (m, n, k) = self.sizes(a.1, b.1);
        let [m, n, k] = [m, n, k].map(super::to_usize);
        reference::forward(a.0, b.0, bias, reference::Dims { m, n, k, trans_a: self.trans_a, trans_b: self.trans_b })
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let (a, b) = (inputs[0].shape, inputs[1].shape);
        let mut outputs = vec![OutSpec::f32("out", self.out_shape(a, b, inputs.get(2))?)];
        let (m, n, k) = self.sizes(a, b);
        outputs.extend(split::scratch([m, n, k]).filter(|_| self.trans_a && inputs.len() == 2));
        Ok(outputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let bias = (io.inputs.len() > 2).then(|| io.input(2));
        let parts = (io.outputs.len() > 1).then(|| (io.output(1), None));
        Product { bias, parts, ..self.product(io, self.cost(io)) }.dispatches(ctx)
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        vec![self.in_f64((inputs[0], shapes[0]), (inputs[1], shapes[1]), inputs.get(2).copied())]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let (m, n, k) = self.sizes(io.shape_in(0), io.shape_in(1));
        // without the scratch tensors
        Cost { flops: 2 * m * n * k, bytes: Io { outputs: &io.outputs[..1], ..*io }.bytes() }
    }

    fn product_flops(&self, io: &Io<'_>) -> u64 {
        self.cost(io).flops
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }

    /// `da = dout op(b)^T`, `db = op(a)^T dout` and `dbias = column sums of dout`, each in the layout of its operand.
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

/// The shape with its last axis replaced.
fn with_n_col(shape: Shape, n_col: u64) -> Result<Shape, crate::tensor::ShapeOverflow> {
    let mut dims = shape.dims().to_vec();
    match dims.last_mut() {
        Some(last) => *last = n_col,
        None => dims.push(n_col),
    }
    Shape::checked(&dims)
}
