//! The straight-line kernels for software devices with vector loads, and the products that they support.

use super::strided::{Operands, Strided};
use crate::kernel::{Dispatch, Family, KernelDef, Variant, matmul_straight as straight, matmul_straight_dot as dot};
use crate::ops::{LowerCtx, to_u32};

impl Strided {
    /// The kernel for a product of whole tiles, and the number of terms per call, all unrolled in the kernel; `None` if
    /// the device or the product doesn't support it.
    pub(super) fn straight_kernel(&self, ctx: &LowerCtx<'_>) -> Option<(&'static KernelDef, u64)> {
        let (def, columns, terms) = match (self.trans_a, self.trans_b) {
            (_, false) => (&straight::DEF, 32, straight::tune(ctx.variant(&straight::DEF)).terms),
            (false, true) => (&dot::DEF, 4, dot::tune(ctx.variant(&dot::DEF)).terms),
            (true, true) => return None,
        };
        let terms = u64::from(terms);
        let whole = self.m.is_multiple_of(4) && self.n.is_multiple_of(columns) && self.k.is_multiple_of(terms);
        let is_one = self.n_outer * self.n_inner == 1;
        (Self::family(ctx) == Family::Straight && ctx.variant(def).fits(ctx.caps) && whole && is_one)
            .then_some((def, terms))
    }

    /// The call of such a kernel, for the terms of one call.
    pub(super) fn straight(&self, ctx: &LowerCtx<'_>, operands: &Operands) -> Option<Dispatch> {
        /// A straight-line shader masks its indices to 28 bits.
        const FAR: u64 = 1 << 28;
        /// Maximum workgroups in one dimension.
        const GROUPS: u64 = 1 << 16;
        let (def, _) = self.straight_kernel(ctx).filter(|&(_, terms)| self.k == terms)?;
        let Operands { out, a, b, bias } = *operands;
        let n_tile = self.m / 4 * (self.n / if self.trans_b { 4 } else { 32 });
        let usual = ctx.variant(def);
        let per_group = |variant| match self.trans_b {
            true => u64::from(dot::tune(variant).group),
            false => u64::from(straight::tune(variant).group),
        };
        let variant: &'static Variant =
            if n_tile.is_multiple_of(per_group(usual)) { usual } else { def.variant("one")? };
        let n_group = n_tile / per_group(variant);
        let is_near = [out.0, a.0, b.0].iter().all(|range| range.len < FAR);
        if !is_near || n_group >= GROUPS {
            return None;
        }
        let (has_bias, (bias, bias_start)) = (bias.is_some(), bias.unwrap_or((b, 0)));
        let groups = [to_u32(n_group), 1, 1];
        let flops = 2 * self.m * self.n * self.k;
        macro_rules! call {
            ($kernel:ident $(, $mode:ident)*) => {{
                let params = $kernel::Params {
                    m: to_u32(self.m),
                    never: 0,
                    a_start: to_u32(self.a.start),
                    a_ld: to_u32(self.a.ld),
                    b_start: to_u32(self.b.start),
                    b_ld: to_u32(self.b.ld),
                    out_start: to_u32(self.out.start),
                    out_ld: to_u32(self.out.ld),
                    bias_start: to_u32(bias_start),
                };
                let mode = $kernel::Mode { $($mode: self.$mode,)* add: self.add, bias: has_bias };
                let bind = $kernel::Bind { out, a, b, bias };
                Dispatch { flops, ..$kernel::dispatch(variant, bind, mode, params, groups) }
            }};
        }
        Some(if self.trans_b { call!(dot) } else { call!(straight, trans_a) })
    }
}
