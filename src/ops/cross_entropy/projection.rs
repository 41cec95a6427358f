use super::{check, known};
use crate::kernel::{Dispatch, cross_entropy_projection_forward as k, groups_rows};
use crate::ops::matmul::{Layout, Strided};
use crate::ops::{Backward, Cost, Io, LowerCtx, Op, OutSpec, ShapeError, to_u32, to_usize};
use crate::reference;
use crate::tensor::{DType, Shape, TensorSpec};

/// The output projection and its cross-entropy in one op, a chunk of rows at a time, so that the logits of all rows
/// never exist. With `gradients` the op also computes the gradients of x and of the weight, for a loss gradient of 1:
/// the gradient of a chunk's logits replaces them in place, and nothing is computed twice.
///
/// Shapes: x, dx (.., C); weight, dweight (V, C); targets (..) u32; scale (1); loss (1); losses, lse (N) with N the
/// number of rows.
/// Units: nats; loss = scale times the sum of losses.
/// Source: as [`super::CrossEntropy`].
#[derive(Debug, Clone, Copy)]
pub struct ProjectionCrossEntropy {
    /// Rows per chunk, rounded up to a multiple of 64; 0 means as many as give 32 MiB of logits.
    pub chunk_rows: u64,
    /// Whether to compute dx and dweight.
    pub gradients: bool,
}

impl ProjectionCrossEntropy {
    /// Index of the gradient of x among the outputs.
    const DX: usize = 3;
    /// Index of the gradient of the weight among the outputs.
    pub const DWEIGHT: usize = 4;
}

/// A chunk begins at a multiple of this many rows, so that its offset is aligned in tensors of any width.
const ALIGNED_ROWS: u64 = 64;
/// Size of a chunk's logits if the number of rows isn't given.
const AUTO_BYTES: u64 = 32 << 20;

/// Elements from one row of logits to the next: a multiple of 8, so that every row begins at a multiple of 32 bytes.
fn leading(n_vocab: u64) -> u64 {
    n_vocab.next_multiple_of(8)
}

/// Splits a range into parts (start, length) of at most 8,192, whose lengths are multiples of 4 for the kernels that
/// load four elements, plus the remainder. The gradient of x sums over the vocabulary, so this keeps its sums short, as
/// in `Matmul`, and no dispatch is too much work.
fn in_parts(n: u64) -> impl Iterator<Item = (u64, u64)> {
    const MAX_LEN: u64 = 8192;
    let fours = n / 4 * 4;
    let parts = (0..fours).step_by(to_usize(MAX_LEN)).map(move |at| (at, MAX_LEN.min(fours - at)));
    parts.chain([(fours, n - fours)].into_iter().filter(|(_, len)| *len > 0))
}

/// One product over a chunk, with the layout of its matrices.
const PRODUCT: Strided = Strided {
    m: 0,
    n: 0,
    k: 0,
    trans_a: false,
    trans_b: false,
    add: false,
    a: Layout { start: 0, ld: 0, outer: 0, inner: 0 },
    b: Layout { start: 0, ld: 0, outer: 0, inner: 0 },
    out: Layout { start: 0, ld: 0, outer: 0, inner: 0 },
    n_outer: 1,
    n_inner: 1,
};

impl ProjectionCrossEntropy {
    /// Rows per chunk, at most all.
    fn chunk(&self, n_row: u64, n_vocab: u64) -> u64 {
        let auto = AUTO_BYTES / DType::F32.bytes() / leading(n_vocab) / ALIGNED_ROWS * ALIGNED_ROWS;
        let rows = if self.chunk_rows == 0 { auto } else { self.chunk_rows.next_multiple_of(ALIGNED_ROWS) };
        rows.clamp(ALIGNED_ROWS, n_row.max(ALIGNED_ROWS)).min(n_row)
    }
}

impl Op for ProjectionCrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy_projection"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let (x, weight) = (inputs[0].shape, inputs[1].shape);
        check(self.name(), &[inputs[0], inputs[2], inputs[3]])?;
        ShapeError::check(self.name(), "columns of weight", x.n_col(), weight.n_col())?;
        let rows = Shape::new(&[x.n_row()]);
        let mut outputs = vec![OutSpec::f32("loss", Shape::new(&[1]))];
        outputs.extend(["losses", "lse"].map(|name| OutSpec::f32(name, rows)));
        if self.gradients {
            outputs.extend([OutSpec::f32("dx", x), OutSpec::f32("dweight", weight)]);
        }
        let chunk = self.chunk(x.n_row(), weight.n_row());
        outputs.push(OutSpec::scratch("logits", Shape::new(&[chunk, leading(weight.n_row())])));
        Ok(outputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (n_row, c) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
        let n_vocab = io.shape_in(1).n_row();
        let (ld, scratch) = (leading(n_vocab), io.outputs.len() - 1);
        // a chunk size set by hand may exceed a binding, though not the smallest one; the plan's check reports that
        let bound = (ctx.max_binding_elems() / ld.max(c) / ALIGNED_ROWS).max(1) * ALIGNED_ROWS;
        let chunk = self.chunk(n_row, n_vocab).min(bound);
        // (first row of the weight, rows) of each binding, in parts whose lengths are multiples of 4
        let parts: Vec<(u64, u64, u64, u64)> = ctx
            .row_ranges(n_vocab, c)
            .into_iter()
            .flat_map(|(first, len)| in_parts(len).map(move |(at, n)| (first, len, at, n)))
            .collect();
        let variant = ctx.variant(&k::DEF);
        let tune = k::tune(variant);
        let mut dispatches = vec![];
        for row in (0..n_row).step_by(to_usize(chunk.max(1))) {
            let rows = chunk.min(n_row - row);
            let logits = io.output(scratch).slice(0, rows * ld);
            let x = io.input(0).slice(row * c, rows * c);
            for &(first, len, at, n) in &parts {
                let product = Strided {
                    m: rows,
                    n,
                    k: c,
                    trans_b: true,
                    a: Layout::rows(c),
                    b: Layout { start: at * c, ..Layout::rows(c) },
                    out: Layout { start: first + at, ..Layout::rows(ld) },
                    ..PRODUCT
                };
                dispatches.push(product.dispatch(ctx, logits, x, io.input(1).slice(first * c, len * c), None));
            }
            let bind = k::Bind {
                losses: io.output(1).slice(row, rows),
                lse: io.output(2).slice(row, rows),
                logits,
                targets: io.input(2).slice(row, rows),
                scale: io.input(3),
            };
            let params = k::Params { n_row: to_u32(rows), n_col: to_u32(n_vocab), ld4: to_u32(ld / 4) };
            let mode = k::Mode { gradient: self.gradients };
            dispatches.push(k::dispatch(variant, bind, mode, params, groups_rows(rows, tune.wg / tune.lanes)));
            if !self.gradients {
                continue;
            }
            let dx = io.output(Self::DX).slice(row * c, rows * c);
            for &(first, len, at, n) in &parts {
                let product = Strided {
                    m: rows,
                    n: c,
                    k: n,
                    add: first + at > 0,
                    a: Layout { start: first + at, ..Layout::rows(ld) },
                    b: Layout { start: at * c, ..Layout::rows(c) },
                    out: Layout::rows(c),
                    ..PRODUCT
                };
                let weight = io.input(1).slice(first * c, len * c);
                dispatches.push(product.dispatch(ctx, dx, logits.read(), weight, None));
            }
            for &(first, len, at, n) in &parts {
                let product = Strided {
                    m: n,
                    n: c,
                    k: rows,
                    trans_a: true,
                    add: io.adds(Self::DWEIGHT) || row > 0,
                    a: Layout { start: first + at, ..Layout::rows(ld) },
                    b: Layout::rows(c),
                    out: Layout { start: at * c, ..Layout::rows(c) },
                    ..PRODUCT
                };
                let dweight = io.output(Self::DWEIGHT).slice(first * c, len * c);
                dispatches.push(product.dispatch(ctx, dweight, logits.read(), x, None));
            }
        }
        dispatches.push(super::reduce_losses(io, ctx, 3));
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        use reference::matmul::{Dims, forward as matmul};
        let (x, weight) = (inputs[0], inputs[1]);
        let [n, c, v] = [shapes[0].n_row(), shapes[0].n_col(), shapes[1].n_row()].map(to_usize);
        let logits = matmul(x, weight, None, Dims { m: n, n: v, k: c, trans_a: false, trans_b: true });
        let targets = known(inputs[2], v);
        let (loss, losses, lse) = reference::cross_entropy::forward(&logits, &targets, inputs[3][0], n, v);
        let mut outputs = vec![vec![loss], losses, lse];
        if self.gradients {
            let dlogits = reference::cross_entropy::backward(&logits, &targets, inputs[3][0], n, v);
            outputs.push(matmul(&dlogits, weight, None, Dims { m: n, n: c, k: v, trans_a: false, trans_b: false }));
            outputs.push(matmul(&dlogits, x, None, Dims { m: v, n: c, k: n, trans_a: true, trans_b: false }));
        }
        outputs
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let (n_row, c, n_vocab) = (io.shape_in(0).n_row(), io.shape_in(0).n_col(), io.shape_in(1).n_row());
        let (n_product, n_pass) = if self.gradients { (3, 8) } else { (1, 4) };
        Cost { flops: n_row * n_vocab * (2 * c * n_product + n_pass), bytes: io.bytes() }
    }

    fn product_flops(&self, io: &Io<'_>) -> u64 {
        2 * io.shape_in(0).numel() * io.shape_in(1).n_row()
    }

    fn accumulates(&self, output: usize) -> bool {
        output == 0 || self.gradients && output == Self::DWEIGHT
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        tape.dout(0)?;
        if !self.gradients {
            return None;
        }
        // the gradient of the weight was added to its tensor when the graph was built
        Some(if tape.wants(0) { tape.pass(0, tape.output(Self::DX)) } else { Ok(()) })
    }
}
