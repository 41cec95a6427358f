use super::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError};
use crate::kernel::{Dispatch, column_sum_part_forward as part, column_sum_total_forward as total, groups_1d};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// Minimum rows per chunk: smaller chunks make the second stage long.
const CHUNK_ROWS: u64 = 32;
/// Maximum number of chunks, which one invocation adds up.
const MAX_CHUNKS: u64 = 256;

/// The sum of each column over all rows: the gradient of a bias.
///
/// Shapes: inp (.., C), out (C).
#[derive(Debug, Clone, Copy)]
pub struct ColumnSum;

impl Op for ColumnSum {
    fn name(&self) -> &'static str {
        "column_sum"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let shape = inputs[0].shape;
        let n_chunk = shape.n_row().div_ceil(chunk_rows(shape));
        Ok(vec![
            OutSpec::f32("out", Shape::new(&[shape.n_col()])),
            OutSpec::scratch("parts", Shape::new(&[n_chunk, shape.n_col()])),
        ])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let shape = io.shape_in(0);
        let (n_row, n_col, chunk_rows) = (shape.n_row(), shape.n_col(), chunk_rows(shape));
        let variant = ctx.variant(&part::DEF);
        let groups_per_chunk = n_col.div_ceil(part::tune(variant).wg.into());
        let mut dispatches: Vec<Dispatch> = ctx
            .row_ranges(n_row, n_col)
            .into_iter()
            .map(|(first, len)| {
                let bind = part::Bind { parts: io.output(1), inp: io.input(0).slice(first * n_col, len * n_col) };
                let params = part::Params {
                    n_row: super::to_u32(len),
                    n_col: super::to_u32(n_col),
                    first_row: super::to_u32(first),
                    chunk_rows: super::to_u32(chunk_rows),
                };
                let n_chunk = (first + len).div_ceil(chunk_rows) - first / chunk_rows;
                part::dispatch(variant, bind, part::Mode {}, params, groups_1d(n_chunk * groups_per_chunk, 1))
            })
            .collect();
        let variant = ctx.variant(&total::DEF);
        let bind = total::Bind { out: io.output(0), parts: io.output(1).read() };
        let n_chunk = super::to_u32(n_row.div_ceil(chunk_rows));
        let params = total::Params { n_chunk, n_col: super::to_u32(n_col) };
        let groups = groups_1d(n_col, total::tune(variant).wg);
        dispatches.push(total::dispatch(variant, bind, total::Mode { add: io.adds(0) }, params, groups));
        dispatches
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let (n_row, n_col) = (super::to_usize(shapes[0].n_row()), super::to_usize(shapes[0].n_col()));
        vec![reference::column_sum::forward(inputs[0], n_row, n_col)]
    }

    fn epilogue(&self) -> Option<super::Epilogue> {
        Some(super::Epilogue::ColumnSums)
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: io.shape_in(0).numel(), bytes: io.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        true
    }
}

fn chunk_rows(shape: Shape) -> u64 {
    shape.n_row().div_ceil(MAX_CHUNKS).max(CHUNK_ROWS)
}
