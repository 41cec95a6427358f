//! The choice of tile for a product in `matmul_tiled4` and `matmul_tiled4_fused`, which have the same tiles.

use super::Strided;
use crate::kernel::{Caps, KernelDef, Variant, matmul_tiled4 as tiled4};
use crate::ops::LowerCtx;

/// Workgroups per compute unit: enough that some compute while others wait for memory, and that a last, partly filled
/// round costs little.
const PER_UNIT: u64 = 4;

impl Strided {
    /// The pinned variant; else the largest tile that still gives every compute unit of a typical device enough
    /// workgroups. Integrated GPUs stay at half the registers: with 8 x 8 sums per invocation Apple's run 512 of 1,024
    /// threads per core and Adreno's 4 of 16 waves, with 4 x 8 they run 704 and 6.
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

/// The number of workgroups that keeps a typical device busy. WebGPU doesn't report the number of compute units: 48 is
/// typical of mid-range discrete GPUs (GeForce 4070: 46; Radeon 7700 XT: 54), 8 of small integrated ones (Apple's M1:
/// 8). [`Caps::max_dispatch_work`] identifies the kind of device.
pub(super) fn n_group(max_dispatch_work: u64) -> u64 {
    PER_UNIT * if is_discrete(max_dispatch_work) { 48 } else { 8 }
}
