use super::{Layernorm, LayernormBackward, Rows, forward, param_gradients, rows_cols};
use crate::kernel::{Dispatch, groups_1d, groups_rows, layernorm_residual_forward as k, residual_forward};
use crate::ops::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, Rerun, ShapeError, to_u32};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// The sum of two tensors and its layer norm in one pass: a residual connection and the next layer's norm.
///
/// Shapes: a, b, sum, out (.., C); weight and, if there is a fourth input, bias (C); mean, rstd (N) with N the number
/// of rows.
/// Source: as [`super::Layernorm`].
#[derive(Debug, Clone, Copy)]
pub struct ResidualLayernorm {
    /// Added to the variance.
    pub eps: f64,
}

impl Op for ResidualLayernorm {
    fn name(&self) -> &'static str {
        "layernorm_residual"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[0].shape;
        ShapeError::check(self.name(), "shape of b", shape, inputs[1].shape)?;
        for (input, what) in inputs[2..].iter().zip(["shape of weight", "shape of bias"]) {
            ShapeError::check(self.name(), what, Shape::new(&[shape.n_col()]), input.shape)?;
        }
        let rows = Shape::new(&[shape.n_row()]);
        Ok(vec![
            OutSpec::f32("sum", shape),
            OutSpec::f32("out", shape),
            OutSpec::f32("mean", rows),
            OutSpec::f32("rstd", rows),
        ])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (n_row, n_col) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
        let has_bias = io.inputs.len() > 3;
        // without a bias, the weight is bound in its place and not read as such
        let [weight, bias] = [io.input(2), io.input(if has_bias { 3 } else { 2 })];
        let mut dispatches = vec![];
        for (start, len) in ctx.row_ranges(n_row, n_col) {
            let [a, b] = [0, 1].map(|i| io.input(i).slice(start * n_col, len * n_col));
            let [sum, out] = [0, 1].map(|i| io.output(i).slice(start * n_col, len * n_col));
            let [mean, rstd] = [2, 3].map(|i| io.output(i).slice(start, len));
            if n_col.is_multiple_of(4) {
                let variant = ctx.variant(&k::DEF);
                let tune = k::tune(variant);
                let bind = k::Bind { sum, out, mean, rstd, a, b, weight, bias };
                let params = k::Params { n_row: to_u32(len), n_col4: to_u32(n_col / 4), eps: self.eps as f32 };
                let groups = groups_rows(len, tune.wg / tune.lanes);
                dispatches.push(k::dispatch(variant, bind, k::Mode { bias: has_bias }, params, groups));
                continue;
            }
            use residual_forward as add;
            let variant = ctx.variant(&add::DEF);
            let groups = groups_1d(len * n_col, add::tune(variant).wg * 4);
            let params = add::Params { n: to_u32(len * n_col) };
            let bind = add::Bind { out: sum, a, b };
            dispatches.push(add::dispatch(variant, bind, add::Mode { add: false }, params, groups));
            let rows = Rows { len, n_col };
            dispatches.push(forward(ctx, self.eps, has_bias, rows, out, [mean, rstd], sum.read(), [weight, bias]));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = rows_cols(shapes[0]);
        let sum = reference::residual::forward(inputs[0], inputs[1]);
        let bias = inputs.get(3).copied();
        let (out, mean, rstd) = reference::layernorm::forward(&sum, inputs[2], bias, n_row, n_col, self.eps);
        vec![sum, out, mean, rstd]
    }

    fn epilogue(&self) -> Option<crate::ops::Epilogue> {
        Some(crate::ops::Epilogue::Residual)
    }

    fn rest(&self) -> Option<std::sync::Arc<dyn Op>> {
        Some(std::sync::Arc::new(Layernorm { eps: self.eps }))
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * 9, bytes: io.bytes() }
    }

    fn rerun(&self, io: &Io<'_>) -> Option<Rerun> {
        // the plain norm's kernel has the same arithmetic, and the sum is kept
        let inputs = [io.outputs[0]].into_iter().chain(io.inputs[2..].iter().copied()).collect();
        Some(Rerun { op: Box::new(Layernorm { eps: self.eps }), inputs, outputs: io.outputs[1..].to_vec() })
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let (dsum, dout) = (tape.dout(0), tape.dout(1));
        let Some(dout) = dout else {
            let dsum = dsum?;
            return Some(pass_to_both(tape, dsum));
        };
        let (sum, mean, rstd) = (tape.output(0), tape.output(2), tape.output(3));
        let inputs: Vec<_> = [dout, sum, tape.input(2), mean, rstd].into_iter().chain(dsum).collect();
        let gradient = tape.apply(Box::new(LayernormBackward), &inputs, &[Dest::Fresh]);
        Some(gradient.and_then(|gradient| {
            pass_to_both(tape, gradient[0])?;
            param_gradients(tape, dout, sum, [2, 3], [mean, rstd])
        }))
    }
}

fn pass_to_both(tape: &mut dyn Backward, gradient: crate::tensor::TensorId) -> Result<(), ShapeError> {
    for i in 0..2 {
        if tape.wants(i) {
            tape.pass(i, gradient)?;
        }
    }
    Ok(())
}
