//! Batches of matrix products on operands with strides in larger tensors, and the choice of kernel for each device.

use super::epilogue::EpilogueCall;
use crate::kernel::{
    Dispatch, Family, Range, Ro, Rw, Variant, groups_1d, matmul_direct as direct, matmul_direct_vec4 as vec4,
    matmul_shuffle as shuffle, matmul_straight as straight, matmul_tiled as tiled, matmul_tiled4 as tiled4,
    matmul_tiled4_fused as fused,
};
use crate::ops::{LowerCtx, to_u32};

/// Rows and columns of out that a workgroup of `matmul_tiled` takes.
const TILE: u64 = 64;

/// Maximum terms summed one after another. Longer products are added from partial sums, whose rounding errors grow more
/// slowly. It is also far below llvmpipe's limit of loop iterations.
pub(super) const MAX_TERMS: u64 = 8192;

/// The layout of one operand's matrices in its range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// First element of the first matrix.
    pub start: u64,
    /// Elements from one row to the next.
    pub ld: u64,
    /// Elements from one outer index of the batch to the next.
    pub outer: u64,
    /// Elements from one inner index to the next.
    pub inner: u64,
}

impl Layout {
    /// The layout of one matrix at the start of its range.
    pub(crate) fn rows(ld: u64) -> Self {
        Self { ld, ..Self::default() }
    }

    fn in_fours(&self) -> bool {
        [self.start, self.ld, self.outer, self.inner].iter().all(|n| n.is_multiple_of(4))
    }
}

/// `out = op(A) op(B)` for a batch of outer x inner matrices.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Strided {
    /// Rows of out.
    pub m: u64,
    /// Columns of out.
    pub n: u64,
    /// Terms of each sum.
    pub k: u64,
    /// Whether A is stored (K, M).
    pub trans_a: bool,
    /// Whether B is stored (N, K).
    pub trans_b: bool,
    /// Whether the products are added to out.
    pub add: bool,
    /// Layout of A's matrices.
    pub a: Layout,
    /// Layout of B's matrices.
    pub b: Layout,
    /// Layout of out's matrices.
    pub out: Layout,
    /// Number of outer batch indices.
    pub n_outer: u64,
    /// Number of inner batch indices, which vary faster.
    pub n_inner: u64,
}

/// The bindings of a call.
pub(super) struct Operands {
    pub out: Rw,
    pub a: Ro,
    pub b: Ro,
    /// The range, and the first element of it to add.
    pub bias: Option<(Ro, u64)>,
}

/// The `params` of a kernel, which are the same for all.
macro_rules! params {
    ($kernel:ident, $strided:expr, $bias_start:expr) => {
        $kernel::Params {
            m: to_u32($strided.m),
            n: to_u32($strided.n),
            k: to_u32($strided.k),
            n_inner: to_u32($strided.n_inner),
            a_start: to_u32($strided.a.start),
            a_ld: to_u32($strided.a.ld),
            a_outer: to_u32($strided.a.outer),
            a_inner: to_u32($strided.a.inner),
            b_start: to_u32($strided.b.start),
            b_ld: to_u32($strided.b.ld),
            b_outer: to_u32($strided.b.outer),
            b_inner: to_u32($strided.b.inner),
            out_start: to_u32($strided.out.start),
            out_ld: to_u32($strided.out.ld),
            out_outer: to_u32($strided.out.outer),
            out_inner: to_u32($strided.out.inner),
            bias_start: to_u32($bias_start),
        }
    };
}

impl Strided {
    /// The kernel call. `bias` is its range and the first element to add.
    pub(crate) fn dispatch(&self, ctx: &LowerCtx<'_>, out: Rw, a: Ro, b: Ro, bias: Option<(Ro, u64)>) -> Dispatch {
        let tuned = self.tuned(ctx, bias.is_some(), None);
        let ctx = &tuned.as_ref().map_or(*ctx, |choice| LowerCtx { choice, ..*ctx });
        let batch = to_u32(self.n_outer * self.n_inner);
        if let Some(dispatch) = self.straight(ctx, &Operands { out, a, b, bias }) {
            return dispatch;
        }
        let (has_bias, (bias, bias_start)) = (bias.is_some(), bias.unwrap_or((b, 0)));
        macro_rules! call {
            ($kernel:ident, $variant:expr, $tile_m:expr, $tile_n:expr, $tiles_per_group:expr $(, $mode:ident)*) => {{
                let tiles = self.m.div_ceil($tile_m) * self.n.div_ceil($tile_n);
                let [x, y, _] = groups_1d(tiles, $tiles_per_group);
                let params = params!($kernel, self, bias_start);
                let (trans_a, trans_b, add) = (self.trans_a, self.trans_b, self.add);
                let mode = $kernel::Mode { trans_a, trans_b, add, bias: has_bias $(, $mode)* };
                let bind = $kernel::Bind { out, a, b, bias };
                let flops = 2 * self.m * self.n * self.k * self.n_outer * self.n_inner;
                Dispatch { flops, ..$kernel::dispatch($variant, bind, mode, params, [x, y, batch]) }
            }};
        }
        match Self::family(ctx) {
            Family::Straight | Family::Shuffle if self.rows_in_fours([out.0, a.0, b.0]) => {
                let variant = self.shuffle_variant(ctx);
                let tune = shuffle::tune(variant);
                let rows = u64::from(4 * variant.subgroup);
                let (tail, odd) = (!self.k.is_multiple_of(4), !self.n.is_multiple_of(4));
                call!(shuffle, variant, rows * u64::from(tune.r4), rows * u64::from(tune.cv), 1, tail, odd)
            }
            Family::Direct | Family::Straight | Family::Shuffle if self.in_fours([out.0, a.0, b.0]) => {
                let variant = ctx.variant(&vec4::DEF);
                let tune = vec4::tune(variant);
                call!(vec4, variant, u64::from(tune.tm4) * 4, u64::from(tune.tn4) * 4, tune.wg)
            }
            Family::Direct | Family::Straight | Family::Shuffle => {
                let variant = ctx.variant(&direct::DEF);
                let tune = direct::tune(variant);
                call!(direct, variant, u64::from(tune.tm4) * 4, u64::from(tune.tn4) * 4, tune.wg)
            }
            Family::Tiled if self.rows_in_fours([out.0, a.0, b.0]) => {
                let variant = self.tiled_variant(ctx, &tiled4::DEF);
                let tune = tiled4::tune(variant);
                let (tail, odd) = (!self.k.is_multiple_of(tune.tk.into()), !self.n.is_multiple_of(4));
                call!(tiled4, variant, u64::from(tune.tm), u64::from(tune.tn), 1, tail, odd)
            }
            Family::Tiled => call!(tiled, ctx.variant(&tiled::DEF), TILE, TILE, 1),
        }
    }

    /// The call of the kernel with an epilogue, for rows that begin at multiples of four elements. It takes a bias or
    /// column sums.
    pub(super) fn fused(
        &self,
        ctx: &LowerCtx<'_>,
        epilogue: EpilogueCall,
        out: Rw,
        a: Ro,
        b: Ro,
        bias: Option<(Ro, u64)>,
    ) -> Dispatch {
        let tuned = self.tuned(ctx, bias.is_some(), Some(epilogue.then));
        let ctx = &tuned.as_ref().map_or(*ctx, |choice| LowerCtx { choice, ..*ctx });
        let variant = self.tiled_variant(ctx, &fused::DEF);
        let tune = fused::tune(variant);
        let (has_bias, (bias, start)) = (bias.is_some(), bias.unwrap_or((b, epilogue.first_sum)));
        let [x, y, _] = groups_1d(self.m.div_ceil(tune.tm.into()) * self.n.div_ceil(tune.tn.into()), 1);
        let mode = fused::Mode {
            epilogue: epilogue.mode(),
            trans_a: self.trans_a,
            trans_b: self.trans_b,
            add: self.add,
            bias: has_bias,
            tail: !self.k.is_multiple_of(tune.tk.into()),
        };
        let bind = fused::Bind { out, second: epilogue.second, a, b, bias, other: epilogue.other.unwrap_or(b) };
        let groups = [x, y, to_u32(self.n_outer * self.n_inner)];
        let flops = 2 * self.m * self.n * self.k * self.n_outer * self.n_inner;
        Dispatch { flops, ..fused::dispatch(variant, bind, mode, params!(fused, self, start), groups) }
    }

    /// The family of kernels: the pinned one, else the one for the kind of device.
    pub(crate) fn family(ctx: &LowerCtx<'_>) -> Family {
        let usual = match ctx.caps {
            caps if caps.is_cpu && ctx.variant(&straight::DEF).fits(caps) => Family::Straight,
            caps if caps.is_cpu && ctx.variant(&shuffle::DEF).fits(caps) => Family::Shuffle,
            caps if caps.is_cpu => Family::Direct,
            _ => Family::Tiled,
        };
        ctx.choice.family("matmul").unwrap_or(usual)
    }

    /// The pinned variant of the shuffle kernel; else the default one for small products and for subgroup sizes other
    /// than 8; else the one that finishes its tiles soonest, including those beyond the edges.
    fn shuffle_variant(&self, ctx: &LowerCtx<'_>) -> &'static Variant {
        // GFLOP/s of each variant in a product of many tiles, on two cores under llvmpipe of Mesa 22: only their ratios
        // matter here. Below SMALL, a larger tile costs more to compile than it can save.
        const SPEED: [(&str, u64); 3] = [("default", 44), ("wide", 50), ("big", 57)];
        const SMALL: u64 = 1 << 21;
        let usual = ctx.variant(&shuffle::DEF);
        let is_pinned = ctx.choice.pinned(shuffle::DEF.name).is_some();
        if is_pinned || usual.subgroup != 8 || self.m * self.n * self.k < SMALL {
            return usual;
        }
        let variants = SPEED.iter().filter_map(|&(name, speed)| Some((shuffle::DEF.variant(name)?, speed)));
        let time = |&(variant, speed): &(&'static Variant, u64)| {
            let tune = shuffle::tune(variant);
            let side = |n: u64, per_lane: u32| n.next_multiple_of(32 * u64::from(per_lane));
            side(self.m, tune.r4) * side(self.n, tune.cv) * 1000 / speed
        };
        variants.min_by_key(time).map_or(usual, |(variant, _)| variant)
    }

    /// Elements per row of A as stored.
    pub(super) fn a_len(&self) -> u64 {
        if self.trans_a { self.m } else { self.k }
    }

    /// Rows of A as stored.
    pub(super) fn a_rows(&self) -> u64 {
        if self.trans_a { self.k } else { self.m }
    }

    /// Elements per row of B as stored.
    pub(super) fn b_len(&self) -> u64 {
        if self.trans_b { self.k } else { self.n }
    }

    /// Rows of B as stored.
    pub(super) fn b_rows(&self) -> u64 {
        if self.trans_b { self.n } else { self.k }
    }

    /// Whether every row begins at a multiple of four elements, so that it is padded to one.
    fn rows_in_fours(&self, ranges: [Range; 3]) -> bool {
        [self.a, self.b, self.out].iter().all(Layout::in_fours) && ranges.iter().all(|r| r.len.is_multiple_of(4))
    }

    /// Whether every load and store can move four elements at once.
    fn in_fours(&self, ranges: [Range; 3]) -> bool {
        let m = if self.trans_a { self.m } else { 0 };
        [self.n, self.k, m].iter().all(|n| n.is_multiple_of(4))
            && [self.a, self.b, self.out].iter().all(Layout::in_fours)
            && ranges.iter().all(|r| r.len.is_multiple_of(4))
    }
}
