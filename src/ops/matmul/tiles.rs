//! Which tile of `matmul_tiled4` and `matmul_tiled4_fused`, which have the same ones, a product gets.

use super::Strided;
use crate::kernel::{Caps, KernelDef, Variant, matmul_tiled4 as tiled4};
use crate::ops::LowerCtx;

/// Workgroups that a compute unit should get, so that some compute while others wait for memory, and a last round that
/// isn't full costs little.
const PER_UNIT: u64 = 4;

impl Strided {
    /// The pinned variant; else the largest tile that still gives every compute unit of a usual device enough workgroups.
    /// Integrated GPUs stay at half the registers: at 8 x 8 sums per invocation Apple's run 512 threads a core of 1024, and
    /// Adreno's 4 waves of 16, where 4 x 8 leave 704 and 6.
    pub(super) fn tiled_variant(&self, ctx: &LowerCtx<'_>, kernel: &'static KernelDef) -> &'static Variant {
        const DISCRETE: [&str; 3] = ["t128", "default", "t32"];
        const INTEGRATED: [&str; 2] = ["t64x", "t32"];
        let usual = ctx.variant(kernel);
        if ctx.choice.pinned(kernel.name).is_some() {
            return usual;
        }
        let names: &[&str] = if is_discrete(ctx.caps.max_dispatch_work) { &DISCRETE } else { &INTEGRATED };
        let fitting = || names.iter().filter_map(|name| kernel.variant(name)).filter(|v| v.fits(ctx.caps));
        let fills =
            |v: &&'static Variant| self.n_tile(v) * self.n_outer * self.n_inner >= n_group(ctx.caps.max_dispatch_work);
        fitting().find(fills).or_else(|| fitting().next_back()).unwrap_or(usual)
    }

    fn n_tile(&self, variant: &Variant) -> u64 {
        let tune = tiled4::tune(variant);
        self.m.div_ceil(tune.tm.into()) * self.n.div_ceil(tune.tn.into())
    }
}

fn is_discrete(max_dispatch_work: u64) -> bool {
    max_dispatch_work >= Caps::WORK_DISCRETE
}

/// Workgroups that keep a usual device busy. WebGPU doesn't tell how many compute units a device has: 48 is what the
/// middle of today's discrete GPUs have (GeForce 4070: 46; Radeon 7700 XT: 54), 8 what small integrated ones have (Apple's
/// M1: 8). The kind of device is known by [`Caps::max_dispatch_work`].
pub(super) fn n_group(max_dispatch_work: u64) -> u64 {
    PER_UNIT * if is_discrete(max_dispatch_work) { 48 } else { 8 }
}
