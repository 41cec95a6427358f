use super::matmul::{Layout, Strided};
use super::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, ShapeError, to_u32, to_usize};
use crate::kernel::{
    Dispatch, Ro, Rw, attention_softmax_backward as softmax_backward, attention_softmax_forward as softmax,
    dropout_forward, groups_1d, groups_rows,
};
use crate::reference::{attention as reference, dropout};
use crate::tensor::{Shape, TensorSpec};

/// Causal multi-head self-attention: softmax(q k^T / sqrt(HS), masked) v in each head, with dropout of the probabilities.
/// This is the readable form: it keeps the probabilities, which also are the attention maps.
///
/// Shapes: qkv (B, T, 3C) in column blocks q, k, v, heads contiguous; rng (4) u32; out (B, T, C); att (B, NH, T, T).
/// Source: Vaswani et al., arXiv:1706.03762, section 3.2.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Heads; divides C.
    pub n_head: u64,
    /// Dropout probability, in [0, 1).
    pub p: f32,
    /// The dropout site's number in the model.
    pub site: u32,
}

/// The gradient of [`Attention`] with respect to its packed input; the dropout mask is made again.
///
/// Shapes: dout (B, T, C); qkv, dqkv (B, T, 3C); att (B, NH, T, T); rng (4) u32.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackward {
    /// Heads.
    pub n_head: u64,
    /// Dropout probability.
    pub p: f32,
    /// The dropout site's number.
    pub site: u32,
}

/// Sizes of one call, over a range of the batch.
#[derive(Clone, Copy)]
struct Sizes {
    b: u64,
    t: u64,
    c: u64,
    n_head: u64,
}

impl Sizes {
    fn new(qkv: Shape, n_head: u64) -> Self {
        let dims = qkv.dims();
        Self { b: dims[0], t: dims[1], c: dims[2] / 3, n_head }
    }

    fn head_size(self) -> u64 {
        self.c / self.n_head
    }

    fn att_row(self) -> u64 {
        self.n_head * self.t * self.t
    }

    fn scale(self) -> f32 {
        (1.0 / (self.head_size() as f64).sqrt()) as f32
    }

    /// One of the column blocks q, k, v of the packed tensor.
    fn block(self, index: u64) -> Layout {
        let ld = 3 * self.c;
        Layout { start: index * self.c, ld, outer: self.t * ld, inner: self.head_size() }
    }

    /// The heads of (B, T, C).
    fn merged(self) -> Layout {
        Layout { start: 0, ld: self.c, outer: self.t * self.c, inner: self.head_size() }
    }

    /// The matrices of (B, NH, T, T).
    fn maps(self) -> Layout {
        Layout { start: 0, ld: self.t, outer: self.att_row(), inner: self.t * self.t }
    }

    /// out = op(a) op(b) in each head of each row of the batch: (m, n) with k terms.
    fn product(self, trans: (bool, bool), [m, n, k]: [u64; 3], [out, a, b]: [Layout; 3]) -> Strided {
        Strided {
            m,
            n,
            k,
            trans_a: trans.0,
            trans_b: trans.1,
            add: false,
            a,
            b,
            out,
            n_outer: self.b,
            n_inner: self.n_head,
        }
    }

    /// Ranges of the batch whose tensors each fit one binding, with their sizes.
    fn ranges(self, ctx: &LowerCtx<'_>) -> Vec<(u64, Self)> {
        let widest = self.att_row().max(3 * self.t * self.c);
        // both tensors are cut at the same rows, so the rows must suit the alignment of both
        let ranges = ctx.aligned_ranges(self.b, widest, &[self.att_row(), self.t * self.c]);
        ranges.into_iter().map(|(start, b)| (start, Self { b, ..self })).collect()
    }
}

/// What a dispatch of dropout needs besides its tensors.
#[derive(Clone, Copy)]
struct Drop {
    p: f32,
    site: u32,
    rng: Ro,
}

impl Drop {
    fn threshold(self) -> u32 {
        dropout::threshold(self.p.into())
    }

    fn scale(self) -> f32 {
        dropout::scale(self.p.into()) as f32
    }

    /// Writes the dropped-out probabilities of a range of the batch that begins at element `first`.
    fn dispatch(self, ctx: &LowerCtx<'_>, out: Rw, att: Ro, first: u64) -> Dispatch {
        use dropout_forward as k;
        let (variant, n) = (ctx.variant(&k::DEF), att.0.len);
        let params = k::Params {
            n: to_u32(n),
            first: to_u32(first),
            site: self.site,
            threshold: self.threshold(),
            scale: self.scale(),
        };
        let bind = k::Bind { out, inp: att, rng: self.rng };
        k::dispatch(variant, bind, k::Mode { add: false }, params, groups_1d(n, k::tune(variant).wg * 4))
    }
}

fn check(op: &'static str, qkv: &TensorSpec, n_head: u64) -> Result<Sizes, ShapeError> {
    let dims = qkv.shape.dims();
    ShapeError::check(op, "axes of qkv", 3, dims.len())?;
    if !dims[2].is_multiple_of(3) || !(dims[2] / 3).is_multiple_of(n_head) {
        let expected = format!("3 blocks whose columns the {n_head} heads divide");
        return Err(ShapeError::new(op, "columns of qkv", expected, dims[2]));
    }
    // a head of a row of the batch is a workgroup along z
    const MOST: u64 = 65_535;
    if dims[0] * n_head > MOST {
        return Err(ShapeError::new(op, "rows of the batch times heads", format!("at most {MOST}"), dims[0] * n_head));
    }
    Ok(Sizes::new(qkv.shape, n_head))
}

fn att_shape(op: &'static str, s: Sizes) -> Result<Shape, ShapeError> {
    let shape = Shape::checked(&[s.b, s.n_head, s.t, s.t]);
    shape.map_err(|e| ShapeError::new(op, "shape of att", "fewer than 2^64 elements", e))
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let s = check("attention", inputs[0], self.n_head)?;
        ShapeError::check("attention", "elements of rng", 4, inputs[1].shape.numel())?;
        let att = att_shape("attention", s)?;
        let mut outs = vec![OutSpec::f32("out", Shape::new(&[s.b, s.t, s.c])), OutSpec::f32("att", att)];
        if self.p > 0.0 {
            outs.push(OutSpec::scratch("dropped", att));
        }
        Ok(outs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let all = Sizes::new(io.shape_in(0), self.n_head);
        let drop = Drop { p: self.p, site: self.site, rng: io.input(1) };
        let mut dispatches = vec![];
        for (first, s) in all.ranges(ctx) {
            let [t, hs] = [s.t, s.head_size()];
            let qkv = io.input(0).slice(first * t * 3 * s.c, s.b * t * 3 * s.c);
            let out = io.output(0).slice(first * t * s.c, s.b * t * s.c);
            let att = io.output(1).slice(first * s.att_row(), s.b * s.att_row());
            let scores = s.product((false, true), [t, t, hs], [s.maps(), s.block(0), s.block(1)]);
            dispatches.push(scores.dispatch(ctx, att, qkv, qkv, None));
            let (variant, n_row) = (ctx.variant(&softmax::DEF), s.b * s.n_head * t);
            let tune = softmax::tune(variant);
            let params = softmax::Params { n_row: to_u32(n_row), n_time: to_u32(t), scale: s.scale() };
            let groups = groups_rows(n_row, tune.wg / tune.lanes);
            dispatches.push(softmax::dispatch(variant, softmax::Bind { att }, softmax::Mode {}, params, groups));
            let mut weights = att.read();
            if self.p > 0.0 {
                let dropped = io.output(2).slice(first * s.att_row(), s.b * s.att_row());
                dispatches.push(drop.dispatch(ctx, dropped, weights, first * s.att_row()));
                weights = dropped.read();
            }
            let merge = s.product((false, false), [t, hs, t], [s.merged(), s.maps(), s.block(2)]);
            dispatches.push(merge.dispatch(ctx, out, weights, qkv, None));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dims = reference_dims(Sizes::new(shapes[0], self.n_head));
        let (out, att) = reference::forward(inputs[0], inputs[1], self.site, self.p.into(), dims);
        vec![out, att]
    }

    /// The products as they are computed: whole squares, not the visible half.
    fn cost(&self, io: &Io<'_>) -> Cost {
        let s = Sizes::new(io.shape_in(0), self.n_head);
        Cost { flops: 4 * s.b * s.t * s.t * s.c, bytes: io.bytes() }
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let inputs = [tape.dout(0)?, tape.input(0), tape.output(1), tape.input(1)];
        let op = AttentionBackward { n_head: self.n_head, p: self.p, site: self.site };
        Some(tape.apply(Box::new(op), &inputs, &[Dest::Grad(0)]).map(|_| ()))
    }
}

impl Op for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let s = check("attention_backward", inputs[1], self.n_head)?;
        ShapeError::check("attention_backward", "elements of dout", s.b * s.t * s.c, inputs[0].shape.numel())?;
        let att = att_shape("attention_backward", s)?;
        ShapeError::check("attention_backward", "shape of att", att, inputs[2].shape)?;
        let mut outs = vec![OutSpec::f32("dqkv", inputs[1].shape), OutSpec::scratch("datt", att)];
        if self.p > 0.0 {
            outs.push(OutSpec::scratch("dropped", att));
        }
        Ok(outs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let all = Sizes::new(io.shape_in(1), self.n_head);
        let drop = Drop { p: self.p, site: self.site, rng: io.input(3) };
        let mut dispatches = vec![];
        for (first, s) in all.ranges(ctx) {
            let [t, hs] = [s.t, s.head_size()];
            let dout = io.input(0).slice(first * t * s.c, s.b * t * s.c);
            let qkv = io.input(1).slice(first * t * 3 * s.c, s.b * t * 3 * s.c);
            let att = io.input(2).slice(first * s.att_row(), s.b * s.att_row());
            let dqkv = io.output(0).slice(first * t * 3 * s.c, s.b * t * 3 * s.c);
            let datt = io.output(1).slice(first * s.att_row(), s.b * s.att_row());
            let mut weights = att;
            if self.p > 0.0 {
                let dropped = io.output(2).slice(first * s.att_row(), s.b * s.att_row());
                dispatches.push(drop.dispatch(ctx, dropped, att, first * s.att_row()));
                weights = dropped.read();
            }
            let dv = s.product((true, false), [t, hs, t], [s.block(2), s.maps(), s.merged()]);
            dispatches.push(dv.dispatch(ctx, dqkv, weights, dout, None));
            let dweights = s.product((false, true), [t, t, hs], [s.maps(), s.merged(), s.block(2)]);
            dispatches.push(dweights.dispatch(ctx, datt, dout, qkv, None));
            dispatches.push(self.scores(ctx, s, datt, att, drop, first));
            let dq = s.product((false, false), [t, hs, t], [s.block(0), s.maps(), s.block(1)]);
            dispatches.push(dq.dispatch(ctx, dqkv, datt.read(), qkv, None));
            let dk = s.product((true, false), [t, hs, t], [s.block(1), s.maps(), s.block(0)]);
            dispatches.push(dk.dispatch(ctx, dqkv, datt.read(), qkv, None));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let dims = reference_dims(Sizes::new(shapes[1], self.n_head));
        vec![reference::backward(inputs[0], inputs[1], inputs[3], self.site, self.p.into(), dims)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let s = Sizes::new(io.shape_in(1), self.n_head);
        Cost { flops: 8 * s.b * s.t * s.t * s.c, bytes: io.bytes() }
    }
}

impl AttentionBackward {
    /// From the gradient of the dropped-out probabilities to that of the scores.
    fn scores(&self, ctx: &LowerCtx<'_>, s: Sizes, datt: Rw, att: Ro, drop: Drop, first: u64) -> Dispatch {
        use softmax_backward as k;
        let (variant, n_row) = (ctx.variant(&k::DEF), s.b * s.n_head * s.t);
        let tune = k::tune(variant);
        let params = k::Params {
            n_row: to_u32(n_row),
            n_time: to_u32(s.t),
            scale: s.scale(),
            first_row: to_u32(first * s.n_head * s.t),
            site: drop.site,
            threshold: drop.threshold(),
            keep_scale: drop.scale(),
        };
        let bind = k::Bind { datt, att, rng: drop.rng };
        let groups = groups_rows(n_row, tune.wg / tune.lanes);
        k::dispatch(variant, bind, k::Mode { dropout: self.p > 0.0 }, params, groups)
    }
}

fn reference_dims(s: Sizes) -> reference::Dims {
    let [b, t, c, n_head] = [s.b, s.t, s.c, s.n_head].map(to_usize);
    reference::Dims { b, t, c, n_head }
}
