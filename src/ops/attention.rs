pub mod decode;
mod flash;
mod probe;

pub use flash::{FlashAttention, FlashAttentionBackward};
pub use probe::FlashProbe;

use super::matmul::{Layout, Strided};
use super::{Backward, Cost, Dest, Dropout, Io, LowerCtx, Op, OutSpec, ShapeError, to_u32, to_usize};
use crate::kernel::{
    Dispatch, Range, Ro, Rw, attention_softmax_backward as backward, attention_softmax_forward as forward, groups_rows,
};
use crate::reference::attention as reference;
use crate::tensor::{DType, Shape, TensorSpec};

/// Maximum number of heads over all sequences: they are the z axis of a dispatch.
const MAX_HEADS: u64 = 65_535;
/// The largest alignment of a binding's start, in elements.
const ALIGN: u64 = 64;

/// Causal multi-head self-attention with dropout on the probabilities.
///
/// Shapes: qkv (B, T, 3C) in column blocks q, k, v whose heads are contiguous; rng (4) in u32; out (B, T, C); att (B,
/// NH, T, T), the probabilities before dropout, exactly 0 above the diagonal. An optional third input, spans (B, T, 2)
/// in u32, marks the documents that share a row, so that attention does not cross documents: [`document_spans`].
/// Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Heads (NH), which divide the channels.
    pub n_head: u64,
    /// Probability that a weight is dropped, in [0, 1).
    pub p: f32,
    /// The index of this dropout site in the model.
    pub site: u32,
}

/// The gradient of [`Attention`]; the dropout mask is recomputed.
///
/// Shapes: dout (B, T, C), qkv and dqkv (B, T, 3C), att (B, NH, T, T), rng (4) in u32; spans as in [`Attention`].
/// Source: the chain rule on [`Attention`].
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackward {
    /// Heads (NH).
    pub n_head: u64,
    /// Probability that a weight was dropped.
    pub p: f32,
    /// The index of this dropout site in the model.
    pub site: u32,
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let sizes = Sizes::of("attention", inputs[0].shape, self.n_head)?;
        Dropout::check("attention", self.p, inputs[1])?;
        sizes.check_spans("attention", inputs.get(2))?;
        Ok(vec![
            OutSpec::f32("out", Shape::new(&[sizes.b, sizes.t, sizes.c])),
            OutSpec::f32("att", sizes.att("attention")?),
            OutSpec::scratch("dropped", sizes.dropped("attention", self.p)?),
        ])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let sizes = Sizes::from(io.shape_in(0), self.n_head);
        let (t, c, hs) = (sizes.t, sizes.c, sizes.hs());
        let (threshold, drop_scale) = Dropout::factors(self.p);
        let has_dropout = self.p > 0.0;
        let mut dispatches = vec![];
        for part in sizes.parts(ctx) {
            let (qkv, q) = part.rows(io.input(0).0, 3 * c, &sizes);
            let (out, o) = part.rows(io.output(0).0, c, &sizes);
            let (att, scores) = part.heads(io.output(1).0, &sizes);
            let (dropped, weights) =
                if has_dropout { part.heads(io.output(2).0, &sizes) } else { (io.output(2).0, Layout::default()) };
            let product = |m, n, k, trans_b, a, b, out| Strided { trans_b, ..part.product([m, n, k], [a, b, out]) };
            let k = Layout { start: q.start + c, ..q };
            let v = Layout { start: q.start + 2 * c, ..q };
            dispatches.push(product(t, t, hs, true, q, k, scores).dispatch(ctx, Rw(att), Ro(qkv), Ro(qkv), None));
            let variant = ctx.variant(&forward::DEF);
            let tune = forward::tune(variant);
            let n_row = part.n_head() * t;
            let params = forward::Params {
                n_row: to_u32(n_row),
                t: to_u32(t),
                n_head: to_u32(self.n_head),
                first_row: to_u32(part.first_head(&sizes) * t),
                att_start: to_u32(scores.start),
                dropped_start: to_u32(weights.start),
                site: self.site,
                threshold,
                drop_scale,
                scale: sizes.scale(),
            };
            let (documents, spans) = spans(io, 2, 1);
            let bind = forward::Bind { att: Rw(att), dropped: Rw(dropped), rng: io.input(1), spans };
            let groups = groups_rows(n_row, tune.wg / tune.lanes);
            let mode = forward::Mode { dropout: has_dropout, documents };
            dispatches.push(forward::dispatch(variant, bind, mode, params, groups));
            let (a, a_at) = if has_dropout { (dropped, weights) } else { (att, scores) };
            dispatches.push(product(t, hs, t, false, a_at, v, o).dispatch(ctx, Rw(out), Ro(a), Ro(qkv), None));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dims = Sizes::from(shapes[0], self.n_head).dims();
        let (out, att) = reference::forward(inputs[0], &with(inputs, 1, 2, self.site, self.p), dims);
        vec![out, att]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        // two products of the T (T + 1) / 2 scores of a head, although the kernels compute whole squares
        let sizes = Sizes::from(io.shape_in(0), self.n_head);
        Cost { flops: 2 * sizes.b * sizes.t * (sizes.t + 1) * sizes.c, bytes: io.bytes() }
    }

    fn product_flops(&self, io: &Io<'_>) -> u64 {
        self.cost(io).flops
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        let Self { n_head, p, site } = *self;
        let mut inputs = vec![dout, tape.input(0), tape.output(1), tape.input(1)];
        inputs.extend((2..tape.n_input()).map(|i| tape.input(i)));
        Some(tape.apply(Box::new(AttentionBackward { n_head, p, site }), &inputs, &[Dest::Grad(0)]).map(|_| ()))
    }
}

/// The spans that keep attention from crossing documents in a row: for each position, the first position of its
/// document and the one after its last, (B, T, 2). `firsts` holds the former alone, (B, T).
pub fn document_spans(firsts: &[u32], t: usize) -> Vec<u32> {
    let mut spans = vec![0; firsts.len() * 2];
    for (row, spans) in firsts.chunks(t).zip(spans.chunks_mut(2 * t)) {
        let mut end = super::to_u32(row.len() as u64);
        for (i, &first) in row.iter().enumerate().rev() {
            spans[2 * i] = first;
            spans[2 * i + 1] = end;
            if first as usize == i {
                end = first;
            }
        }
    }
    spans
}

/// The position of each token in its document: the index into the position embedding.
pub fn document_places(firsts: &[u32], t: usize) -> Vec<u32> {
    let columns = (0..super::to_u32(t as u64)).cycle();
    columns.zip(firsts).map(|(column, first)| column - first).collect()
}

/// Whether there are spans, and the binding for them. Without spans, the random key is bound in their place and not
/// read.
fn spans(io: &Io<'_>, index: usize, rng: usize) -> (bool, Ro) {
    let documents = io.inputs.len() > index;
    (documents, io.input(if documents { index } else { rng }))
}

/// The reference's settings; `rng` and `spans` are indices of inputs.
fn with<'a>(inputs: &[&'a [f64]], rng: usize, spans: usize, site: u32, p: f32) -> reference::Setting<'a> {
    reference::Setting { rng: inputs[rng], site, p: p.into(), spans: inputs.get(spans).copied() }
}

impl AttentionBackward {
    /// The reference's sizes.
    pub(crate) fn dims(qkv: Shape, n_head: u64) -> reference::Dims {
        Sizes::from(qkv, n_head).dims()
    }
}

impl Op for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        const OP: &str = "attention_backward";
        let sizes = Sizes::of(OP, inputs[1].shape, self.n_head)?;
        let att = sizes.att(OP)?;
        ShapeError::check(OP, "shape of dout", Shape::new(&[sizes.b, sizes.t, sizes.c]), inputs[0].shape)?;
        ShapeError::check(OP, "shape of att", att, inputs[2].shape)?;
        Dropout::check(OP, self.p, inputs[3])?;
        sizes.check_spans(OP, inputs.get(4))?;
        Ok(vec![
            OutSpec::f32("dqkv", inputs[1].shape),
            OutSpec::scratch("datt", att),
            OutSpec::scratch("dropped", sizes.dropped(OP, self.p)?),
        ])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let sizes = Sizes::from(io.shape_in(1), self.n_head);
        let (t, c, hs) = (sizes.t, sizes.c, sizes.hs());
        let (threshold, drop_scale) = Dropout::factors(self.p);
        let has_dropout = self.p > 0.0;
        let mut dispatches = vec![];
        for part in sizes.parts(ctx) {
            let (dout, o) = part.rows(io.input(0).0, c, &sizes);
            let (qkv, q) = part.rows(io.input(1).0, 3 * c, &sizes);
            let (att, weights) = part.heads(io.input(2).0, &sizes);
            let (dqkv, dq) = part.rows(io.output(0).0, 3 * c, &sizes);
            let (datt, ds) = part.heads(io.output(1).0, &sizes);
            let (dropped, dropped_at) =
                if has_dropout { part.heads(io.output(2).0, &sizes) } else { (io.output(2).0, Layout::default()) };
            let block = |at: Layout, i: u64| Layout { start: at.start + i * c, ..at };
            let add = io.adds(0);
            // gradient of the weights: dout v^T
            dispatches.push(Strided { trans_b: true, ..part.product([t, t, hs], [o, block(q, 2), ds]) }.dispatch(
                ctx,
                Rw(datt),
                Ro(dout),
                Ro(qkv),
                None,
            ));
            let variant = ctx.variant(&backward::DEF);
            let tune = backward::tune(variant);
            let n_row = part.n_head() * t;
            let params = backward::Params {
                n_row: to_u32(n_row),
                t: to_u32(t),
                n_head: to_u32(self.n_head),
                first_row: to_u32(part.first_head(&sizes) * t),
                datt_start: to_u32(ds.start),
                dropped_start: to_u32(dropped_at.start),
                att_start: to_u32(weights.start),
                site: self.site,
                threshold,
                drop_scale,
                scale: sizes.scale(),
            };
            let (documents, spans) = spans(io, 4, 3);
            let bind = backward::Bind { datt: Rw(datt), dropped: Rw(dropped), att: Ro(att), rng: io.input(3), spans };
            let groups = groups_rows(n_row, tune.wg / tune.lanes);
            let mode = backward::Mode { dropout: has_dropout, documents };
            dispatches.push(backward::dispatch(variant, bind, mode, params, groups));
            // dq = ds k, dk = ds^T q, dv = weights^T dout
            let (a, a_at) = if has_dropout { (dropped, dropped_at) } else { (att, weights) };
            let into_dqkv = |trans_a: bool, (a, a_at): (Range, Layout), (b, b_at): (Range, Layout), i: u64| {
                Strided { trans_a, add, ..part.product([t, hs, t], [a_at, b_at, block(dq, i)]) }.dispatch(
                    ctx,
                    Rw(dqkv),
                    Ro(a),
                    Ro(b),
                    None,
                )
            };
            dispatches.push(into_dqkv(false, (datt, ds), (qkv, block(q, 1)), 0));
            dispatches.push(into_dqkv(true, (datt, ds), (qkv, q), 1));
            dispatches.push(into_dqkv(true, (a, a_at), (dout, o), 2));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dims = Sizes::from(shapes[1], self.n_head).dims();
        vec![reference::backward(inputs[0], inputs[1], &with(inputs, 3, 4, self.site, self.p), dims)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        // four products of the same size
        let sizes = Sizes::from(io.shape_in(1), self.n_head);
        Cost { flops: 4 * sizes.b * sizes.t * (sizes.t + 1) * sizes.c, bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}

/// Sizes of an attention layer.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    b: u64,
    t: u64,
    c: u64,
    n_head: u64,
}

impl Sizes {
    fn of(op: &'static str, qkv: Shape, n_head: u64) -> Result<Self, ShapeError> {
        ShapeError::check(op, "axes of qkv", 3, qkv.rank())?;
        if !qkv.n_col().is_multiple_of(3) {
            return Err(ShapeError::new(op, "columns of qkv", "a multiple of 3", qkv.n_col()));
        }
        let sizes = Self::from(qkv, n_head);
        if n_head == 0 || !sizes.c.is_multiple_of(n_head) {
            return Err(ShapeError::new(op, "channels", format!("a multiple of the {n_head} heads"), sizes.c));
        }
        if sizes.b.checked_mul(n_head).is_none_or(|n| n > MAX_HEADS) {
            let got = format!("{} x {n_head}", sizes.b);
            return Err(ShapeError::new(op, "sequences x heads", format!("at most {MAX_HEADS}"), got));
        }
        Ok(sizes)
    }

    fn from(qkv: Shape, n_head: u64) -> Self {
        Self { b: qkv.dims()[0], t: qkv.dims()[1], c: qkv.n_col() / 3, n_head }
    }

    fn check_spans(&self, op: &'static str, spans: Option<&&TensorSpec>) -> Result<(), ShapeError> {
        let Some(spans) = spans else { return Ok(()) };
        ShapeError::check(op, "type of spans", DType::U32, spans.dtype)?;
        ShapeError::check(op, "shape of spans", Shape::new(&[self.b, self.t, 2]), spans.shape)
    }

    fn hs(&self) -> u64 {
        self.c / self.n_head
    }

    fn att(&self, op: &'static str) -> Result<Shape, ShapeError> {
        let too_large = |e| ShapeError::new(op, "shape of att", "fewer than 2^64 elements", e);
        Shape::checked(&[self.b, self.n_head, self.t, self.t]).map_err(too_large)
    }

    /// The size of `dropped`; without dropout, one element is bound that no kernel touches.
    fn dropped(&self, op: &'static str, p: f32) -> Result<Shape, ShapeError> {
        if p > 0.0 { self.att(op) } else { Ok(Shape::new(&[1])) }
    }

    fn scale(&self) -> f32 {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounded for the kernel")]
        let scale = (1.0 / (self.hs() as f64).sqrt()) as f32;
        scale
    }

    fn dims(&self) -> reference::Dims {
        let [b, t, c, n_head] = [self.b, self.t, self.c, self.n_head].map(to_usize);
        reference::Dims { b, t, c, n_head }
    }

    /// Splits the work so that each part's share of every tensor fits one binding: some sequences with all heads, else
    /// heads of one sequence.
    fn parts(&self, ctx: &LowerCtx<'_>) -> Vec<Part> {
        // a part's range begins at the last aligned element at or before its start
        let most = ctx.max_binding_elems().saturating_sub(ALIGN);
        let (head, rows) = (self.t * self.t, self.t * 3 * self.c);
        let n_seq = (most / (head * self.n_head)).min(most / rows);
        let starts = |n: u64, step: u64| (0..n).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let whole = ctx.max_binding_elems() >= self.b * (head * self.n_head).max(rows);
        if whole || n_seq > 0 {
            let step = if whole { self.b } else { n_seq };
            return starts(self.b, step)
                .map(|b0| Part { b0, n_b: step.min(self.b - b0), h0: 0, n_h: self.n_head })
                .collect();
        }
        // if a head is too large for any binding, the plan's check reports it
        let step = (most / head).clamp(1, self.n_head);
        (0..self.b)
            .flat_map(|b0| starts(self.n_head, step).map(move |h0| (b0, h0)))
            .map(|(b0, h0)| Part { b0, n_b: 1, h0, n_h: step.min(self.n_head - h0) })
            .collect()
    }
}

/// Some heads of some sequences.
#[derive(Debug, Clone, Copy)]
struct Part {
    b0: u64,
    n_b: u64,
    h0: u64,
    n_h: u64,
}

impl Part {
    fn n_head(&self) -> u64 {
        self.n_b * self.n_h
    }

    fn first_head(&self, sizes: &Sizes) -> u64 {
        self.b0 * sizes.n_head + self.h0
    }

    /// This part of a tensor (B, T, n_col), and the layout of its heads in the first column block.
    fn rows(&self, whole: Range, n_col: u64, sizes: &Sizes) -> (Range, Layout) {
        let per_seq = sizes.t * n_col;
        let (range, start) = aligned(whole, self.b0 * per_seq, self.n_b * per_seq);
        let hs = sizes.hs();
        (range, Layout { start: start + self.h0 * hs, ld: n_col, outer: per_seq, inner: hs })
    }

    /// This part of a tensor (B, NH, T, T).
    fn heads(&self, whole: Range, sizes: &Sizes) -> (Range, Layout) {
        let per_head = sizes.t * sizes.t;
        let (range, start) = aligned(whole, self.first_head(sizes) * per_head, self.n_head() * per_head);
        (range, Layout { start, ld: sizes.t, outer: self.n_h * per_head, inner: per_head })
    }

    fn product(&self, [m, n, k]: [u64; 3], [a, b, out]: [Layout; 3]) -> Strided {
        let (n_outer, n_inner) = (self.n_b, self.n_h);
        Strided { m, n, k, trans_a: false, trans_b: false, add: false, a, b, out, n_outer, n_inner }
    }
}

/// A range from an aligned element at or before `start`, and the offset of `start` in it.
fn aligned(whole: Range, start: u64, len: u64) -> (Range, u64) {
    let skip = start % ALIGN;
    (whole.slice(start - skip, skip + len), skip)
}
