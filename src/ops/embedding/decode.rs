use crate::kernel::{Dispatch, embedding_decode_forward as k, groups_1d};
use crate::ops::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError, to_u32, to_usize};
use crate::reference::embedding::decode as reference;
use crate::tensor::{DType, Shape, TensorSpec};

/// The embedding of each row's newest token and its position.
///
/// Shapes: cursor (B, 4) u32 with columns token, length, ..; wte (V, C), wpe (T, C), out (B, 1, C). The token's
/// position is the row's length.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingDecode;

impl Op for EmbeddingDecode {
    fn name(&self) -> &'static str {
        "embedding_decode"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        const OP: &str = "embedding_decode";
        let (cursor, wte, wpe) = (inputs[0], inputs[1].shape, inputs[2].shape);
        ShapeError::check(OP, "type of cursor", DType::U32, cursor.dtype)?;
        ShapeError::check(OP, "columns of cursor", 4, cursor.shape.n_col())?;
        ShapeError::check(OP, "columns of wpe", wte.n_col(), wpe.n_col())?;
        Ok(vec![OutSpec::f32("out", Shape::new(&[cursor.shape.n_row(), 1, wte.n_col()]))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let variant = ctx.variant(&k::DEF);
        let per_group = k::tune(variant).wg * 4;
        let (wte, wpe) = (io.shape_in(1), io.shape_in(2));
        let n_col = wte.n_col();
        let n = io.shape_out(0).numel();
        let part = |(first_id, n_id): (u64, u64)| {
            let bind = k::Bind {
                out: io.output(0),
                cursor: io.input(0),
                wte: io.input(1).slice(first_id * n_col, n_id * n_col),
                wpe: io.input(2),
            };
            let params = k::Params {
                n: to_u32(n),
                n_col: to_u32(n_col),
                n_time: to_u32(wpe.n_row()),
                first_id: to_u32(first_id),
                n_id: to_u32(n_id),
                vocab_size: to_u32(wte.n_row()),
            };
            k::dispatch(variant, bind, k::Mode {}, params, groups_1d(n, per_group))
        };
        ctx.row_ranges(wte.n_row(), n_col).into_iter().map(part).collect()
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        vec![reference::forward(inputs[0], inputs[1], inputs[2], to_usize(shapes[1].n_col()))]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        // one row of each table
        let n = io.shape_out(0).numel();
        Cost { flops: n, bytes: 3 * n * DType::F32.bytes() }
    }
}
