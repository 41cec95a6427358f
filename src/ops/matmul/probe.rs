//! One matrix product of a model by itself, as the tuner measures it.

use std::fmt;

use super::epilogue::{Epilogue, EpilogueCall};
use super::{Layout, Strided};
use crate::kernel::{self, Caps, Choice, Dispatch, KernelDef, matmul_shuffle as shuffle, matmul_tiled4_fused as fused};
use crate::ops::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError, to_usize};
use crate::tensor::{Shape, TensorSpec};

/// A product of a model, cut down if it is so large that its edges don't matter.
///
/// Shapes: a (M, K) or (K, M), b (K, N) or (N, K), bias (N), out, second and other (M, N), each flat in a tensor of its
/// own and possibly with padded rows; with column sums, second is (batch, N).
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    pub(super) strided: Strided,
    has_bias: bool,
    then: Option<Epilogue>,
}

impl Strided {
    /// What was tuned for a product like this.
    pub(super) fn tuned(&self, ctx: &LowerCtx<'_>, has_bias: bool, then: Option<Epilogue>) -> Option<Choice> {
        Probe::of(self, has_bias, then, ctx.caps).and_then(|probe| ctx.tuned(&probe.into()))
    }
}

impl Probe {
    /// The probe for a product. `None` for batches with two indices and for GELU alone, which training never uses, and
    /// for products too small to be worth tuning.
    pub(super) fn of(strided: &Strided, has_bias: bool, then: Option<Epilogue>, caps: &Caps) -> Option<Self> {
        const SMALL: u64 = 1 << 22;
        let batch = strided.n_outer;
        if strided.n_inner != 1 || then == Some(Epilogue::Gelu) || strided.m * strided.n * strided.k * batch < SMALL {
            return None;
        }
        // measuring the whole tensor tells no more once a part has several tiles for each of the device's compute units
        let most = if caps.is_cpu { 4096 } else { 8192 };
        let [mut m, mut n, mut k] = [strided.m, strided.n, strided.k].map(|side| cut(side, most));
        while too_large([m, n, k], batch, caps) {
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
        // only the alignment of the gap between rows, and of the start, matters
        let lay = |layout: Layout, was: u64, is: u64, rows: u64| {
            let before = layout.start % layout.ld.max(1);
            let after = layout.ld.saturating_sub(before + was);
            let start = before % ALIGNED;
            let ld = start + is + after % ALIGNED;
            // the matrices of a batch one after the other
            let in_fours = layout.outer.is_multiple_of(4);
            let outer = if in_fours { (rows * ld).next_multiple_of(4) } else { (rows * ld) | 1 };
            Layout { start, ld, outer: if batch > 1 { outer } else { 0 }, inner: 0 }
        };
        let cut = Strided { m, n, k, ..*strided };
        let a = lay(strided.a, strided.a_len(), cut.a_len(), cut.a_rows());
        let b = lay(strided.b, strided.b_len(), cut.b_len(), cut.b_rows());
        let out = lay(strided.out, strided.n, n, m);
        Some(Self { strided: Strided { a, b, out, ..cut }, has_bias, then })
    }

    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        2 * self.strided.m * self.strided.n * self.strided.k * self.strided.n_outer
    }

    /// Elements of a, b, out and, if there is one, the bias.
    pub fn sizes(&self) -> (u64, u64, u64, Option<u64>) {
        let s = &self.strided;
        let all = |layout: &Layout, rows: u64| (s.n_outer - 1) * layout.outer + (rows * layout.ld).next_multiple_of(4);
        (all(&s.a, s.a_rows()), all(&s.b, s.b_rows()), all(&s.out, s.m), self.has_bias.then_some(s.n))
    }

    /// The epilogue.
    pub fn then(&self) -> Option<Epilogue> {
        self.then
    }

    /// Elements of the second output and of the third input, if there are any.
    pub fn besides(&self) -> (Option<u64>, Option<u64>) {
        let (_, _, out, _) = self.sizes();
        let columns = self.strided.n_outer * self.strided.n;
        match self.then {
            None | Some(Epilogue::Gelu) => (None, None),
            Some(Epilogue::GeluKeepInput) => (Some(out), None),
            Some(Epilogue::ColumnSums) => (Some(columns), None),
            Some(Epilogue::GeluGradient | Epilogue::Residual) => (None, Some(out)),
        }
    }

    /// Whether the product is added to out.
    pub fn adds(&self) -> bool {
        self.strided.add
    }

    /// Products of the batch, rows of out, columns of out, terms.
    pub fn sides(&self) -> [usize; 4] {
        [self.strided.n_outer, self.strided.m, self.strided.n, self.strided.k].map(to_usize)
    }

    /// Index of the element of op(A) for a product, a row and a term.
    pub fn a_at(&self, z: usize, row: usize, k: usize) -> usize {
        let s = &self.strided;
        at(&s.a, z, if s.trans_a { (k, row) } else { (row, k) })
    }

    /// Index of the element of op(B) for a product, a term and a column.
    pub fn b_at(&self, z: usize, k: usize, column: usize) -> usize {
        let s = &self.strided;
        at(&s.b, z, if s.trans_b { (column, k) } else { (k, column) })
    }

    /// Index of an element of out.
    pub fn out_at(&self, z: usize, row: usize, column: usize) -> usize {
        at(&self.strided.out, z, (row, column))
    }

    /// The kernels that compute it: those of the stem without the matrix-vector kernel, or the fused one.
    pub(in crate::ops) fn kernels(&self) -> Vec<&'static KernelDef> {
        let does_more = |kernel: &KernelDef| kernel.name == fused::DEF.name;
        let takes = |kernel: &KernelDef| {
            kernel.name.starts_with("matmul_")
                && kernel.name != "matmul_matvec"
                && does_more(kernel) == self.then.is_some()
        };
        kernel::ALL.iter().copied().filter(|kernel| takes(kernel)).collect()
    }

    /// Whether a kernel is far from the fastest on a device and not worth measuring.
    pub(in crate::ops) fn is_hopeless(&self, kernel: &KernelDef, caps: &Caps) -> bool {
        // beyond this, a kernel that loads every operand from memory is several times slower and measuring it wastes
        // time
        const DIRECT: u64 = 100_000_000;
        let fits_shuffle = shuffle::DEF.variants.iter().any(|v| v.fits(caps));
        match kernel.name {
            "matmul_direct" | "matmul_direct_vec4" => self.flops() > DIRECT && (fits_shuffle || !caps.is_cpu),
            "matmul_shuffle" | "matmul_straight" | "matmul_straight_dot" => false,
            _ => caps.is_cpu,
        }
    }
}

/// Offsets and row lengths that differ by a multiple of this have the same alignment.
const ALIGNED: u64 = 64;

/// Cuts a side of at least `most` to about half of that, with the same remainder in the last tile.
fn cut(side: u64, most: u64) -> u64 {
    // tiles have at most this many rows or columns, so that the last tile has the same remainder
    const TILES: u64 = 256;
    let half = (most / 2).next_multiple_of(TILES);
    if side < most || side < half + TILES { side } else { half + side % TILES }
}

/// Whether measuring takes too much memory or time: more than 50 ms on a slow device of its kind.
fn too_large([m, n, k]: [u64; 3], batch: u64, caps: &Caps) -> bool {
    const ELEMS: u64 = 16 << 20;
    let most = [m * n, m * k, n * k].into_iter().max().unwrap_or(0);
    batch * most > ELEMS || 2 * batch * m * n * k > caps.max_dispatch_work / 4
}

fn at(layout: &Layout, z: usize, (row, column): (usize, usize)) -> usize {
    let [start, ld, outer] = [layout.start, layout.ld, layout.outer].map(to_usize);
    z * outer + start + row * ld + column
}

/// The task's key: the properties that decide how fast each kernel is.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.strided;
        let letter = |trans| if trans { 't' } else { 'n' };
        write!(f, "matmul {}{} {}x{}x{}", letter(s.trans_a), letter(s.trans_b), s.m, s.n, s.k)?;
        if s.n_outer > 1 {
            write!(f, " of {}", s.n_outer)?;
        }
        if self.has_bias {
            f.write_str(" bias")?;
        }
        if s.add {
            f.write_str(" add")?;
        }
        f.write_str(match self.then {
            None => "",
            Some(Epilogue::Gelu | Epilogue::GeluKeepInput) => " gelu",
            Some(Epilogue::GeluGradient) => " gelu gradient",
            Some(Epilogue::Residual) => " residual",
            Some(Epilogue::ColumnSums) => " columns",
        })?;
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
        let mut outputs = vec![OutSpec::f32("out", Shape::new(&[self.sizes().2]))];
        outputs.extend(self.besides().0.map(|len| OutSpec::f32("second", Shape::new(&[len]))));
        outputs.extend(self.then.and_then(Epilogue::stand_in));
        Ok(outputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let (out, a, b) = (io.output(0), io.input(0), io.input(1));
        let bias = self.has_bias.then(|| (io.input(2), 0));
        let Some(then) = self.then else { return vec![self.strided.dispatch(ctx, out, a, b, bias)] };
        let other = self.besides().1.map(|_| io.input(2 + usize::from(self.has_bias)));
        let epilogue = EpilogueCall { then, second: io.output(1), other, add: self.adds(), first_sum: 0 };
        vec![self.strided.fused(ctx, epilogue, out, a, b, bias)]
    }

    /// Covers the product alone; the tuner checks the epilogue.
    fn reference(&self, inputs: &[&[f64]], _: &[Shape]) -> Vec<Vec<f64>> {
        let [batch, m, n, k] = self.sides();
        let mut out = vec![0.0; to_usize(self.sizes().2)];
        for (z, row) in (0..batch).flat_map(|z| (0..m).map(move |row| (z, row))) {
            for column in 0..n {
                let terms = (0..k).map(|i| inputs[0][self.a_at(z, row, i)] * inputs[1][self.b_at(z, i, column)]);
                out[self.out_at(z, row, column)] = terms.sum::<f64>() + inputs.get(2).map_or(0.0, |bias| bias[column]);
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
