use super::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{Dispatch, dropout_forward as k, groups_1d};
use crate::reference::dropout as reference;
use crate::tensor::{DType, Shape, TensorSpec};

/// Zeroes elements with probability `p` and scales the others so that expected values stay the same. The mask depends
/// only on the random words, the site and the element. The backward pass is the same op on the gradient.
///
/// Shapes: inp and out are equal; rng (4) in u32.
/// Source: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 4.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Probability that an element is dropped, in [0, 1).
    pub p: f32,
    /// The index of this dropout site in the model.
    pub site: u32,
}

impl Dropout {
    /// Checks the random words and the probability of any op with dropout.
    pub(super) fn check(op: &'static str, p: f32, rng: &TensorSpec) -> Result<(), ShapeError> {
        if !(0.0..1.0).contains(&p) {
            return Err(ShapeError::new(op, "dropout probability", "at least 0 and below 1", p));
        }
        ShapeError::check(op, "random words", (4, DType::U32), (rng.shape.numel(), rng.dtype))
    }

    /// The hash threshold and the scale of survivors, as the kernels expect them.
    pub(super) fn factors(p: f32) -> (u32, f32) {
        #[allow(clippy::cast_possible_truncation, reason = "the scale is rounded to f32 for the kernel")]
        (reference::threshold(p.into()), reference::scale(p.into()) as f32)
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        Self::check("dropout", self.p, inputs[1])?;
        Ok(vec![OutSpec::f32("out", inputs[0].shape)])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let variant = ctx.variant(&k::DEF);
        let per_group = k::tune(variant).wg * 4;
        let (threshold, scale) = Self::factors(self.p);
        ctx.row_ranges_of(io.shape_out(0).numel(), 1, self.cost(io))
            .into_iter()
            .map(|(start, len)| {
                let bind = k::Bind {
                    out: io.output(0).slice(start, len),
                    inp: io.input(0).slice(start, len),
                    rng: io.input(1),
                };
                let (n, first) = (super::to_u32(len), super::to_u32(start));
                let params = k::Params { n, first, site: self.site, threshold, scale };
                k::dispatch(variant, bind, k::Mode { add: io.adds(0) }, params, groups_1d(len, per_group))
            })
            .collect()
    }

    fn reference(&self, inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        vec![reference::forward(inputs[0], inputs[1], self.site, self.p.into())]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_out(0).numel(), bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        let rng = tape.input(1);
        Some(tape.apply(Box::new(*self), &[dout, rng], &[Dest::Grad(0)]).map(|_| ()))
    }
}
