//! Split-K for products of many terms into few elements, such as weight gradients: the terms are divided among more
//! workgroups, each part is summed into a matrix of its own, and these are added in order.

use super::epilogue::EpilogueCall;
use super::strided::MAX_TERMS;
use super::{Layout, Strided};
use crate::kernel::{Caps, Dispatch, Family, Ro, Rw, column_sum_total_forward as total, groups_1d};
use crate::ops::{LowerCtx, OutSpec, to_u32};
use crate::tensor::Shape;

/// Rows and columns of the tile for which workgroups are counted: the middle one of `matmul_tiled4`.
const TILE: u64 = 64;
/// Minimum terms per part: for fewer, writing and rereading the sums costs more than splitting gains.
const MIN_TERMS: u64 = 256;
/// Maximum number of parts.
const MAX_PARTS: u64 = 16;

/// The terms per part, a multiple of 64, for about `n_group` workgroups; the last part has the rest. All terms if
/// splitting doesn't pay.
fn terms([m, n, k]: [u64; 3], n_group: u64) -> u64 {
    let n_tile = (m.div_ceil(TILE) * n.div_ceil(TILE)).max(1);
    let n_part = n_group.div_ceil(n_tile).min(k / MIN_TERMS).min(MAX_PARTS);
    if n_part < 2 { k } else { k.div_ceil(n_part).next_multiple_of(64) }
}

/// The scratch for the parts of a product, as many as the largest device would use; about 6 MiB at most. The weights of
/// a wide layer need none.
pub(super) fn scratch(size: [u64; 3]) -> Option<OutSpec> {
    let n_part = size[2].div_ceil(terms(size, super::tiles::n_group(Caps::WORK_DISCRETE)).max(1));
    (n_part > 1).then(|| OutSpec::scratch("parts", Shape::new(&[n_part, size[0] * size[1]])))
}

/// The dispatches of one product with the scratch for its parts and for those of its column sums, if any; `None` if
/// this device is faster without splitting.
pub(super) fn dispatches(
    whole: &Strided,
    ctx: &LowerCtx<'_>,
    (out, a, b): (Rw, Ro, Ro),
    (parts, column_parts): (Rw, Option<Rw>),
    columns: Option<EpilogueCall>,
) -> Option<Vec<Dispatch>> {
    let n_group = super::tiles::n_group(ctx.caps.max_dispatch_work);
    let step = terms([whole.m, whole.n, whole.k], n_group);
    if Strided::family(ctx) != Family::Tiled || step == whole.k || step > MAX_TERMS {
        return None;
    }
    let (n_full, rest) = (whole.k / step, whole.k % step);
    let n_elem = whole.m * whole.n;
    // `n` parts from part `first`, of `k` terms each
    let product = |first: u64, n: u64, k: u64| {
        let side = |side: Layout, in_rows: bool| {
            let outer = step * if in_rows { side.ld } else { 1 };
            Layout { start: side.start + first * outer, outer, ..side }
        };
        let part = Strided {
            k,
            add: false,
            a: side(whole.a, whole.trans_a),
            b: side(whole.b, !whole.trans_b),
            out: Layout { start: first * n_elem, outer: n_elem, ..Layout::rows(whole.n) },
            n_outer: n,
            ..*whole
        };
        match columns.zip(column_parts) {
            Some((columns, second)) => {
                let epilogue = EpilogueCall { second, add: false, first_sum: first * whole.n, ..columns };
                part.fused(ctx, epilogue, parts, a, b, None)
            }
            None => part.dispatch(ctx, parts, a, b, None),
        }
    };
    let mut dispatches = vec![product(0, n_full, step)];
    if rest > 0 {
        dispatches.push(product(n_full, 1, rest));
    }
    let variant = ctx.variant(&total::DEF);
    let sum = |out: Rw, parts: Rw, n_elem: u64, add: bool| {
        let params = total::Params { n_chunk: to_u32(whole.k.div_ceil(step)), n_col: to_u32(n_elem) };
        let groups = groups_1d(n_elem, total::tune(variant).wg);
        total::dispatch(variant, total::Bind { out, parts: parts.read() }, total::Mode { add }, params, groups)
    };
    dispatches.push(sum(out, parts, n_elem, whole.add));
    dispatches.extend(columns.zip(column_parts).map(|(e, parts)| sum(e.second, parts, whole.n, e.add)));
    Some(dispatches)
}
