use super::epilogue::EpilogueCall;
use super::strided::{Layout, MAX_TERMS, Strided};
use super::{Cost, LowerCtx, Matmul, split};
use crate::kernel::{Dispatch, Family, Ro, Rw};
use crate::ops::to_usize;
use crate::tensor::DType;

/// The product of two whole tensors and its epilogue, in as many kernel calls as bindings, work and the length of sums
/// require.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// The storage order of the operands.
    pub op: Matmul,
    /// M, N and K.
    pub size: (u64, u64, u64),
    pub out: Rw,
    pub a: Ro,
    pub b: Ro,
    pub bias: Option<Ro>,
    /// Whether the product is added to `out`.
    pub add: bool,
    /// Scratch for partial sums over the terms, and for those of column sums.
    pub parts: Option<(Rw, Option<Rw>)>,
    /// The epilogue of the whole product.
    pub epilogue: Option<EpilogueCall>,
    /// The node's cost.
    pub cost: Cost,
}

impl Product {
    pub(super) fn dispatches(&self, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (m, n, k) = self.size;
        let Matmul { trans_a, trans_b } = self.op;
        let (a_ld, b_ld) = (if trans_a { m } else { k }, if trans_b { k } else { n });
        // ranges of each axis; one step along it spans this many elements of one tensor or of two
        let over_m = ctx.row_ranges_of(m, if trans_a { n } else { n.max(k) }, self.cost);
        let over_n = if trans_b { ctx.row_ranges(n, k) } else { vec![(0, n)] };
        let rows_over_k = if trans_a { m } else { 0 }.max(if trans_b { 0 } else { n });
        let over_k = ctx.row_ranges(k, rows_over_k);
        let product = |(m0, m): (u64, u64), (n0, n_part): (u64, u64), (k0, k): (u64, u64)| {
            let product = Strided {
                m,
                n: n_part,
                k,
                trans_a,
                trans_b,
                add: self.add || k0 > 0,
                a: Layout { start: if trans_a { m0 } else { k0 }, ..Layout::rows(a_ld) },
                b: Layout { start: if trans_b { k0 } else { 0 }, ..Layout::rows(b_ld) },
                out: Layout { start: n0, ..Layout::rows(n) },
                n_outer: 1,
                n_inner: 1,
            };
            let (a_row, a_rows) = if trans_a { (k0, k) } else { (m0, m) };
            let (b_row, b_rows) = if trans_b { (n0, n_part) } else { (k0, k) };
            let a = self.a.slice(a_row * a_ld, a_rows * a_ld);
            (product, (self.out.slice(m0 * n, m * n), a, self.b.slice(b_row * b_ld, b_rows * b_ld)))
        };
        if let ([over_m], [over_n], [over_k], Some(parts)) = (&over_m[..], &over_n[..], &over_k[..], self.parts) {
            let (product, bind) = product(*over_m, *over_n, *over_k);
            if let Some(split) = split::dispatches(&product, ctx, bind, parts, self.epilogue) {
                return split;
            }
        }
        let most = most_terms(self.op, self.size, ctx);
        let near = near_rows(self.op, self.size, ctx);
        let over_m = over_m.into_iter().flat_map(|range| in_equal_parts(range, near)).collect::<Vec<_>>();
        let over_k = over_k.into_iter().flat_map(|range| in_equal_parts(range, most)).collect::<Vec<_>>();
        let mut dispatches = vec![];
        for &over_m in &over_m {
            for &over_n in &over_n {
                for &over_k in &over_k {
                    let (product, (out, a, b)) = product(over_m, over_n, over_k);
                    let bias = self.bias.filter(|_| over_k.0 == 0).map(|bias| (bias, over_n.0));
                    let is_last = over_k.0 + over_k.1 == k;
                    dispatches.push(match self.epilogue.and_then(|e| e.of_part(n, over_m, over_k.0, is_last)) {
                        Some(epilogue) => product.fused(ctx, epilogue, out, a, b, bias),
                        None => product.dispatch(ctx, out, a, b, bias),
                    });
                }
            }
        }
        dispatches
    }
}

/// Maximum terms per kernel call. On a CPU, a tile's columns of a matrix whose rows are terms are a strip of 256 bytes
/// in each row, which should stay in the second-level cache from one tile to the next. If rows are some KiB apart, a
/// strip can use only part of that cache. With 1,024 terms instead of 3,072, A' B is 1.1 to 1.6 times as fast.
///
/// A straight-line kernel takes exactly as many terms as it is unrolled for.
fn most_terms(op: Matmul, size: (u64, u64, u64), ctx: &LowerCtx<'_>) -> u64 {
    match (straight_terms(op, size, ctx), Strided::family(ctx)) {
        (Some(terms), _) => terms,
        (None, Family::Straight | Family::Shuffle) if !op.trans_b => 1024,
        _ => MAX_TERMS,
    }
}

/// Maximum rows per kernel call. Straight-line kernels add a few terms to the result in each call, so all calls for one
/// block of it run in sequence, while the block is in a cache. In a training step (two cores of a Zen 4, Mesa 26),
/// products with a result of 14 to 19 MB run at 95 GFLOP/s in blocks of 1 to 4 MB, and at 60 GFLOP/s whole.
fn near_rows(op: Matmul, size: (u64, u64, u64), ctx: &LowerCtx<'_>) -> u64 {
    const NEAR_BYTES: u64 = 4 << 20;
    let (m, n, k) = size;
    match straight_terms(op, size, ctx) {
        Some(terms) if k > terms => (NEAR_BYTES / (n * DType::F32.bytes()) / 64 * 64).max(64),
        _ => m.next_multiple_of(64),
    }
}

/// The terms per call if the straight-line kernels support the product.
fn straight_terms(Matmul { trans_a, trans_b }: Matmul, (m, n, k): (u64, u64, u64), ctx: &LowerCtx<'_>) -> Option<u64> {
    let product = Strided { m, n, k, trans_a, trans_b, n_outer: 1, n_inner: 1, ..Strided::default() };
    product.straight_kernel(ctx).map(|(_, terms)| terms)
}

/// Splits a range (start, count) into equal parts of at most `most`, a multiple of 64, that begin at multiples of 64.
fn in_equal_parts((start, len): (u64, u64), most: u64) -> impl Iterator<Item = (u64, u64)> {
    let step = len.div_ceil(len.div_ceil(most).max(1)).next_multiple_of(64).max(64);
    (0..len).step_by(to_usize(step)).map(move |first| (start + first, step.min(len - first)))
}
