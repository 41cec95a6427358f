//! Flash attention, which doesn't store the matrix of probabilities: memory grows with T, not with its square.

use super::{ALIGN, FlashProbe, Sizes, aligned, spans, with};
use crate::kernel::{
    Dispatch, Family, KernelDef, Range, Ro, Rw, Variant, attention_flash_direct_backward_key as direct_key,
    attention_flash_direct_backward_query as direct_query, attention_flash_direct_forward as direct,
    attention_flash_tiled_backward_key as tiled_key, attention_flash_tiled_backward_query as tiled_query,
    attention_flash_tiled_forward as tiled, groups_1d,
};
use crate::ops::{Backward, Cost, Dest, Dropout, Io, LowerCtx, Op, OutSpec, ShapeError, to_u32};
use crate::reference::attention as reference;
use crate::tensor::{Shape, TensorSpec};

/// Maximum head size.
const MAX_HEAD_SIZE: u64 = 128;
/// Head sizes that the kernels for software devices are built for, in units of 4; other heads use the next larger one.
const DIRECT_SIZES4: [u32; 6] = [4, 8, 12, 16, 24, 32];
/// The same for the GPU kernels.
const TILED_SIZES4: [u32; 4] = [8, 16, 24, 32];
/// Rows that a workgroup of the GPU kernels owns.
const TILE: u64 = 32;

/// The values shared by all dispatches for one part.
struct Job<'a> {
    ctx: &'a LowerCtx<'a>,
    sizes: Sizes,
    part: Part,
    qkv_start: u64,
    out_start: u64,
    row_start: u64,
    p: f32,
    site: u32,
    documents: bool,
}

/// A call of any of the kernels, which have the same parameters: `$tile` rows per workgroup, heads of 4 `$hs4`
/// channels.
macro_rules! call {
    ($kernel:ident, $variant:expr, $tile:expr, $hs4:expr, $job:ident, $bind:tt) => {{
        let Job { sizes, part, .. } = &$job;
        let (threshold, drop_scale) = Dropout::factors($job.p);
        let params = $kernel::Params {
            t: to_u32(sizes.t),
            c4: to_u32(sizes.c / 4),
            n_head: to_u32(sizes.n_head),
            hs4: to_u32(sizes.hs() / 4),
            n_all: to_u32(part.n_seq * sizes.n_head),
            first_head: to_u32(part.first_seq * sizes.n_head),
            qkv_start4: to_u32($job.qkv_start / 4),
            out_start4: to_u32($job.out_start / 4),
            row_start: to_u32($job.row_start),
            site: $job.site,
            threshold,
            drop_scale,
            scale: sizes.scale(),
        };
        let mode = $kernel::Mode { dropout: $job.p > 0.0, documents: $job.documents, hs4: $hs4 };
        let groups = groups_1d(sizes.t.div_ceil($tile) * part.n_seq * sizes.n_head, 1);
        $kernel::dispatch($variant, $kernel::Bind $bind, mode, params, groups)
    }};
}

/// A call of the one of two equivalent kernels that suits the device. `own`: as for [`direct_variant`].
macro_rules! call_either {
    ($direct:ident, $own:expr, $tiled:ident, $job:ident, $bind:tt) => {{
        let (part, caps) = (&$job.part, $job.ctx.caps);
        let probe = FlashProbe::of(&$direct::DEF, &$job.sizes, part.n_seq, ($job.p, $job.documents), caps);
        let tuned = probe.and_then(|probe| $job.ctx.tuned(&probe.into()));
        let ctx = &tuned.as_ref().map_or(*$job.ctx, |choice| LowerCtx { choice, ..*$job.ctx });
        if is_direct(ctx) {
            let hs4 = padded(&$job.sizes, &DIRECT_SIZES4);
            let variant = direct_variant(ctx, &$direct::DEF, hs4, $own);
            let tune = $direct::tune(variant);
            let tile = u64::from(tune.own * tune.lanes);
            call!($direct, variant, tile, hs4, $job, $bind)
        } else {
            let hs4 = padded(&$job.sizes, &TILED_SIZES4);
            call!($tiled, ctx.variant(&$tiled::DEF), TILE, hs4, $job, $bind)
        }
    }};
}

/// Causal multi-head self-attention like [`super::Attention`], without keeping the probabilities. The same seed gives
/// the same dropout mask.
///
/// Shapes: qkv (B, T, 3C) in column blocks q, k, v whose heads are contiguous; rng (4) in u32; out (B, T, C); lse (B,
/// NH, T), the logarithm of the sum of the exponentials of a row's scores; spans as in [`super::Attention`]. A head
/// size is a multiple of 4 up to 128.
/// Source: Dao et al. 2022, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness".
#[derive(Debug, Clone, Copy)]
pub struct FlashAttention {
    /// Heads (NH), which divide the channels.
    pub n_head: u64,
    /// Probability that a weight is dropped, in [0, 1).
    pub p: f32,
    /// The index of this dropout site in the model.
    pub site: u32,
}

/// The gradient of [`FlashAttention`]; probabilities and the dropout mask are recomputed.
///
/// Shapes: dout and out (B, T, C), qkv and dqkv (B, T, 3C), lse (B, NH, T), rng (4) in u32; spans as in
/// [`super::Attention`].
/// Source: Dao et al. 2022, "FlashAttention", algorithm 4.
#[derive(Debug, Clone, Copy)]
pub struct FlashAttentionBackward {
    /// Heads (NH).
    pub n_head: u64,
    /// Probability that a weight was dropped.
    pub p: f32,
    /// The index of this dropout site in the model.
    pub site: u32,
}

impl FlashAttention {
    /// Whether the kernels support `n_head` heads over `c` channels.
    pub fn takes(c: u64, n_head: u64) -> bool {
        n_head > 0 && c.is_multiple_of(4 * n_head) && c / n_head <= MAX_HEAD_SIZE
    }
}

impl Op for FlashAttention {
    fn name(&self) -> &'static str {
        "attention_flash"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let sizes = sizes(self.name(), inputs[0].shape, self.n_head)?;
        Dropout::check(self.name(), self.p, inputs[1])?;
        sizes.check_spans(self.name(), inputs.get(2))?;
        Ok(vec![OutSpec::f32("out", Shape::new(&[sizes.b, sizes.t, sizes.c])), OutSpec::f32("lse", rows(&sizes))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (sizes, site) = (Sizes::from(io.shape_in(0), self.n_head), self.site);
        let (documents, spans) = spans(io, 2, 1);
        let mut dispatches = vec![];
        for part in parts(&sizes, ctx) {
            let (out, out_start) = part.of(io.output(0).0, sizes.t * sizes.c);
            let (lse, row_start) = part.of(io.output(1).0, sizes.t * sizes.n_head);
            let (qkv, qkv_start) = part.of(io.input(0).0, sizes.t * sizes.c * 3);
            let job = Job { ctx, sizes, part, qkv_start, out_start, row_start, p: self.p, site, documents };
            let (out, lse, qkv, rng) = (Rw(out), Rw(lse), Ro(qkv), io.input(1));
            dispatches.push(call_either!(direct, [4, 4, 2], tiled, job, { out, lse, qkv, rng, spans }));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dims = Sizes::from(shapes[0], self.n_head).dims();
        let (out, _) = reference::forward(inputs[0], &with(inputs, 1, 2, self.site, self.p), dims);
        vec![out, reference::log_sums(inputs[0], inputs.get(2).copied(), dims)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        // two products of the T (T + 1) / 2 scores of a head
        let sizes = Sizes::from(io.shape_in(0), self.n_head);
        Cost { flops: 2 * sizes.b * sizes.t * (sizes.t + 1) * sizes.c, bytes: io.bytes() }
    }

    fn product_flops(&self, io: &Io<'_>) -> u64 {
        self.cost(io).flops
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        let Self { n_head, p, site } = *self;
        let mut inputs = vec![dout, tape.output(0), tape.input(0), tape.output(1), tape.input(1)];
        inputs.extend((2..tape.n_input()).map(|i| tape.input(i)));
        Some(tape.apply(Box::new(FlashAttentionBackward { n_head, p, site }), &inputs, &[Dest::Grad(0)]).map(|_| ()))
    }
}

impl Op for FlashAttentionBackward {
    fn name(&self) -> &'static str {
        "attention_flash_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let op = self.name();
        let sizes = sizes(op, inputs[2].shape, self.n_head)?;
        let narrow = Shape::new(&[sizes.b, sizes.t, sizes.c]);
        ShapeError::check(op, "shape of dout", narrow, inputs[0].shape)?;
        ShapeError::check(op, "shape of out", narrow, inputs[1].shape)?;
        ShapeError::check(op, "shape of lse", rows(&sizes), inputs[3].shape)?;
        Dropout::check(op, self.p, inputs[4])?;
        sizes.check_spans(op, inputs.get(5))?;
        Ok(vec![OutSpec::f32("dqkv", inputs[2].shape), OutSpec::scratch("delta", rows(&sizes))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (sizes, site) = (Sizes::from(io.shape_in(2), self.n_head), self.site);
        let (documents, spans) = spans(io, 5, 4);
        let mut dispatches = vec![];
        for part in parts(&sizes, ctx) {
            let (qkv, qkv_start) = part.of(io.input(2).0, sizes.t * sizes.c * 3);
            let (out, out_start) = part.of(io.input(1).0, sizes.t * sizes.c);
            let (lse, row_start) = part.of(io.input(3).0, sizes.t * sizes.n_head);
            let job = Job { ctx, sizes, part, qkv_start, out_start, row_start, p: self.p, site, documents };
            let dqkv = Rw(part.of(io.output(0).0, sizes.t * sizes.c * 3).0);
            let delta = Rw(part.of(io.output(1).0, sizes.t * sizes.n_head).0);
            let dout = Ro(part.of(io.input(0).0, sizes.t * sizes.c).0);
            let (out, qkv, lse, rng) = (Ro(out), Ro(qkv), Ro(lse), io.input(4));
            dispatches.push(call_either!(direct_query, [2, 2, 1], tiled_query, job, {
                dqkv, delta, dout, out, qkv, lse, rng, spans
            }));
            let delta = delta.read();
            dispatches.push(call_either!(direct_key, [2, 2, 1], tiled_key, job, {
                dqkv, dout, qkv, lse, delta, rng, spans
            }));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dims = Sizes::from(shapes[2], self.n_head).dims();
        vec![reference::backward(inputs[0], inputs[2], &with(inputs, 4, 5, self.site, self.p), dims)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        // four products; recomputing the probabilities is this algorithm's overhead and doesn't count
        let sizes = Sizes::from(io.shape_in(2), self.n_head);
        Cost { flops: 4 * sizes.b * sizes.t * (sizes.t + 1) * sizes.c, bytes: io.bytes() }
    }
}

fn sizes(op: &'static str, qkv: Shape, n_head: u64) -> Result<Sizes, ShapeError> {
    let sizes = Sizes::of(op, qkv, n_head)?;
    if !FlashAttention::takes(sizes.c, n_head) {
        let expected = format!("a multiple of 4 up to {MAX_HEAD_SIZE}");
        return Err(ShapeError::new(op, "channels of a head", expected, sizes.hs()));
    }
    Ok(sizes)
}

/// The shape of a tensor with one element per row of a head.
fn rows(sizes: &Sizes) -> Shape {
    Shape::new(&[sizes.b, sizes.n_head, sizes.t])
}

/// The smallest of these head sizes that fits the heads, in units of 4.
fn padded(sizes: &Sizes, head_sizes4: &[u32]) -> u32 {
    let hs4 = to_u32(sizes.hs() / 4);
    head_sizes4.iter().copied().find(|&size| size >= hs4).unwrap_or(hs4)
}

/// Whether to use the kernels for software devices.
fn is_direct(ctx: &LowerCtx<'_>) -> bool {
    ctx.choice.family("attention_flash").map_or(ctx.caps.is_cpu, |family| family == Family::Direct)
}

/// The usual variant. With subgroups, the variant whose number of rows per lane is worth its compile time (about a
/// second per kernel): `own` gives that number for head sizes up to 32, up to 64, and above.
fn direct_variant(ctx: &LowerCtx<'_>, kernel: &'static KernelDef, hs4: u32, own: [u32; 3]) -> &'static Variant {
    let usual = ctx.variant(kernel);
    if usual.subgroup == 0 || ctx.choice.pinned(kernel.name).is_some() {
        return usual;
    }
    let [small, middle, large] = own;
    let own = match hs4 {
        ..=8 => small,
        9..=16 => middle,
        _ => large,
    };
    kernel.variant(&format!("cpu{}x{own}", usual.subgroup)).unwrap_or(usual)
}

/// Some sequences of a batch.
#[derive(Debug, Clone, Copy)]
struct Part {
    first_seq: u64,
    n_seq: u64,
}

impl Part {
    /// This part of a tensor with `per_seq` elements per sequence, and its offset in the range.
    fn of(self, whole: Range, per_seq: u64) -> (Range, u64) {
        aligned(whole, self.first_seq * per_seq, self.n_seq * per_seq)
    }
}

/// Splits the batch so that each part's share of every tensor fits one binding.
fn parts(sizes: &Sizes, ctx: &LowerCtx<'_>) -> Vec<Part> {
    let per_seq = sizes.t * 3 * sizes.c;
    if sizes.b * per_seq <= ctx.max_binding_elems() {
        return vec![Part { first_seq: 0, n_seq: sizes.b }];
    }
    // a part's range begins at the last aligned element at or before its start; the plan's check reports a sequence
    // that exceeds any binding
    let n_seq = (ctx.max_binding_elems().saturating_sub(ALIGN) / per_seq).max(1);
    let n_part = sizes.b.div_ceil(n_seq);
    let part = |i| Part { first_seq: i * n_seq, n_seq: n_seq.min(sizes.b - i * n_seq) };
    (0..n_part).map(part).collect()
}
