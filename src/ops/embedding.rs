pub mod decode;

use super::{Backward, Cost, Dest, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{
    Dispatch, embedding_backward, embedding_backward_chunks, embedding_backward_position,
    embedding_backward_zero as zero, embedding_forward, embedding_vec4_backward, embedding_vec4_backward_chunks,
    embedding_vec4_forward, groups_1d,
};
use crate::reference;
use crate::tensor::{DType, Shape, TensorId, TensorSpec};

/// Rows of a table by id, plus a row by position if there is a third input. With a fourth, positions count from the
/// start of a row's document: [`super::document_spans`].
///
/// Shapes: ids (.., T) u32, wte (V, C), wpe (at least T, C), spans (.., T, 2) u32, out (.., T, C).
/// Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", section 3.1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Embedding {
    /// The sorted ids, from [`sorted_positions`], a u32 tensor (3, N); only the gradient of wte needs it.
    pub sorted: Option<TensorId>,
    /// The same for positions, (3, N), if there are spans; only the gradient of wpe needs it.
    pub sorted_places: Option<TensorId>,
}

/// The gradient of [`Embedding`] with respect to its table. There are no float atomics: each token's positions are
/// summed in chunks of 32, then the chunks in order.
///
/// Shapes: dout (.., C), sorted (3, N) u32, dwte (V, C).
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingBackward {
    /// Rows of the table.
    pub vocab_size: u64,
}

/// The gradient of [`Embedding`] with respect to its position table, if positions count from a row's start. If they
/// count from a document's start, [`EmbeddingBackward`] computes it from the sorted positions.
///
/// Shapes: dout (.., T, C), dwpe (n_position, C).
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingBackwardPosition {
    /// Rows of the position table, at least T.
    pub n_position: u64,
}

/// The host's input that gives the table's gradient a fixed order of additions. It has three rows of one element per
/// id: the positions sorted by token (positions of one token in order), the token at each, and the index in that order
/// at which the token's run begins.
///
/// # Panics
///
/// If there are more than 2^32 ids.
pub fn sorted_positions(ids: &[u32]) -> Vec<u32> {
    let n = super::to_u32(ids.len() as u64);
    let mut sorted: Vec<(u32, u32)> = ids.iter().copied().zip(0..n).collect();
    sorted.sort_unstable();
    let mut runs: Vec<u32> = Vec::with_capacity(sorted.len());
    for (i, index) in (0..n).enumerate() {
        let continues = i > 0 && sorted[i].0 == sorted[i - 1].0;
        runs.push(if continues { runs[i - 1] } else { index });
    }
    let positions = sorted.iter().map(|&(_, position)| position);
    positions.chain(sorted.iter().map(|&(token, _)| token)).chain(runs.iter().copied()).collect()
}

/// The dispatches of [`Embedding`] for a kernel that loads `$width` columns as one value.
macro_rules! lower_forward {
    ($k:ident, $width:literal, $io:expr, $ctx:expr) => {{
        let (io, ctx) = ($io, $ctx);
        let variant = ctx.variant(&$k::DEF);
        let per_group = $k::tune(variant).wg * $k::tune(variant).each;
        let (ids, wte) = (io.shape_in(0), io.shape_in(1));
        let (n_col, position, documents) = (wte.n_col(), io.inputs.len() > 2, io.inputs.len() > 3);
        let mut dispatches = vec![];
        for (first_row, n_row) in ctx.row_ranges(ids.numel(), n_col) {
            for (first_id, n_id) in ctx.row_ranges(wte.n_row(), n_col) {
                let table = io.input(1).slice(first_id * n_col, n_id * n_col);
                let ids_here = io.input(0).slice(first_row, n_row);
                let bind = $k::Bind {
                    out: io.output(0).slice(first_row * n_col, n_row * n_col),
                    ids: ids_here,
                    wte: table,
                    // without positions, the token table is bound in the place of wpe and not read as such
                    wpe: if position { io.input(2) } else { table },
                    spans: if documents { io.input(3).slice(2 * first_row, 2 * n_row) } else { ids_here },
                };
                let n = n_row * n_col / $width;
                let params = $k::Params {
                    n: super::to_u32(n),
                    n_col: super::to_u32(n_col / $width),
                    n_time: super::to_u32(ids.n_col()),
                    first_row: super::to_u32(first_row),
                    first_id: super::to_u32(first_id),
                    n_id: super::to_u32(n_id),
                    vocab_size: super::to_u32(wte.n_row()),
                };
                let mode = $k::Mode { position, documents };
                dispatches.push($k::dispatch(variant, bind, mode, params, groups_1d(n, per_group)));
            }
        }
        dispatches
    }};
}

/// The two stages of [`EmbeddingBackward`] for kernels that load `$width` columns as one value.
macro_rules! lower_backward {
    ($stage1:ident, $stage2:ident, $width:literal, $io:expr, $ctx:expr, $tables:expr) => {{
        let (io, ctx) = ($io, $ctx);
        let (n_row, n_col) = (io.shape_in(0).n_row(), io.shape_in(0).n_col());
        let (rows32, cols32) = (super::to_u32(n_row), super::to_u32(n_col / $width));
        let n = n_row * n_col / $width;

        let variant = ctx.variant(&$stage1::DEF);
        let bind = $stage1::Bind { partials: io.output(1), dout: io.input(0), sorted: io.input(1) };
        let params = $stage1::Params { n_row: rows32, n_col: cols32 };
        let groups = groups_1d(n, $stage1::tune(variant).wg);
        let mut dispatches = vec![$stage1::dispatch(variant, bind, $stage1::Mode {}, params, groups)];

        let variant = ctx.variant(&$stage2::DEF);
        for (first, n_id) in $tables {
            let bind = $stage2::Bind {
                dwte: io.output(0).slice(first * n_col, n_id * n_col),
                partials: io.output(1).read(),
                sorted: io.input(1),
            };
            let (first_id, n_id) = (super::to_u32(first), super::to_u32(n_id));
            let params = $stage2::Params { n_row: rows32, n_col: cols32, first_id, n_id };
            let groups = groups_1d(n, $stage2::tune(variant).wg);
            dispatches.push($stage2::dispatch(variant, bind, $stage2::Mode {}, params, groups));
        }
        dispatches
    }};
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let (ids, wte) = (inputs[0], inputs[1].shape);
        ShapeError::check("embedding", "type of ids", DType::U32, ids.dtype)?;
        if ids.shape.rank() + 1 > Shape::MAX_RANK {
            return Err(ShapeError::new("embedding", "axes of ids", "at most 3", ids.shape.rank()));
        }
        if let Some(wpe) = inputs.get(2).map(|wpe| wpe.shape) {
            ShapeError::check("embedding", "columns of wpe", wte.n_col(), wpe.n_col())?;
            if wpe.n_row() < ids.shape.n_col() {
                let expected = format!("at least {}", ids.shape.n_col());
                return Err(ShapeError::new("embedding", "rows of wpe", expected, wpe.n_row()));
            }
        }
        if let Some(spans) = inputs.get(3) {
            let expected = Shape::new(&[ids.shape.dims(), &[2]].concat());
            ShapeError::check("embedding", "type of spans", DType::U32, spans.dtype)?;
            ShapeError::check("embedding", "shape of spans", expected, spans.shape)?;
        }
        let dims = [ids.shape.dims(), &[wte.n_col()]].concat();
        Ok(vec![OutSpec::f32("out", Shape::new(&dims))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        if io.shape_in(1).n_col().is_multiple_of(4) {
            return lower_forward!(embedding_vec4_forward, 4, io, ctx);
        }
        lower_forward!(embedding_forward, 1, io, ctx)
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (t, c) = (super::to_usize(shapes[0].n_col()), super::to_usize(shapes[1].n_col()));
        let positions = reference::embedding::positions(inputs[0].len(), t, inputs.get(3).copied());
        let position = inputs.get(2).map(|&wpe| (wpe, &positions[..]));
        vec![reference::embedding::forward(inputs[0], inputs[1], position, c)]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let n = io.shape_out(0).numel();
        // each position reads one row of the table, not the whole table
        Cost { flops: n * u64::from(io.inputs.len() > 2), bytes: (io.shape_in(0).numel() + 2 * n) * DType::F32.bytes() }
    }

    fn backward(&self, tape: &mut dyn Backward) -> Option<Result<(), ShapeError>> {
        let dout = tape.dout(0)?;
        Some(self.gradients(tape, dout))
    }
}

impl Embedding {
    fn gradients(&self, tape: &mut dyn Backward, dout: TensorId) -> Result<(), ShapeError> {
        if tape.wants(1) {
            let expected = "the sorted positions of the ids, for the gradient of wte";
            let sorted = self.sorted.ok_or_else(|| ShapeError::new("embedding", "sorted", expected, "nothing"))?;
            let op = EmbeddingBackward { vocab_size: tape.spec(tape.input(1)).shape.n_row() };
            tape.apply(Box::new(op), &[dout, sorted], &[Dest::Grad(1)])?;
        }
        if tape.wants(2) && tape.n_input() > 3 {
            let expected = "the sorted positions, for the gradient of wpe";
            let missing = || ShapeError::new("embedding", "sorted_places", expected, "nothing");
            let op = EmbeddingBackward { vocab_size: tape.spec(tape.input(2)).shape.n_row() };
            tape.apply(Box::new(op), &[dout, self.sorted_places.ok_or_else(missing)?], &[Dest::Grad(2)])?;
        } else if tape.wants(2) {
            let op = EmbeddingBackwardPosition { n_position: tape.spec(tape.input(2)).shape.n_row() };
            tape.apply(Box::new(op), &[dout], &[Dest::Grad(2)])?;
        }
        Ok(())
    }
}

impl Op for EmbeddingBackward {
    fn name(&self) -> &'static str {
        "embedding_backward"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let (dout, sorted) = (inputs[0].shape, inputs[1]);
        ShapeError::check(self.name(), "type of sorted", DType::U32, sorted.dtype)?;
        ShapeError::check(self.name(), "elements of sorted", 3 * dout.n_row(), sorted.shape.numel())?;
        Ok(vec![
            OutSpec::f32("dwte", Shape::new(&[self.vocab_size, dout.n_col()])),
            OutSpec::scratch("partials", Shape::new(&[dout.n_row(), dout.n_col()])),
        ])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let n_col = io.shape_in(0).n_col();
        let tables = ctx.row_ranges(self.vocab_size, n_col);
        let mut dispatches = vec![];

        let variant = ctx.variant(&zero::DEF);
        for &(first, n) in tables.iter().filter(|_| !io.adds(0)) {
            let bind = zero::Bind { out: io.output(0).slice(first * n_col, n * n_col) };
            let groups = groups_1d(n * n_col, zero::tune(variant).wg * 4);
            let params = zero::Params { n: super::to_u32(n * n_col) };
            dispatches.push(zero::dispatch(variant, bind, zero::Mode {}, params, groups));
        }

        if n_col.is_multiple_of(4) {
            let stages = lower_backward!(embedding_vec4_backward_chunks, embedding_vec4_backward, 4, io, ctx, tables);
            dispatches.extend(stages);
        } else {
            dispatches.extend(lower_backward!(embedding_backward_chunks, embedding_backward, 1, io, ctx, tables));
        }
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = (super::to_usize(shapes[0].n_row()), super::to_usize(shapes[0].n_col()));
        let mut ids = vec![0.0; n_row];
        for (position, token) in inputs[1][..n_row].iter().zip(&inputs[1][n_row..2 * n_row]) {
            ids[*position as usize] = *token;
        }
        let vocab_size = super::to_usize(self.vocab_size);
        let tables = reference::embedding::Tables { vocab_size, n_position: 1, c: n_col };
        let (dwte, _) = reference::embedding::backward(inputs[0], &ids, &vec![0; n_row], tables);
        vec![dwte]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let n = io.shape_in(0).numel();
        Cost { flops: n, bytes: (io.shape_in(1).numel() + 2 * n) * DType::F32.bytes() }
    }

    fn accumulates(&self, output: usize) -> bool {
        output == 0
    }
}

impl Op for EmbeddingBackwardPosition {
    fn name(&self) -> &'static str {
        "embedding_backward_position"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let (_, n_time) = batch_time(inputs[0].shape);
        if n_time > self.n_position {
            return Err(ShapeError::new(self.name(), "T of dout", format!("at most {}", self.n_position), n_time));
        }
        Ok(vec![OutSpec::f32("dwpe", Shape::new(&[self.n_position, inputs[0].shape.n_col()]))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        use embedding_backward_position as k;
        let variant = ctx.variant(&k::DEF);
        let (n_batch, n_time) = batch_time(io.shape_in(0));
        let n = io.shape_out(0).numel();
        let bind = k::Bind { dwpe: io.output(0), dout: io.input(0) };
        let params = k::Params {
            n: super::to_u32(n),
            n_batch: super::to_u32(n_batch),
            n_time: super::to_u32(n_time),
            n_col: super::to_u32(io.shape_in(0).n_col()),
        };
        let groups = groups_1d(n, k::tune(variant).wg);
        vec![k::dispatch(variant, bind, k::Mode { add: io.adds(0) }, params, groups)]
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = (super::to_usize(shapes[0].n_row()), super::to_usize(shapes[0].n_col()));
        let n_time = super::to_usize(batch_time(shapes[0]).1);
        // the position table's gradient doesn't depend on the tokens
        let positions = reference::embedding::positions(n_row, n_time, None);
        let n_position = super::to_usize(self.n_position);
        let tables = reference::embedding::Tables { vocab_size: 1, n_position, c: n_col };
        vec![reference::embedding::backward(inputs[0], &vec![0.0; n_row], &positions, tables).1]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_in(0).numel(), bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}

/// B and T of (.., T, C), with all axes before T merged.
fn batch_time(shape: Shape) -> (u64, u64) {
    let n_time = shape.dims().iter().rev().nth(1).copied().unwrap_or(1);
    (shape.n_row() / n_time.max(1), n_time)
}
