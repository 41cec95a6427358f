mod residual;

pub use residual::ResidualLayernorm;

use super::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, Rerun, ShapeError};
use crate::kernel::{
    Dispatch, Ro, Rw, column_sum_total_forward as total, groups_1d, groups_rows, layernorm_backward,
    layernorm_backward_weight as scalar, layernorm_forward, layernorm_vec4_backward,
    layernorm_vec4_backward_params as k4, layernorm_vec4_forward,
};
use crate::reference;
use crate::tensor::{Shape, TensorId, TensorSpec};

/// Layer norm over the last axis, with a weight and, if there is a third input, a bias.
///
/// Shapes: inp, out (.., C); weight, bias (C); mean, rstd (N) with N the number of rows.
/// Source: Ba, Kiros and Hinton 2016, "Layer Normalization", section 3.
#[derive(Debug, Clone, Copy)]
pub struct Layernorm {
    /// Added to the variance.
    pub eps: f64,
}

/// The gradient of [`Layernorm`] with respect to its input. If there is a sixth input, the gradient that bypasses the
/// norm, it is added.
///
/// Shapes: dout, inp, dinp, dsum (.., C); weight (C); mean, rstd (N).
#[derive(Debug, Clone, Copy)]
pub struct LayernormBackward;

/// The gradients of [`Layernorm`] with respect to its weight and, with `bias`, its bias: sums over rows of dout times
/// the normalised rows, and of dout.
///
/// Shapes: dout, inp (.., C); mean, rstd (N); dweight, dbias (C).
#[derive(Debug, Clone, Copy)]
pub struct LayernormBackwardParams {
    /// Whether there is a bias.
    pub bias: bool,
}

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
        let shape = io.shape_in(0);
        let (n_col, has_bias) = (shape.n_col(), io.inputs.len() > 2);
        // without a bias, the weight is bound in its place and not read as such
        let columns = [io.input(1), io.input(if has_bias { 2 } else { 1 })];
        let dispatch = |(start, len): (u64, u64)| {
            let (out, inp) =
                (io.output(0).slice(start * n_col, len * n_col), io.input(0).slice(start * n_col, len * n_col));
            let moments = [io.output(1).slice(start, len), io.output(2).slice(start, len)];
            forward(ctx, self.eps, has_bias, Rows { len, n_col }, out, moments, inp, columns)
        };
        ctx.row_ranges(shape.n_row(), n_col).into_iter().map(dispatch).collect()
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        let bias = inputs.get(2).copied();
        let (out, mean, rstd) = reference::layernorm::forward(inputs[0], inputs[1], bias, n_row, n_col, self.eps);
        vec![out, mean, rstd]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * 8, bytes: io.bytes() }
    }

    fn rerun(&self, io: &Io<'_>) -> Option<Rerun> {
        Some(Rerun { op: Box::new(*self), inputs: io.inputs.to_vec(), outputs: io.outputs.to_vec() })
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        Some(gradients(tape, dout))
    }
}

fn gradients(tape: &mut dyn Backward, dout: TensorId) -> Result<(), ShapeError> {
    let (inp, weight, mean, rstd) = (tape.input(0), tape.input(1), tape.output(1), tape.output(2));
    if tape.wants(0) {
        tape.apply(Box::new(LayernormBackward), &[dout, inp, weight, mean, rstd], &[Dest::Grad(0)])?;
    }
    param_gradients(tape, dout, inp, [1, 2], [mean, rstd])
}

/// Appends the gradients of weight and bias, the inputs with these indices.
fn param_gradients(
    tape: &mut dyn Backward,
    dout: TensorId,
    inp: TensorId,
    params: [usize; 2],
    moments: [TensorId; 2],
) -> Result<(), ShapeError> {
    let wanted = params.map(|i| tape.wants(i));
    if wanted == [false, false] {
        return Ok(());
    }
    let dest = |i: usize| if wanted[i] { Dest::Grad(params[i]) } else { Dest::Fresh };
    let op = LayernormBackwardParams { bias: wanted[1] };
    let dest: Vec<Dest> = if op.bias { vec![dest(0), dest(1)] } else { vec![dest(0)] };
    tape.apply(Box::new(op), &[dout, inp, moments[0], moments[1]], &dest).map(drop)
}

/// The size of a range of rows.
#[derive(Debug, Clone, Copy)]
struct Rows {
    len: u64,
    n_col: u64,
}

/// The kernel call for a range of rows: four elements at a time if the row length allows it.
#[allow(clippy::too_many_arguments)]
fn forward(
    ctx: &LowerCtx<'_>,
    eps: f64,
    has_bias: bool,
    rows: Rows,
    out: Rw,
    [mean, rstd]: [Rw; 2],
    inp: Ro,
    [weight, bias]: [Ro; 2],
) -> Dispatch {
    let n_row = super::to_u32(rows.len);
    if rows.n_col.is_multiple_of(4) {
        use layernorm_vec4_forward as k;
        let variant = ctx.variant(&k::DEF);
        let tune = k::tune(variant);
        let bind = k::Bind { out, mean, rstd, inp, weight, bias };
        let params = k::Params { n_row, n_col4: super::to_u32(rows.n_col / 4), eps: eps as f32 };
        let groups = groups_rows(rows.len, tune.wg / tune.lanes);
        return k::dispatch(variant, bind, k::Mode { bias: has_bias }, params, groups);
    }
    use layernorm_forward as k;
    let variant = ctx.variant(&k::DEF);
    let tune = k::tune(variant);
    let bind = k::Bind { out, mean, rstd, inp, weight, bias };
    let params = k::Params { n_row, n_col: super::to_u32(rows.n_col), eps: eps as f32 };
    k::dispatch(variant, bind, k::Mode { bias: has_bias }, params, groups_rows(rows.len, tune.wg / tune.lanes))
}

impl Op for LayernormBackward {
    fn name(&self) -> &'static str {
        "layernorm_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[1].shape;
        ShapeError::check(self.name(), "shape of dout", shape, inputs[0].shape)?;
        ShapeError::check(self.name(), "shape of weight", Shape::new(&[shape.n_col()]), inputs[2].shape)?;
        check_moments(self.name(), shape, &inputs[3..5])?;
        if let Some(dsum) = inputs.get(5) {
            ShapeError::check(self.name(), "shape of dsum", shape, dsum.shape)?;
        }
        Ok(vec![OutSpec::f32("dinp", shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (n_row, n_col) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
        let has_dsum = io.inputs.len() > 5;
        let mut dispatches = vec![];
        for (start, len) in ctx.row_ranges(n_row, n_col) {
            let rows = |i: usize| io.input(i).slice(start * n_col, len * n_col);
            let dinp = io.output(0).slice(start * n_col, len * n_col);
            let (dout, inp, weight) = (rows(0), rows(1), io.input(2));
            let (mean, rstd) = (io.input(3).slice(start, len), io.input(4).slice(start, len));
            if n_col.is_multiple_of(4) {
                use layernorm_vec4_backward as k;
                let variant = ctx.variant(&k::DEF);
                let tune = k::tune(variant);
                let dsum = rows(if has_dsum { 5 } else { 0 });
                let bind = k::Bind { dinp, dout, inp, weight, mean, rstd, dsum };
                let params = k::Params { n_row: super::to_u32(len), n_col4: super::to_u32(n_col / 4) };
                let mode = k::Mode { add: io.adds(0), dsum: has_dsum };
                dispatches.push(k::dispatch(variant, bind, mode, params, groups_rows(len, tune.wg / tune.lanes)));
                continue;
            }
            use layernorm_backward as k;
            let variant = ctx.variant(&k::DEF);
            let tune = k::tune(variant);
            let dsum = rows(if has_dsum { 5 } else { 0 });
            let bind = k::Bind { dinp, dout, inp, weight, mean, rstd, dsum };
            let params = k::Params { n_row: super::to_u32(len), n_col: super::to_u32(n_col) };
            let mode = k::Mode { add: io.adds(0), dsum: has_dsum };
            dispatches.push(k::dispatch(variant, bind, mode, params, groups_rows(len, tune.wg / tune.lanes)));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        let [dout, inp, weight, mean, rstd] = [inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]];
        let (mut dinp, ..) = reference::layernorm::backward_from(dout, inp, weight, mean, rstd, n_row, n_col);
        if let Some(dsum) = inputs.get(5) {
            dinp.iter_mut().zip(*dsum).for_each(|(d, past)| *d += past);
        }
        vec![dinp]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * 12, bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}

impl Op for LayernormBackwardParams {
    fn name(&self) -> &'static str {
        "layernorm_backward_params"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[1].shape;
        ShapeError::check(self.name(), "shape of dout", shape, inputs[0].shape)?;
        check_moments(self.name(), shape, &inputs[2..])?;
        let parts = Shape::new(&[shape.n_row().div_ceil(CHUNK), shape.n_col()]);
        let names: &[&str] = if self.bias { &["dweight", "dbias"] } else { &["dweight"] };
        let mut outputs: Vec<OutSpec> =
            names.iter().map(|name| OutSpec::f32(name, Shape::new(&[shape.n_col()]))).collect();
        outputs.extend(["dweight_parts", "dbias_parts"].map(|name| OutSpec::scratch(name, parts)));
        Ok(outputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (n_row, n_col) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
        let n_out = 1 + usize::from(self.bias);
        let parts = [n_out, n_out + 1].map(|i| io.output(i));
        let ranges = ctx.row_ranges(n_row, n_col);
        // a software device has few cores, so the columns alone keep it busy
        if ctx.caps.is_cpu && n_row <= MAX_ROWS_AT_ONCE && n_col.is_multiple_of(4) && ranges.len() == 1 {
            let to = [io.output(0), if self.bias { io.output(1) } else { parts[1] }];
            let add = [io.adds(0), self.bias && io.adds(1)];
            return vec![self.over_rows(io, ctx, (0, n_row), n_row, to, add)];
        }
        let mut dispatches = vec![];
        for range in ranges {
            if n_col.is_multiple_of(4) {
                dispatches.push(self.over_rows(io, ctx, range, CHUNK, parts, [false, false]));
            } else {
                dispatches.extend((0..n_out).map(|i| scalar_parts(io, ctx, range, parts[i], i > 0)));
            }
        }
        let variant = ctx.variant(&total::DEF);
        for (i, parts) in parts.into_iter().take(n_out).enumerate() {
            let bind = total::Bind { out: io.output(i), parts: parts.read() };
            let params = total::Params { n_chunk: super::to_u32(n_row.div_ceil(CHUNK)), n_col: super::to_u32(n_col) };
            let groups = groups_1d(n_col, total::tune(variant).wg);
            dispatches.push(total::dispatch(variant, bind, total::Mode { add: io.adds(i) }, params, groups));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        let [dout, inp, mean, rstd] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let ones = vec![1.0; n_col];
        let (_, dweight, dbias) = reference::layernorm::backward_from(dout, inp, &ones, mean, rstd, n_row, n_col);
        if self.bias { vec![dweight, dbias] } else { vec![dweight] }
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_in(0).numel() * 5, bytes: io.bytes() }
    }

    fn accumulates(&self, output: usize) -> bool {
        output < 1 + usize::from(self.bias)
    }
}

/// Rows that the first stage adds up in one invocation; `row_ranges` splits at multiples of it.
const CHUNK: u64 = 32;
/// Maximum rows that one invocation adds up when there is only one stage.
const MAX_ROWS_AT_ONCE: u64 = 4096;

impl LayernormBackwardParams {
    /// Sums over chunks of `chunk_rows` rows of a range.
    fn over_rows(
        self,
        io: &Io<'_>,
        ctx: &LowerCtx<'_>,
        (start, len): (u64, u64),
        chunk_rows: u64,
        [dweight, dbias]: [Rw; 2],
        [add_weight, add_bias]: [bool; 2],
    ) -> Dispatch {
        let n_col = io.shape_in(0).n_col();
        let variant = ctx.variant(&k4::DEF);
        let bind = k4::Bind {
            dweight,
            dbias,
            dout: io.input(0).slice(start * n_col, len * n_col),
            inp: io.input(1).slice(start * n_col, len * n_col),
            mean: io.input(2).slice(start, len),
            rstd: io.input(3).slice(start, len),
        };
        let params = k4::Params {
            n_row: super::to_u32(len),
            n_col4: super::to_u32(n_col / 4),
            first_chunk: super::to_u32(start / chunk_rows),
            chunk_rows: super::to_u32(chunk_rows),
        };
        let groups = groups_1d(len.div_ceil(chunk_rows) * (n_col / 4), k4::tune(variant).wg);
        k4::dispatch(variant, bind, k4::Mode { bias: self.bias, add_weight, add_bias }, params, groups)
    }
}

/// The same for one of the two gradients, if rows are not whole vectors.
fn scalar_parts(io: &Io<'_>, ctx: &LowerCtx<'_>, (start, len): (u64, u64), partials: Rw, bias: bool) -> Dispatch {
    let n_col = io.shape_in(0).n_col();
    let variant = ctx.variant(&scalar::DEF);
    let bind = scalar::Bind {
        partials,
        dout: io.input(0).slice(start * n_col, len * n_col),
        inp: io.input(1).slice(start * n_col, len * n_col),
        mean: io.input(2).slice(start, len),
        rstd: io.input(3).slice(start, len),
    };
    let params = scalar::Params {
        n_row: super::to_u32(len),
        n_col: super::to_u32(n_col),
        first_chunk: super::to_u32(start / CHUNK),
    };
    let groups = groups_1d(len.div_ceil(CHUNK) * n_col, scalar::tune(variant).wg);
    scalar::dispatch(variant, bind, scalar::Mode { bias }, params, groups)
}

fn check_moments(op: &'static str, shape: Shape, moments: &[&TensorSpec]) -> Result<(), ShapeError> {
    let mut named = moments.iter().zip(["shape of mean", "shape of rstd"]);
    named.try_for_each(|(input, what)| ShapeError::check(op, what, Shape::new(&[shape.n_row()]), input.shape))
}

fn rows_cols(shape: Shape) -> (usize, usize) {
    (super::to_usize(shape.n_row()), super::to_usize(shape.n_col()))
}
