use super::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, Rerun, ShapeError};
use crate::kernel::{Dispatch, gelu_backward, gelu_forward, gelu_vec4_backward, gelu_vec4_forward, groups_1d};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// GELU in GPT-2's tanh form, element by element.
///
/// Shapes: inp and out are equal, of any rank.
/// Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
#[derive(Debug, Clone, Copy)]
pub struct Gelu;

/// The gradient of [`Gelu`] with respect to its input.
///
/// Shapes: dout, inp and dinp are equal, of any rank.
#[derive(Debug, Clone, Copy)]
pub struct GeluBackward;

impl Op for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        Ok(vec![OutSpec::f32("out", inputs[0].shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let n = io.shape_out(0).numel();
        let ranges = ctx.row_ranges_of(n, 1, self.cost(io)).into_iter();
        if n.is_multiple_of(4) {
            use gelu_vec4_forward as k;
            let variant = ctx.variant(&k::DEF);
            let dispatch = |(start, len): (u64, u64)| {
                let bind = k::Bind { out: io.output(0).slice(start, len), inp: io.input(0).slice(start, len) };
                let params = k::Params { n: super::to_u32(len / 4) };
                k::dispatch(variant, bind, k::Mode {}, params, groups_1d(len / 4, k::tune(variant).wg))
            };
            return ranges.map(dispatch).collect();
        }
        use gelu_forward as k;
        let variant = ctx.variant(&k::DEF);
        let dispatch = |(start, len): (u64, u64)| {
            let bind = k::Bind { out: io.output(0).slice(start, len), inp: io.input(0).slice(start, len) };
            let params = k::Params { n: super::to_u32(len) };
            k::dispatch(variant, bind, k::Mode {}, params, groups_1d(len, k::tune(variant).wg * 4))
        };
        ranges.map(dispatch).collect()
    }

    fn reference(&self, inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        vec![reference::gelu::forward(inputs[0])]
    }

    fn epilogue(&self) -> Option<super::Epilogue> {
        Some(super::Epilogue::Gelu)
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * 10, bytes: io.bytes() }
    }

    fn rerun(&self, io: &Io<'_>) -> Option<Rerun> {
        Some(Rerun { op: Box::new(*self), inputs: io.inputs.to_vec(), outputs: io.outputs.to_vec() })
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let (dout, inp) = (tape.dout(0)?, tape.input(0));
        if !tape.wants(0) {
            return Some(Ok(()));
        }
        Some(tape.apply(Box::new(GeluBackward), &[dout, inp], &[Dest::Grad(0)]).map(drop))
    }
}

impl Op for GeluBackward {
    fn name(&self) -> &'static str {
        "gelu_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        ShapeError::check("gelu_backward", "shape of dout", inputs[1].shape, inputs[0].shape)?;
        Ok(vec![OutSpec::f32("dinp", inputs[1].shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let n = io.shape_out(0).numel();
        let ranges = ctx.row_ranges_of(n, 1, self.cost(io)).into_iter();
        if n.is_multiple_of(4) {
            use gelu_vec4_backward as k;
            let variant = ctx.variant(&k::DEF);
            let dispatch = |(start, len): (u64, u64)| {
                let bind = k::Bind {
                    dinp: io.output(0).slice(start, len),
                    dout: io.input(0).slice(start, len),
                    inp: io.input(1).slice(start, len),
                };
                let params = k::Params { n: super::to_u32(len / 4) };
                let groups = groups_1d(len / 4, k::tune(variant).wg);
                k::dispatch(variant, bind, k::Mode { add: io.adds(0) }, params, groups)
            };
            return ranges.map(dispatch).collect();
        }
        use gelu_backward as k;
        let variant = ctx.variant(&k::DEF);
        let dispatch = |(start, len): (u64, u64)| {
            let bind = k::Bind {
                dinp: io.output(0).slice(start, len),
                dout: io.input(0).slice(start, len),
                inp: io.input(1).slice(start, len),
            };
            let params = k::Params { n: super::to_u32(len) };
            let groups = groups_1d(len, k::tune(variant).wg * 4);
            k::dispatch(variant, bind, k::Mode { add: io.adds(0) }, params, groups)
        };
        ranges.map(dispatch).collect()
    }

    fn reference(&self, inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        vec![reference::gelu::backward(inputs[0], inputs[1])]
    }

    fn epilogue(&self) -> Option<super::Epilogue> {
        Some(super::Epilogue::GeluGradient)
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel() * 20, bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}
