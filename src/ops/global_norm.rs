use super::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{Dispatch, global_norm_forward as stage1, global_norm_reduce as stage2, groups_rows};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// The norm over all gradients at once, with the clip coefficient and the verdict on the step: norm (4) = [norm, clip
/// coefficient, 1 if the step counts, count of non-finite gradient elements].
///
/// If a gradient or the loss is not finite, norm, coefficient and the third element are 0. If the loss or norm exceeds
/// its limit, the coefficient is 0 and the third element -1; a limit of 0 means no limit. Squares of huge and tiny
/// elements are scaled, so every norm that f32 can represent comes out right. A larger norm counts as not finite, with
/// a count of 0.
///
/// Shapes: loss (1), limits (2) of loss and norm, then slabs, each of a multiple of 4 elements; norm (4).
/// Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", section 3.2; Blue 1978, "A
/// Portable Fortran Program to Find the Euclidean Norm of a Vector".
#[derive(Debug, Clone, Copy)]
pub struct GlobalNorm {
    /// Maximum norm; larger ones are scaled down. 0 turns clipping off.
    pub max_norm: f32,
}

/// Number of inputs before the slabs.
const N_BEFORE: usize = 2;

/// Elements that one partial result covers, as in the shader.
const BLOCK: u64 = 4096;

impl Op for GlobalNorm {
    fn name(&self) -> &'static str {
        "global_norm"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        ShapeError::check("global_norm", "elements of the loss", 1, inputs[0].shape.numel())?;
        ShapeError::check("global_norm", "limits", 2, inputs[1].shape.numel())?;
        let inputs = &inputs[N_BEFORE..];
        if let Some(slab) = inputs.iter().find(|slab| !slab.shape.numel().is_multiple_of(4)) {
            return Err(ShapeError::new("global_norm", "elements of a slab", "a multiple of 4", slab.shape.numel()));
        }
        let n: u64 = inputs.iter().map(|slab| slab.shape.numel().div_ceil(BLOCK)).sum();
        Ok(vec![OutSpec::f32("norm", Shape::new(&[4])), OutSpec::scratch("partials", Shape::new(&[n.max(1), 4]))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let variant = ctx.variant(&stage1::DEF);
        let tune = stage1::tune(variant);
        let mut dispatches = vec![];
        let mut first_partial = 0;
        for i in N_BEFORE..io.inputs.len() {
            let n = io.shape_in(i).numel();
            // whole blocks keep a range's start aligned
            let step = (ctx.max_binding_elems() / BLOCK).max(1) * BLOCK;
            let mut start = 0;
            while start < n {
                let len = step.min(n - start);
                let bind = stage1::Bind { partials: io.output(1), grads: io.input(i).slice(start, len) };
                let params = stage1::Params { n: super::to_u32(len / 4), first_partial: super::to_u32(first_partial) };
                let n_block = len.div_ceil(BLOCK);
                let groups = groups_rows(n_block, tune.wg / tune.lanes);
                dispatches.push(stage1::dispatch(variant, bind, stage1::Mode {}, params, groups));
                first_partial += n_block;
                start += len;
            }
        }
        let bind =
            stage2::Bind { norm: io.output(0), partials: io.output(1).read(), loss: io.input(0), limits: io.input(1) };
        let params = stage2::Params { n: super::to_u32(first_partial), max_norm: self.max_norm };
        dispatches.push(stage2::dispatch(ctx.variant(&stage2::DEF), bind, stage2::Mode {}, params, [1, 1, 1]));
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        let norm = reference::global_norm::forward(&inputs[N_BEFORE..].concat(), self.max_norm.into());
        let norm = reference::global_norm::gate(norm, inputs[0][0], [inputs[1][0], inputs[1][1]]);
        // a norm beyond f32's range counts as not finite
        let in_range = norm[0] <= f64::from(f32::MAX);
        vec![if in_range { norm.to_vec() } else { vec![0.0, 0.0, 0.0, norm[3]] }]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let n: u64 = (N_BEFORE..io.inputs.len()).map(|i| io.shape_in(i).numel()).sum();
        Cost { flops: 2 * n, bytes: io.bytes() }
    }
}
