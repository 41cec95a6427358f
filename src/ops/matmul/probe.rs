//! One matrix product by itself, of the shape that a model has it in: what the tuner measures.

use std::fmt;

use super::{Layout, Strided};
use crate::kernel::{
    Caps, Dispatch, KernelDef, matmul_direct as direct, matmul_direct_vec4 as vec4, matmul_shuffle as shuffle,
    matmul_tiled as tiled,
};
use crate::ops::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError, to_usize};
use crate::tensor::{Shape, TensorSpec};

/// The kernels that compute a product, any of whose variants may be the fastest: what a new one is added to.
const KERNELS: [&KernelDef; 4] = [&shuffle::DEF, &vec4::DEF, &direct::DEF, &tiled::DEF];

/// A product of a model, cut down where it is so large that its edges don't matter.
///
/// Shapes: a (M, K) or (K, M), b (K, N) or (N, K), bias (N), out (M, N), each flat in a tensor of its own whose rows may lie
/// apart.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    pub(super) strided: Strided,
    has_bias: bool,
}

impl Probe {
    /// What a product is measured by: `None` for batches, which training hasn't, and where any kernel is done at once.
    pub(super) fn of(strided: &Strided, has_bias: bool, caps: &Caps) -> Option<Self> {
        const SMALL: u64 = 1 << 22;
        if strided.n_outer * strided.n_inner != 1 || strided.m * strided.n * strided.k < SMALL {
            return None;
        }
        // the whole of a tensor is of no use where a part has as many tiles as a device has units, several times
        let most = if caps.is_cpu { 4096 } else { 8192 };
        let [mut m, mut n, mut k] = [strided.m, strided.n, strided.k].map(|side| cut(side, most));
        while too_large([m, n, k], caps) {
            let largest = m.max(n).max(k);
            let side = if m == largest {
                &mut m
            } else if n == largest {
                &mut n
            } else {
                &mut k
            };
            let smaller = cut(*side, *side);
            if smaller == *side {
                break;
            }
            *side = smaller;
        }
        // of what lies between two rows, and before the first, only the alignment counts
        let lay = |layout: Layout, was: u64, is: u64| {
            let before = layout.start % layout.ld.max(1);
            let after = layout.ld.saturating_sub(before + was);
            let start = before % ALIGNED;
            Layout { start, ld: start + is + after % ALIGNED, ..Layout::default() }
        };
        let (a, b) = (strided.a_len(), strided.b_len());
        let cut = Strided { m, n, k, ..*strided };
        let a = lay(strided.a, a, cut.a_len());
        let b = lay(strided.b, b, cut.b_len());
        let out = lay(strided.out, strided.n, n);
        Some(Self { strided: Strided { a, b, out, ..cut }, has_bias })
    }

    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        2 * self.strided.m * self.strided.n * self.strided.k
    }

    /// Elements of a, b, out and, where there is one, the bias.
    pub fn sizes(&self) -> (u64, u64, u64, Option<u64>) {
        let s = &self.strided;
        let a = if s.trans_a { s.k } else { s.m } * s.a.ld;
        let b = if s.trans_b { s.n } else { s.k } * s.b.ld;
        (a, b, s.m * s.out.ld, self.has_bias.then_some(s.n))
    }

    /// Whether the product is added to out.
    pub fn adds(&self) -> bool {
        self.strided.add
    }

    /// Rows of out, columns of out, terms.
    pub fn mnk(&self) -> [usize; 3] {
        [self.strided.m, self.strided.n, self.strided.k].map(to_usize)
    }

    /// Where the element of op(A) of a row and a term is.
    pub fn a_at(&self, row: usize, k: usize) -> usize {
        let (s, ld) = (&self.strided, to_usize(self.strided.a.ld));
        to_usize(s.a.start) + if s.trans_a { k * ld + row } else { row * ld + k }
    }

    /// Where the element of op(B) of a term and a column is.
    pub fn b_at(&self, k: usize, column: usize) -> usize {
        let (s, ld) = (&self.strided, to_usize(self.strided.b.ld));
        to_usize(s.b.start) + if s.trans_b { column * ld + k } else { k * ld + column }
    }

    /// Where an element of out is.
    pub fn out_at(&self, row: usize, column: usize) -> usize {
        to_usize(self.strided.out.start) + row * to_usize(self.strided.out.ld) + column
    }

    /// Kernels that compute it.
    pub(in crate::ops) fn kernels() -> &'static [&'static KernelDef] {
        &KERNELS
    }

    /// Whether a kernel is far from the fastest on a device.
    pub(in crate::ops) fn is_hopeless(&self, kernel: &KernelDef, caps: &Caps) -> bool {
        // beyond this, a kernel that loads every operand from memory is several times slower, and only costs time here
        const DIRECT: u64 = 100_000_000;
        let fits_shuffle = shuffle::DEF.variants.iter().any(|v| v.fits(caps));
        match kernel.name {
            "matmul_direct" | "matmul_direct_vec4" => self.flops() > DIRECT && (fits_shuffle || !caps.is_cpu),
            "matmul_shuffle" => false,
            _ => caps.is_cpu,
        }
    }
}

/// Offsets and row lengths that differ by a multiple of this are aligned alike everywhere.
const ALIGNED: u64 = 64;

/// A side of at least `most` cut to about half of that, with the same edge beyond any tile.
fn cut(side: u64, most: u64) -> u64 {
    // tiles have at most this many rows or columns, so that the same is left over in the last
    const TILES: u64 = 256;
    let half = (most / 2).next_multiple_of(TILES);
    if side < most || side < half + TILES { side } else { half + side % TILES }
}

/// Beyond what is worth the memory and the time of measuring: 50 ms on a slow device of its kind.
fn too_large([m, n, k]: [u64; 3], caps: &Caps) -> bool {
    const ELEMS: u64 = 16 << 20;
    [m * n, m * k, n * k].iter().any(|&elems| elems > ELEMS) || 2 * m * n * k > caps.max_dispatch_work / 4
}

/// Its key: what of a product decides how fast each kernel is.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.strided;
        let letter = |trans| if trans { 't' } else { 'n' };
        write!(f, "matmul {}{} {}x{}x{}", letter(s.trans_a), letter(s.trans_b), s.m, s.n, s.k)?;
        if self.has_bias {
            f.write_str(" bias")?;
        }
        if s.add {
            f.write_str(" add")?;
        }
        let around = |layout: &Layout, len: u64| (layout.start, layout.ld - len);
        for (name, (start, pad)) in
            [("a", around(&s.a, s.a_len())), ("b", around(&s.b, s.b_len())), ("out", around(&s.out, s.n))]
        {
            if (start, pad) != (0, 0) {
                write!(f, " {name}+{start}+{pad}")?;
            }
        }
        Ok(())
    }
}

impl Op for Probe {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn outputs(&self, _: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        Ok(vec![OutSpec::f32("out", Shape::new(&[self.sizes().2]))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let bias = self.has_bias.then(|| (io.input(2), 0));
        vec![self.strided.dispatch(ctx, io.output(0), io.input(0), io.input(1), bias)]
    }

    fn reference(&self, inputs: &[&[f64]], _: &[Shape]) -> Vec<Vec<f64>> {
        let [m, n, k] = self.mnk();
        let mut out = vec![0.0; to_usize(self.sizes().2)];
        for row in 0..m {
            for column in 0..n {
                let terms = (0..k).map(|i| inputs[0][self.a_at(row, i)] * inputs[1][self.b_at(i, column)]);
                out[self.out_at(row, column)] = terms.sum::<f64>() + inputs.get(2).map_or(0.0, |bias| bias[column]);
            }
        }
        vec![out]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: self.flops(), bytes: io.bytes() }
    }

    fn accumulates(&self, _: usize) -> bool {
        true
    }
}
