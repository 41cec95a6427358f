mod projection;

pub use projection::ProjectionCrossEntropy;

use super::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{
    Dispatch, cross_entropy_backward, cross_entropy_forward, cross_entropy_reduce as reduce, groups_1d, groups_rows,
};
use crate::reference;
use crate::tensor::{DType, Shape, TensorSpec};

/// Cross-entropy of logits against target tokens. A target of [`reference::IGNORE`] means no loss and no gradient. A
/// target outside the vocabulary is ignored too, but the host never passes one.
///
/// Shapes: logits (.., V), targets (..) u32, scale (1), loss (1), losses (N), lse (N) with N the number of rows.
/// Units: nats; loss = scale times the sum of losses.
/// Source: Bishop 2006, "Pattern Recognition and Machine Learning", 4.3.4.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy;

/// The gradient of [`CrossEntropy`] with respect to the logits, where the gradient of the loss is 1.
///
/// Shapes: logits, dlogits (.., V); targets (..) u32; scale (1); lse (N).
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropyBackward;

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        check("cross_entropy", inputs)?;
        let rows = Shape::new(&[inputs[0].shape.n_row()]);
        let loss = Shape::new(&[1]);
        Ok(vec![OutSpec::f32("loss", loss), OutSpec::f32("losses", rows), OutSpec::f32("lse", rows)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        use cross_entropy_forward as k;
        let variant = ctx.variant(&k::DEF);
        let tune = k::tune(variant);
        let (n_row, n_col) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
        let rows = |(start, len): (u64, u64)| {
            let bind = k::Bind {
                losses: io.output(1).slice(start, len),
                lse: io.output(2).slice(start, len),
                logits: io.input(0).slice(start * n_col, len * n_col),
                targets: io.input(1).slice(start, len),
            };
            let params = k::Params { n_row: super::to_u32(len), n_col: super::to_u32(n_col) };
            k::dispatch(variant, bind, k::Mode {}, params, groups_rows(len, tune.wg / tune.lanes))
        };
        let mut dispatches: Vec<Dispatch> = ctx.row_ranges(n_row, n_col).into_iter().map(rows).collect();
        dispatches.push(reduce_losses(io, ctx, 2));
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = (super::to_usize(shapes[0].n_row()), super::to_usize(shapes[0].n_col()));
        let targets = known(inputs[1], n_col);
        let (loss, losses, lse) = reference::cross_entropy::forward(inputs[0], &targets, inputs[2][0], n_row, n_col);
        vec![vec![loss], losses, lse]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_in(0).numel() * 4, bytes: io.bytes() }
    }

    fn accumulates(&self, output: usize) -> bool {
        output == 0
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        tape.dout(0)?;
        if !tape.wants(0) {
            return Some(Ok(()));
        }
        let inputs = [tape.input(0), tape.input(1), tape.input(2), tape.output(2)];
        Some(tape.apply(Box::new(CrossEntropyBackward), &inputs, &[Dest::Grad(0)]).map(drop))
    }
}

impl Op for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        check(self.name(), inputs)?;
        let shape = inputs[0].shape;
        ShapeError::check(self.name(), "shape of lse", Shape::new(&[shape.n_row()]), inputs[3].shape)?;
        Ok(vec![OutSpec::f32("dlogits", shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        use cross_entropy_backward as k;
        let variant = ctx.variant(&k::DEF);
        let (n_row, n_col) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
        let rows = |(start, len): (u64, u64)| {
            let bind = k::Bind {
                dlogits: io.output(0).slice(start * n_col, len * n_col),
                logits: io.input(0).slice(start * n_col, len * n_col),
                targets: io.input(1).slice(start, len),
                scale: io.input(2),
                lse: io.input(3).slice(start, len),
            };
            let params = k::Params { n: super::to_u32(len * n_col), n_col: super::to_u32(n_col) };
            let groups = groups_1d(len * n_col, k::tune(variant).wg * 4);
            k::dispatch(variant, bind, k::Mode { add: io.adds(0) }, params, groups)
        };
        ctx.row_ranges(n_row, n_col).into_iter().map(rows).collect()
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = (super::to_usize(shapes[0].n_row()), super::to_usize(shapes[0].n_col()));
        let targets = known(inputs[1], n_col);
        vec![reference::cross_entropy::backward(inputs[0], &targets, inputs[2][0], n_row, n_col)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_in(0).numel() * 4, bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}

/// The dispatches that sum the losses of all rows, output 1, into the loss, output 0.
fn reduce_losses(io: &Io<'_>, ctx: &LowerCtx<'_>, scale_input: usize) -> Dispatch {
    let bind = reduce::Bind { loss: io.output(0), losses: io.output(1).read(), scale: io.input(scale_input) };
    let params = reduce::Params { n: super::to_u32(io.shape_out(1).numel()) };
    reduce::dispatch(ctx.variant(&reduce::DEF), bind, reduce::Mode { add: io.adds(0) }, params, [1, 1, 1])
}

fn check(op: &'static str, inputs: &[&TensorSpec]) -> Result<(), ShapeError> {
    ShapeError::check(op, "type of targets", DType::U32, inputs[1].dtype)?;
    ShapeError::check(op, "number of targets", inputs[0].shape.n_row(), inputs[1].shape.numel())?;
    ShapeError::check(op, "elements of scale", 1, inputs[2].shape.numel())
}

/// The targets, with those outside the vocabulary ignored.
fn known(targets: &[f64], n_col: usize) -> Vec<f64> {
    targets.iter().map(|&t| if t < n_col as f64 { t } else { reference::IGNORE.into() }).collect()
}
