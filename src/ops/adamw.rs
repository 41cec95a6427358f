use super::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{Dispatch, adamw_corrections, adamw_forward, groups_1d};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// Advances Adam's bias corrections by one step, in place: corrections (4) = [1 - beta1^t, 1 - beta2^t, updates done,
/// updates skipped]. If the norm's finite flag is 0, only the last one changes.
///
/// Shapes: norm (4) of [`super::GlobalNorm`]; hyper (8) = [lr, beta1, beta2, eps, weight_decay, 1 - beta1, 1 - beta2,
/// unused].
/// Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", section 3.
#[derive(Debug, Clone, Copy)]
pub struct AdamwCorrections;

/// One AdamW update of a slab in place, with gradients multiplied by the clip coefficient. If the norm's finite flag is
/// 0, not a bit changes.
///
/// Shapes: params, moment1, moment2 and grads of a multiple of 4 elements; norm (4), hyper (8), corrections (4).
/// Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
#[derive(Debug, Clone, Copy)]
pub struct Adamw {
    /// Weight decay applies to the elements before this one.
    pub n_decay: u64,
}

impl Op for AdamwCorrections {
    fn name(&self) -> &'static str {
        "adamw_corrections"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        ShapeError::check(self.name(), "elements of norm", 4, inputs[0].shape.numel())?;
        ShapeError::check(self.name(), "elements of hyper", 8, inputs[1].shape.numel())?;
        Ok(vec![OutSpec::f32("corrections", Shape::new(&[4]))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        use adamw_corrections as k;
        let bind = k::Bind { corrections: io.output(0), norm: io.input(0), hyper: io.input(1) };
        vec![k::dispatch(ctx.variant(&k::DEF), bind, k::Mode {}, k::Params { unused: 0 }, [1, 1, 1])]
    }

    fn reference(&self, inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        let [norm, hyper, old] = [inputs[0], inputs[1], inputs[2]];
        if norm[2] == 0.0 {
            return vec![vec![old[0], old[1], old[2], old[3] + 1.0]];
        }
        vec![vec![hyper[1] * old[0] + hyper[5], hyper[2] * old[1] + hyper[6], old[2] + 1.0, old[3]]]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: 6, bytes: io.bytes() }
    }

    fn in_place(&self) -> bool {
        true
    }
}

impl Op for Adamw {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[0].shape;
        if !shape.numel().is_multiple_of(4) {
            return Err(ShapeError::new("adamw", "elements of grads", "a multiple of 4", shape.numel()));
        }
        for (input, (what, n)) in inputs[1..].iter().zip([("norm", 4), ("hyper", 8), ("corrections", 4)]) {
            ShapeError::check("adamw", &format!("elements of {what}"), n, input.shape.numel())?;
        }
        Ok(["params", "moment1", "moment2"].map(|name| OutSpec::f32(name, shape)).to_vec())
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        use adamw_forward as k;
        let variant = ctx.variant(&k::DEF);
        let dispatch = |(start, len): (u64, u64)| {
            let bind = k::Bind {
                weights: io.output(0).slice(start, len),
                moment1: io.output(1).slice(start, len),
                moment2: io.output(2).slice(start, len),
                grads: io.input(0).slice(start, len),
                norm: io.input(1),
                hyper: io.input(2),
                corrections: io.input(3),
            };
            let n_decay = super::to_u32(self.n_decay.saturating_sub(start).min(len));
            let params = k::Params { n: super::to_u32(len / 4), n_decay };
            k::dispatch(variant, bind, k::Mode {}, params, groups_1d(len / 4, k::tune(variant).wg))
        };
        ctx.row_ranges_of(io.shape_out(0).numel(), 1, self.cost(io)).into_iter().map(dispatch).collect()
    }

    fn reference(&self, inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        let [grads, norm, hyper, corrections] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let mut state = [inputs[4].to_vec(), inputs[5].to_vec(), inputs[6].to_vec()];
        if norm[2] == 0.0 {
            return state.to_vec();
        }
        // beta from 1 - beta, which f32 holds more precisely
        let (beta1, beta2) = (1.0 - hyper[5], 1.0 - hyper[6]);
        let hyper = reference::adamw::Hyper { lr: hyper[0], beta1, beta2, eps: hyper[3], weight_decay: hyper[4] };
        let n_decay = super::to_usize(self.n_decay).min(grads.len());
        let [param, m, v] = &mut state;
        for (range, decay) in [(0..n_decay, true), (n_decay..grads.len(), false)] {
            let (p, m, v) = (&mut param[range.clone()], &mut m[range.clone()], &mut v[range.clone()]);
            let [c1, c2] = [corrections[0], corrections[1]];
            reference::adamw::step(p, &grads[range], m, v, c1, c2, norm[1], decay, &hyper);
        }
        state.to_vec()
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let n = io.shape_out(0).numel();
        // parameters and moments are read and written
        Cost { flops: 15 * n, bytes: io.bytes() + 3 * n * 4 }
    }

    fn in_place(&self) -> bool {
        true
    }
}
