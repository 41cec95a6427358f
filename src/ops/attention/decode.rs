//! Attention against a cache of keys and values: filling the cache, and decoding one position at a time.

use crate::kernel::{
    Dispatch, attention_decode_forward as decode, attention_prefill_forward as prefill, groups_1d, groups_rows,
};
use crate::ops::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError, to_u32, to_usize};
use crate::reference::attention::{Dims, decode as reference};
use crate::tensor::{DType, Shape, TensorSpec};

/// The shape of a layer's cache: (B, NH, 2 block, 4 ceil(HS / 4)), with each head's keys before its values.
pub fn cache_shape(n_row: u64, n_head: u64, block: u64, n_embd: u64) -> Shape {
    Shape::new(&[n_row, n_head, 2 * block, (n_embd / n_head.max(1)).next_multiple_of(4)])
}

/// Copies the keys and values of a prompt into the cache, in place.
///
/// Shapes: qkv (B, T, 3C); fed (B) u32: row b's first `fed[b]` positions are copied, none if it is 0; cache as in
/// [`cache_shape`].
#[derive(Debug, Clone, Copy)]
pub struct AttentionPrefill {
    /// Heads (NH).
    pub n_head: u64,
    /// Capacity of the cache in positions.
    pub block: u64,
}

/// Causal self-attention of one new position per row. Its key and value are first stored in the cache.
///
/// Shapes: qkv (B, 1, 3C); cursor (B, 4) u32, whose second column is the number of cached positions; out (B, 1, C);
/// cache as in [`cache_shape`], updated in place.
/// Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.
#[derive(Debug, Clone, Copy)]
pub struct AttentionDecode {
    /// Heads (NH).
    pub n_head: u64,
    /// Capacity of the cache in positions.
    pub block: u64,
}

impl Op for AttentionPrefill {
    fn name(&self) -> &'static str {
        "attention_prefill"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        const OP: &str = "attention_prefill";
        let (qkv, fed) = (inputs[0].shape, inputs[1]);
        let sizes = Sizes::of(OP, qkv, self.n_head, self.block)?;
        if sizes.t > self.block {
            return Err(ShapeError::new(OP, "positions of qkv", format!("at most {}", self.block), sizes.t));
        }
        ShapeError::check(OP, "type of fed", DType::U32, fed.dtype)?;
        ShapeError::check(OP, "shape of fed", Shape::new(&[sizes.b]), fed.shape)?;
        Ok(vec![OutSpec::f32("cache", sizes.cache())])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let variant = ctx.variant(&prefill::DEF);
        let sizes = Sizes::from(io.shape_in(0), self.n_head, self.block);
        let n = sizes.b * sizes.t * 2 * self.n_head * sizes.quads();
        let bind = prefill::Bind { cache: io.output(0), qkv: io.input(0), fed: io.input(1) };
        let params = prefill::Params {
            n: to_u32(n),
            t: to_u32(sizes.t),
            n_head: to_u32(self.n_head),
            hs: to_u32(sizes.hs()),
            quads: to_u32(sizes.quads()),
            block: to_u32(self.block),
        };
        let groups = groups_1d(n, prefill::tune(variant).wg);
        vec![prefill::dispatch(variant, bind, prefill::Mode {}, params, groups)]
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let sizes = Sizes::from(shapes[0], self.n_head, self.block);
        vec![reference::prefill(inputs[0], inputs[1], inputs[2], sizes.reference())]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let n = io.shape_in(0).numel() / 3 * 2;
        Cost { flops: 0, bytes: 2 * n * DType::F32.bytes() }
    }

    fn in_place(&self) -> bool {
        true
    }
}

impl Op for AttentionDecode {
    fn name(&self) -> &'static str {
        "attention_decode"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        const OP: &str = "attention_decode";
        let (qkv, cursor) = (inputs[0].shape, inputs[1]);
        let sizes = Sizes::of(OP, qkv, self.n_head, self.block)?;
        ShapeError::check(OP, "positions of qkv", 1, sizes.t)?;
        ShapeError::check(OP, "type of cursor", DType::U32, cursor.dtype)?;
        ShapeError::check(OP, "shape of cursor", Shape::new(&[sizes.b, 4]), cursor.shape)?;
        Ok(vec![OutSpec::f32("out", Shape::new(&[sizes.b, 1, sizes.c])), OutSpec::f32("cache", sizes.cache())])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let variant = ctx.variant(&decode::DEF);
        let sizes = Sizes::from(io.shape_in(0), self.n_head, self.block);
        let bind = decode::Bind { out: io.output(0), cache: io.output(1), qkv: io.input(0), cursor: io.input(1) };
        let n_group = sizes.b * self.n_head;
        let params = decode::Params {
            n_group: to_u32(n_group),
            n_head: to_u32(self.n_head),
            hs: to_u32(sizes.hs()),
            quads: to_u32(sizes.quads()),
            block: to_u32(self.block),
            scale: sizes.scale(),
        };
        vec![decode::dispatch(variant, bind, decode::Mode {}, params, groups_rows(n_group, 1))]
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let sizes = Sizes::from(shapes[0], self.n_head, self.block);
        // the old values of out and cache follow the inputs
        let (out, cache) = reference::decode(inputs[0], inputs[1], inputs[3], sizes.reference());
        vec![out, cache]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        // assumes a full cache
        let sizes = Sizes::from(io.shape_in(0), self.n_head, self.block);
        Cost { flops: 4 * sizes.b * self.block * sizes.c, bytes: io.bytes() }
    }

    fn in_place(&self) -> bool {
        true
    }
}

/// Sizes of an attention layer with a cache.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    b: u64,
    t: u64,
    c: u64,
    n_head: u64,
    block: u64,
}

impl Sizes {
    fn of(op: &'static str, qkv: Shape, n_head: u64, block: u64) -> Result<Self, ShapeError> {
        ShapeError::check(op, "axes of qkv", 3, qkv.rank())?;
        if n_head == 0 || !qkv.n_col().is_multiple_of(3 * n_head) {
            return Err(ShapeError::new(
                op,
                "columns of qkv",
                format!("a multiple of 3 x {n_head} heads"),
                qkv.n_col(),
            ));
        }
        if block == 0 {
            return Err(ShapeError::new(op, "positions of the cache", "at least 1", block));
        }
        let sizes = Self::from(qkv, n_head, block);
        let [b, n_head, positions, width] = [sizes.b, n_head, 2 * block, 4 * sizes.quads()];
        let too_large = |e| ShapeError::new(op, "shape of cache", "fewer than 2^64 elements", e);
        Shape::checked(&[b, n_head, positions, width]).map_err(too_large)?;
        Ok(sizes)
    }

    fn from(qkv: Shape, n_head: u64, block: u64) -> Self {
        Self { b: qkv.dims()[0], t: qkv.dims()[1], c: qkv.n_col() / 3, n_head, block }
    }

    fn hs(&self) -> u64 {
        self.c / self.n_head
    }

    fn quads(&self) -> u64 {
        self.hs().div_ceil(4)
    }

    fn cache(&self) -> Shape {
        cache_shape(self.b, self.n_head, self.block, self.c)
    }

    fn scale(&self) -> f32 {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounded for the kernel")]
        let scale = (1.0 / (self.hs() as f64).sqrt()) as f32;
        scale
    }

    fn reference(&self) -> reference::Cache {
        let [b, t, c, n_head, block] = [self.b, self.t, self.c, self.n_head, self.block].map(to_usize);
        reference::Cache { dims: Dims { b, t, c, n_head }, block }
    }
}
