//! Linear layers with what comes before or after them in the same kernel.

use super::strided::Epilogue;
use super::{Matmul, Product};
use crate::kernel::Dispatch;
use crate::ops::{Backward, Cost, Dest, Gelu, GeluBackward, Io, LowerCtx, Op, OutSpec, Rerun, Residual, ShapeError};
use crate::reference;
use crate::tensor::{Shape, TensorId, TensorSpec};

/// Floating-point operations of GELU and of its derivative, per element.
const GELU_FLOPS: u64 = 10;
const GELU_GRADIENT_FLOPS: u64 = 20;

/// x times a weight stored (in, out).
const FORWARD: Matmul = Matmul { trans_a: false, trans_b: false };
/// The gradient of the result times the weight, transposed.
const DATA: Matmul = Matmul { trans_a: false, trans_b: true };
/// x, transposed, times the gradient of the result.
const WEIGHT: Matmul = Matmul { trans_a: true, trans_b: false };

/// A linear layer of GELU, of which both sides are there, or whose result is added to a residual stream; or both.
///
/// With `of_gelu` its first two inputs are what GELU was taken of, and GELU of it: then backward gives the gradient of the
/// former, in the kernel of one product, and none of the latter.
///
/// Shapes: x, and with `of_gelu` before it GELU's input (.., K); weight (K, N); with `residual` the stream (.., N); bias (N),
/// optional; out (.., N).
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// x is GELU of the input before it.
    pub of_gelu: bool,
    /// The input behind the weight is added.
    pub residual: bool,
}

/// A linear layer and GELU of its result.
///
/// Shapes: x (.., K); weight (K, N); bias (N), optional; pre, where it is kept, and out (.., N).
#[derive(Debug, Clone, Copy)]
pub struct LinearGelu {
    /// The first output is the layer's result, which the backward pass needs; else GELU of it is the only one.
    pub keeps: bool,
}

/// The gradient of [`Linear`] with respect to what GELU was taken of: `(dout weight^T) gelu'(pre)`.
///
/// Shapes: dout (.., N); weight (K, N); pre, dpre (.., K).
#[derive(Debug, Clone, Copy)]
pub struct LinearGeluBackward;

/// The gradients of a linear layer's weight and bias: `x^T dout`, and the column sums of dout.
///
/// Shapes: x (.., K); dout (.., N); dweight (K, N); dbias (N).
#[derive(Debug, Clone, Copy)]
pub struct LinearBackwardParams;

/// Appends the gradients of weight and bias, inputs of these indices, where they are wanted.
pub(super) fn param_gradients(
    tape: &mut dyn Backward,
    x: TensorId,
    dout: TensorId,
    [weight, bias]: [usize; 2],
) -> Result<(), ShapeError> {
    let done = match [weight, bias].map(|i| tape.wants(i)) {
        [false, false] => return Ok(()),
        [true, false] => tape.apply(Box::new(WEIGHT), &[x, dout], &[Dest::Grad(weight)]),
        [true, true] => tape.apply(Box::new(LinearBackwardParams), &[x, dout], &[Dest::Grad(weight), Dest::Grad(bias)]),
        [false, true] => tape.apply(Box::new(crate::ops::ColumnSum), &[dout], &[Dest::Grad(bias)]),
    };
    done.map(drop)
}

impl Linear {
    /// Where x is; the weight comes next.
    fn x(self) -> usize {
        usize::from(self.of_gelu)
    }

    /// Where the bias is, if there is one.
    fn bias(self) -> usize {
        self.x() + 2 + usize::from(self.residual)
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "matmul_linear"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let x = self.x();
        let shape = FORWARD.out_shape(inputs[x].shape, inputs[x + 1].shape, inputs.get(self.bias()))?;
        if self.of_gelu {
            ShapeError::check(self.name(), "shape of GELU's input", inputs[x].shape, inputs[0].shape)?;
        }
        if self.residual {
            ShapeError::check(self.name(), "shape of the residual", shape, inputs[x + 2].shape)?;
        }
        Ok(vec![OutSpec::f32("out", shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let x = self.x();
        let bias = (io.inputs.len() > self.bias()).then(|| io.input(self.bias()));
        let epilogue = if self.residual { Epilogue::Residual(io.input(x + 2)) } else { Epilogue::None };
        Product { bias, epilogue, ..FORWARD.product(io, [x, x + 1], self.cost(io)) }.dispatches(ctx)
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (x, bias) = (self.x(), inputs.get(self.bias()).copied());
        let out = FORWARD.in_f64((inputs[x], shapes[x]), (inputs[x + 1], shapes[x + 1]), bias);
        vec![if self.residual { reference::residual::forward(inputs[x + 2], &out) } else { out }]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let x = self.x();
        let n_out = io.shape_out(0).numel();
        // GELU's input is for the backward pass
        let unread = if self.of_gelu { io.specs[io.inputs[0].0].bytes() } else { 0 };
        let sums = if self.residual { n_out } else { 0 };
        Cost { flops: 2 * n_out * io.shape_in(x).n_col() + sums, bytes: io.bytes() - unread }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let (dout, x) = (tape.dout(0)?, self.x());
        let gradients = |tape: &mut dyn Backward| -> Result<(), ShapeError> {
            let weight = tape.input(x + 1);
            if tape.wants(0) && self.of_gelu {
                let inputs = [dout, weight, tape.input(0)];
                tape.apply(Box::new(LinearGeluBackward), &inputs, &[Dest::Grad(0)])?;
            } else if tape.wants(0) {
                tape.apply(Box::new(DATA), &[dout, weight], &[Dest::Grad(0)])?;
            }
            let operand = tape.input(x);
            param_gradients(tape, operand, dout, [x + 1, self.bias()])?;
            if self.residual && tape.wants(x + 2) { tape.pass(x + 2, dout) } else { Ok(()) }
        };
        Some(gradients(tape))
    }
}

impl Op for LinearGelu {
    fn name(&self) -> &'static str {
        "matmul_gelu"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = FORWARD.out_shape(inputs[0].shape, inputs[1].shape, inputs.get(2))?;
        let names: &[&str] = if self.keeps { &["pre", "out"] } else { &["out"] };
        Ok(names.iter().map(|name| OutSpec::f32(name, shape)).collect())
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let bias = (io.inputs.len() > 2).then(|| io.input(2));
        // one more large kernel costs a software device memory and time to load, and gains nothing there
        if let (true, true, None, [pre, out]) = (self.keeps, ctx.caps.is_cpu, ctx.choice.pinned("matmul"), io.outputs) {
            let mut dispatches = Product { bias, ..FORWARD.product(io, [0, 1], self.cost(io)) }.dispatches(ctx);
            let gelu = Io { inputs: &[*pre], outputs: &[*out], accumulate: &[false], specs: io.specs };
            dispatches.extend(Gelu.lower(&gelu, ctx));
            return dispatches;
        }
        let epilogue = if self.keeps { Epilogue::GeluBeside(io.output(1)) } else { Epilogue::Gelu };
        Product { bias, epilogue, ..FORWARD.product(io, [0, 1], self.cost(io)) }.dispatches(ctx)
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let pre = FORWARD.in_f64((inputs[0], shapes[0]), (inputs[1], shapes[1]), inputs.get(2).copied());
        let out = reference::gelu::forward(&pre);
        if self.keeps { vec![pre, out] } else { vec![out] }
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * (2 * io.shape_in(0).n_col() + GELU_FLOPS), bytes: io.bytes() }
    }

    /// GELU's kernel gives the same bits.
    fn rerun(&self, io: &Io<'_>) -> Option<Rerun> {
        let [pre, out] = *io.outputs else { return None };
        Some(Rerun { op: Box::new(Gelu), inputs: vec![pre], outputs: vec![out] })
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        if !self.keeps {
            return None;
        }
        let (dpre, dout) = (tape.dout(0), tape.dout(1));
        let gradients = |tape: &mut dyn Backward| -> Result<(), ShapeError> {
            // where GELU's output was read by an op that knows nothing of its input
            let pre = tape.output(0);
            let through = match dout {
                Some(dout) => Some(tape.apply(Box::new(GeluBackward), &[dout, pre], &[Dest::Fresh])?[0]),
                None => None,
            };
            let dpre = match (dpre, through) {
                (Some(a), Some(b)) => tape.apply(Box::new(Residual), &[a, b], &[Dest::Fresh])?[0],
                (one, other) => match one.or(other) {
                    Some(dpre) => dpre,
                    None => return Ok(()),
                },
            };
            if tape.wants(0) {
                let weight = tape.input(1);
                tape.apply(Box::new(DATA), &[dpre, weight], &[Dest::Grad(0)])?;
            }
            let x = tape.input(0);
            param_gradients(tape, x, dpre, [1, 2])
        };
        Some(gradients(tape))
    }
}

impl Op for LinearGeluBackward {
    fn name(&self) -> &'static str {
        "matmul_gelu_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = DATA.out_shape(inputs[0].shape, inputs[1].shape, None)?;
        ShapeError::check(self.name(), "shape of pre", shape, inputs[2].shape)?;
        Ok(vec![OutSpec::f32("dpre", shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let epilogue = Epilogue::GeluGradient(io.input(2));
        Product { epilogue, ..DATA.product(io, [0, 1], self.cost(io)) }.dispatches(ctx)
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dout = DATA.in_f64((inputs[0], shapes[0]), (inputs[1], shapes[1]), None);
        vec![reference::gelu::backward(&dout, inputs[2])]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let per_element = 2 * io.shape_in(0).n_col() + GELU_GRADIENT_FLOPS;
        Cost { flops: io.shape_out(0).numel() * per_element, bytes: io.bytes() }
    }
}

impl Op for LinearBackwardParams {
    fn name(&self) -> &'static str {
        "matmul_params"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = WEIGHT.out_shape(inputs[0].shape, inputs[1].shape, None)?;
        Ok(vec![OutSpec::f32("dweight", shape), OutSpec::f32("dbias", Shape::new(&[shape.n_col()]))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let epilogue = Epilogue::ColumnSums { into: io.output(1), add: io.adds(1) };
        Product { epilogue, ..WEIGHT.product(io, [0, 1], self.cost(io)) }.dispatches(ctx)
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dweight = WEIGHT.in_f64((inputs[0], shapes[0]), (inputs[1], shapes[1]), None);
        let [n_row, n_col] = [shapes[1].n_row(), shapes[1].n_col()].map(crate::ops::to_usize);
        vec![dweight, reference::column_sum::forward(inputs[1], n_row, n_col)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let (n_weight, dout) = (io.shape_out(0).numel(), io.shape_in(1));
        Cost { flops: 2 * n_weight * dout.n_row() + dout.numel(), bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}
