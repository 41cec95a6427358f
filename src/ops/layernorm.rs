use super::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{
    Dispatch, column_sum_total_forward as stage2, groups_1d, groups_rows, layernorm_backward,
    layernorm_backward_weight as stage1, layernorm_forward,
};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// Layer norm over the last axis, with a weight and, where a third input is given, a bias.
///
/// Shapes: inp, out (.., C); weight, bias (C); mean, rstd (N) with N the number of rows.
/// Source: Ba, Kiros and Hinton 2016, "Layer Normalization", section 3.
#[derive(Debug, Clone, Copy)]
pub struct Layernorm {
    /// Added to the variance.
    pub eps: f32,
}

/// The gradient of [`Layernorm`] with respect to its input.
///
/// Shapes: dout, inp, dinp (.., C); weight (C); mean, rstd (N).
#[derive(Debug, Clone, Copy)]
pub struct LayernormBackward;

/// The gradient of [`Layernorm`] with respect to its weight.
///
/// Shapes: dout, inp (.., C); mean, rstd (N); dweight (C).
#[derive(Debug, Clone, Copy)]
pub struct LayernormBackwardWeight;

/// The gradient of [`Layernorm`] with respect to its bias: the sum of the rows of dout.
///
/// Shapes: dout (.., C); dbias (C).
#[derive(Debug, Clone, Copy)]
pub struct LayernormBackwardBias;

impl Op for Layernorm {
    fn name(&self) -> &'static str {
        "layernorm"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[0].shape;
        for (input, what) in inputs[1..].iter().zip(["shape of weight", "shape of bias"]) {
            ShapeError::check("layernorm", what, Shape::new(&[shape.n_col()]), input.shape)?;
        }
        let rows = Shape::new(&[shape.n_row()]);
        Ok(vec![OutSpec::f32("out", shape), OutSpec::f32("mean", rows), OutSpec::f32("rstd", rows)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        use layernorm_forward as k;
        let variant = ctx.variant(&k::DEF);
        let tune = k::tune(variant);
        let shape = io.shape_in(0);
        let has_bias = io.inputs.len() > 2;
        let dispatch = |(start, len): (u64, u64)| {
            let n_col = shape.n_col();
            let bind = k::Bind {
                out: io.output(0).slice(start * n_col, len * n_col),
                mean: io.output(1).slice(start, len),
                rstd: io.output(2).slice(start, len),
                inp: io.input(0).slice(start * n_col, len * n_col),
                weight: io.input(1),
                // without a bias the weight stands in and isn't read as one
                bias: io.input(if has_bias { 2 } else { 1 }),
            };
            let params = k::Params { n_row: super::to_u32(len), n_col: super::to_u32(n_col), eps: self.eps };
            k::dispatch(variant, bind, k::Mode { bias: has_bias }, params, groups_rows(len, tune.wg / tune.lanes))
        };
        ctx.row_ranges(shape.n_row(), shape.n_col()).into_iter().map(dispatch).collect()
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        let bias = inputs.get(2).copied();
        let (out, mean, rstd) =
            reference::layernorm::forward(inputs[0], inputs[1], bias, n_row, n_col, self.eps.into());
        vec![out, mean, rstd]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * 8, bytes: io.bytes() }
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        Some(gradients(tape, dout))
    }
}

fn gradients(tape: &mut dyn Backward, dout: crate::tensor::TensorId) -> Result<(), ShapeError> {
    let (inp, weight, mean, rstd) = (tape.input(0), tape.input(1), tape.output(1), tape.output(2));
    if tape.wants(0) {
        tape.apply(Box::new(LayernormBackward), &[dout, inp, weight, mean, rstd], &[Dest::Grad(0)])?;
    }
    if tape.wants(1) {
        tape.apply(Box::new(LayernormBackwardWeight), &[dout, inp, mean, rstd], &[Dest::Grad(1)])?;
    }
    if tape.wants(2) {
        tape.apply(Box::new(LayernormBackwardBias), &[dout], &[Dest::Grad(2)])?;
    }
    Ok(())
}

impl Op for LayernormBackward {
    fn name(&self) -> &'static str {
        "layernorm_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[1].shape;
        ShapeError::check(self.name(), "shape of dout", shape, inputs[0].shape)?;
        ShapeError::check(self.name(), "shape of weight", Shape::new(&[shape.n_col()]), inputs[2].shape)?;
        check_moments(self.name(), shape, &inputs[3..])?;
        Ok(vec![OutSpec::f32("dinp", shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        use layernorm_backward as k;
        let variant = ctx.variant(&k::DEF);
        let tune = k::tune(variant);
        let shape = io.shape_in(0);
        let dispatch = |(start, len): (u64, u64)| {
            let n_col = shape.n_col();
            let bind = k::Bind {
                dinp: io.output(0).slice(start * n_col, len * n_col),
                dout: io.input(0).slice(start * n_col, len * n_col),
                inp: io.input(1).slice(start * n_col, len * n_col),
                weight: io.input(2),
                mean: io.input(3).slice(start, len),
                rstd: io.input(4).slice(start, len),
            };
            let params = k::Params { n_row: super::to_u32(len), n_col: super::to_u32(n_col) };
            k::dispatch(variant, bind, k::Mode { add: io.adds(0) }, params, groups_rows(len, tune.wg / tune.lanes))
        };
        ctx.row_ranges(shape.n_row(), shape.n_col()).into_iter().map(dispatch).collect()
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        let [dout, inp, weight, mean, rstd] = [inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]];
        let (dinp, ..) = reference::layernorm::backward_from(dout, inp, weight, mean, rstd, n_row, n_col);
        vec![dinp]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * 12, bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}

impl Op for LayernormBackwardWeight {
    fn name(&self) -> &'static str {
        "layernorm_backward_weight"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[1].shape;
        ShapeError::check(self.name(), "shape of dout", shape, inputs[0].shape)?;
        check_moments(self.name(), shape, &inputs[2..])?;
        Ok(column_outputs("dweight", shape))
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        two_stages(io, ctx, stage1::Mode { bias: false })
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        let [dout, inp, mean, rstd] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let ones = vec![1.0; n_col];
        let (_, dweight, _) = reference::layernorm::backward_from(dout, inp, &ones, mean, rstd, n_row, n_col);
        vec![dweight]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_in(0).numel() * 4, bytes: io.bytes() }
    }

    fn accumulates(&self, output: usize) -> bool {
        output == 0
    }
}

impl Op for LayernormBackwardBias {
    fn name(&self) -> &'static str {
        "layernorm_backward_bias"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        Ok(column_outputs("dbias", inputs[0].shape))
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        two_stages(io, ctx, stage1::Mode { bias: true })
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        vec![reference::column_sum::forward(inputs[0], n_row, n_col)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_in(0).numel(), bytes: io.bytes() }
    }

    fn accumulates(&self, output: usize) -> bool {
        output == 0
    }
}

/// Rows that the first stage adds up in one invocation; `row_ranges` splits at multiples of it.
const CHUNK: u64 = 32;

fn column_outputs(name: &'static str, shape: Shape) -> Vec<OutSpec> {
    let partials = Shape::new(&[shape.n_row().div_ceil(CHUNK), shape.n_col()]);
    vec![OutSpec::f32(name, Shape::new(&[shape.n_col()])), OutSpec::scratch("partials", partials)]
}

fn two_stages(io: &Io<'_>, ctx: &LowerCtx<'_>, mode: stage1::Mode) -> Vec<Dispatch> {
    let (n_row, n_col) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
    let variant = ctx.variant(&stage1::DEF);
    let first = |(start, len): (u64, u64)| {
        let dout = io.input(0).slice(start * n_col, len * n_col);
        let bind = if mode.bias {
            // the inputs that only the weight's gradient needs
            stage1::Bind { partials: io.output(1), dout, inp: dout, mean: dout, rstd: dout }
        } else {
            stage1::Bind {
                partials: io.output(1),
                dout,
                inp: io.input(1).slice(start * n_col, len * n_col),
                mean: io.input(2).slice(start, len),
                rstd: io.input(3).slice(start, len),
            }
        };
        let params = stage1::Params {
            n_row: super::to_u32(len),
            n_col: super::to_u32(n_col),
            first_chunk: super::to_u32(start / CHUNK),
        };
        let groups = groups_1d(len.div_ceil(CHUNK) * n_col, stage1::tune(variant).wg);
        stage1::dispatch(variant, bind, mode, params, groups)
    };
    let mut dispatches: Vec<Dispatch> = ctx.row_ranges(n_row, n_col).into_iter().map(first).collect();
    let variant = ctx.variant(&stage2::DEF);
    let bind = stage2::Bind { out: io.output(0), parts: io.output(1).read() };
    let params = stage2::Params { n_chunk: super::to_u32(n_row.div_ceil(CHUNK)), n_col: super::to_u32(n_col) };
    let groups = groups_1d(n_col, stage2::tune(variant).wg);
    dispatches.push(stage2::dispatch(variant, bind, stage2::Mode { add: io.adds(0) }, params, groups));
    dispatches
}

fn check_moments(op: &'static str, shape: Shape, moments: &[&TensorSpec]) -> Result<(), ShapeError> {
    let mut named = moments.iter().zip(["shape of mean", "shape of rstd"]);
    named.try_for_each(|(input, what)| ShapeError::check(op, what, Shape::new(&[shape.n_row()]), input.shape))
}

fn rows_cols(shape: Shape) -> (usize, usize) {
    (super::to_usize(shape.n_row()), super::to_usize(shape.n_col()))
}
