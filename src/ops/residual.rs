use super::{Backward, Cost, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{Dispatch, groups_1d, residual_forward as k, residual_straight_forward as straight};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// The sum of two tensors of the same shape: the residual connection. Its backward pass hands the gradient to both.
#[derive(Debug, Clone, Copy)]
pub struct Residual;

impl Op for Residual {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        ShapeError::check("residual", "shape of b", inputs[0].shape, inputs[1].shape)?;
        Ok(vec![OutSpec::f32("out", inputs[0].shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (variant, in_line) = (ctx.variant(&k::DEF), ctx.variant(&straight::DEF));
        let tune = straight::tune(in_line);
        let whole = u64::from(tune.group * tune.elems);
        let takes = |len: u64| in_line.fits(ctx.caps) && len.is_multiple_of(whole) && len / whole < 1 << 16;
        let per_group = k::tune(variant).wg * 4;
        ctx.row_ranges_of(io.shape_out(0).numel(), 1, self.cost(io))
            .into_iter()
            .map(|(start, len)| {
                if takes(len) {
                    let bind = straight::Bind {
                        out: io.output(0).slice(start, len),
                        a: io.input(0).slice(start, len),
                        b: io.input(1).slice(start, len),
                    };
                    let params = straight::Params { n: super::to_u32(len) };
                    let groups = [super::to_u32(len / whole), 1, 1];
                    return straight::dispatch(in_line, bind, straight::Mode { add: io.adds(0) }, params, groups);
                }
                let bind = k::Bind {
                    out: io.output(0).slice(start, len),
                    a: io.input(0).slice(start, len),
                    b: io.input(1).slice(start, len),
                };
                let params = k::Params { n: super::to_u32(len) };
                k::dispatch(variant, bind, k::Mode { add: io.adds(0) }, params, groups_1d(len, per_group))
            })
            .collect()
    }

    fn reference(&self, inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        vec![reference::residual::forward(inputs[0], inputs[1])]
    }

    fn epilogue(&self) -> Option<super::Epilogue> {
        Some(super::Epilogue::Residual)
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel(), bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        Some((0..2).filter(|&i| tape.wants(i)).collect::<Vec<_>>().into_iter().try_for_each(|i| tape.pass(i, dout)))
    }
}
