use crate::doctor::{Case, Data};
use crate::ops::{Layernorm, LayernormBackward, LayernormBackwardParams, ResidualLayernorm};
use crate::reference::compare::Tolerance;
use crate::reference::layernorm as reference;
use crate::tensor::Shape;

/// The unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;
const EPS: f64 = 1e-5;

/// The inputs of a case's error model; weights have magnitudes up to 2.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Elements of a row.
    pub n_col: usize,
    /// Largest |inp|.
    pub inp: f64,
    /// Largest rstd.
    pub rstd: f64,
    /// Largest |bias|; 0 without one.
    pub bias: f64,
    /// Largest |dout|.
    pub dout: f64,
    /// How far the means given to the backward ops are from the true ones.
    pub mean_error: f64,
}

impl Model {
    /// The row's sum errs like a sum of C terms, and the mean by 1/C of that.
    pub fn mean(&self) -> Tolerance {
        let sum = Tolerance::sum(self.n_col, self.inp);
        Tolerance { abs: sum.abs / self.n_col as f64, rel: 8.0 * U }
    }

    /// The variance is a mean of C positive squares: relative error of such a sum, halved by the root; a wrong mean
    /// adds its square, and rounding x - mean the square of U x.
    pub fn rstd(&self) -> Tolerance {
        let shift = (self.mean().abs + U * self.inp) * self.rstd;
        Tolerance { abs: 0.0, rel: self.sum_rel() + shift + 4.0 * U }
    }

    /// Largest |xhat|: a row of C has at most sqrt(C), uniform rows 1.7, the rows in these tables 4; and where eps is
    /// large beside the variance, no more than the inputs give.
    fn xhat(&self) -> f64 {
        4.0_f64.min((self.n_col as f64).sqrt()).min(2.0 * self.inp * self.rstd)
    }

    /// out = xhat weight + bias; xhat is off by the mean's error and the rounding of x - mean in units of the
    /// deviation, and by a fraction of itself from rstd.
    pub fn forward(&self) -> Vec<Tolerance> {
        let xhat = self.rstd * (self.mean().abs + 2.0 * U * self.inp) + self.xhat() * self.rstd().rel;
        let out = Tolerance { abs: 2.0 * xhat + 2.0 * U * (2.0 * self.xhat() + self.bias), rel: 2.0 * U };
        vec![out, self.mean(), self.rstd()]
    }

    /// The error of xhat where mean and rstd are given: four roundings, and the given mean's error.
    fn xhat_error(&self) -> f64 {
        4.0 * U * self.xhat() + self.rstd * self.mean_error
    }

    /// The means of g and of g xhat err like sums of C terms over C; then three terms are added and multiplied by rstd.
    pub fn backward(&self) -> Tolerance {
        let (g, xhat) = (2.0 * self.dout, self.xhat().max(1.0));
        let mean = Tolerance::sum(self.n_col, g * xhat).abs / self.n_col as f64;
        let roundings = 4.0 * U * g * (1.0 + xhat);
        Tolerance {
            abs: self.rstd * ((1.0 + xhat) * mean + roundings + 2.0 * g * xhat * self.xhat_error()),
            rel: 4.0 * U,
        }
    }

    /// A sum of `n_row` products of dout and xhat.
    pub fn weight(&self, n_row: usize) -> Tolerance {
        let sum = Tolerance::sum(n_row, self.xhat().max(1.0) * self.dout);
        Tolerance { abs: sum.abs + n_row as f64 * self.dout * self.xhat_error(), rel: sum.rel }
    }

    /// A sum of `n_row` values of dout.
    pub fn bias(&self, n_row: usize) -> Tolerance {
        Tolerance::sum(n_row, self.dout)
    }

    /// Half the relative error of a sum of C positive terms.
    fn sum_rel(&self) -> f64 {
        let (sum, n) = (Tolerance::sum(self.n_col, 1.0), self.n_col as f64);
        // the squares of a uniform row have a mean of a third of their largest
        (3.0 * sum.abs / n + sum.rel) / 2.0
    }
}

/// A row's values: uniform in [-scale, scale) around `shift`.
struct Rows {
    scale: f32,
    shift: f32,
    dout: f32,
}

const UNIT: Rows = Rows { scale: 1.0, shift: 0.0, dout: 1.0 };

fn data(n_row: u64, n_col: u64, rows: &Rows) -> (Vec<f32>, Vec<f32>, Vec<f32>, Model) {
    let Data::F32(mut inp) = Data::uniform(1, n_row * n_col, rows.scale) else { unreachable!("uniform data is f32") };
    inp.iter_mut().for_each(|x| *x += rows.shift);
    let wide: Vec<f64> = inp.iter().map(|&x| x.into()).collect();
    let (n_row, n_col) = (n_row as usize, n_col as usize);
    let (_, mean, rstd) = reference::forward(&wide, &vec![1.0; n_col], None, n_row, n_col, EPS);
    let model = Model {
        n_col,
        inp: f64::from(rows.scale) + f64::from(rows.shift).abs(),
        rstd: rstd.iter().copied().fold(0.0, f64::max),
        bias: 0.0,
        dout: rows.dout.into(),
        mean_error: 0.0,
    };
    let narrow = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect();
    (inp, narrow(mean), narrow(rstd), model)
}

pub(super) fn cases() -> Vec<Case> {
    let forward = |name: &str, n_row: u64, n_col: u64, rows: &Rows, has_bias: bool| {
        let (inp, _, _, mut model) = data(n_row, n_col, rows);
        let columns = Shape::new(&[n_col]);
        let mut inputs = vec![(Shape::new(&[n_row, n_col]), Data::F32(inp)), (columns, Data::uniform(2, n_col, 2.0))];
        if has_bias {
            model.bias = 2.0;
            inputs.push((columns, Data::uniform(3, n_col, 2.0)));
        }
        Case::new(name, Layernorm { eps: EPS }, inputs, Tolerance::exact()).tolerances(&model.forward())
    };
    let backward = |name: &str, n_row: u64, n_col: u64, rows: &Rows| {
        let (inp, mean, rstd, model) = data(n_row, n_col, rows);
        let (all, each, columns) = (Shape::new(&[n_row, n_col]), Shape::new(&[n_row]), Shape::new(&[n_col]));
        let dout = (all, Data::uniform(4, n_row * n_col, rows.dout));
        let weight = (columns, Data::uniform(2, n_col, 2.0));
        let (inp, mean, rstd) = ((all, Data::F32(inp)), (each, Data::F32(mean)), (each, Data::F32(rstd)));
        let dinp = vec![dout.clone(), inp.clone(), weight, mean.clone(), rstd.clone()];
        let n = n_row as usize;
        let name = |part: &str| format!("{part}, {name}");
        let dsum = (all, Data::uniform(5, n_row * n_col, rows.dout));
        // one more addition, of a value as large as dout
        let past = model.backward().plus(Tolerance { abs: 2.0 * U * model.dout, rel: U });
        let past_inputs: Vec<_> = dinp.iter().cloned().chain([dsum]).collect();
        let params = vec![dout, inp, mean, rstd];
        let both = Case::new(name("dweight and dbias"), LayernormBackwardParams { bias: true }, params.clone(), past);
        vec![
            Case::new(name("dinp"), LayernormBackward, dinp, model.backward()),
            Case::new(name("dinp past the norm"), LayernormBackward, past_inputs, past),
            both.tolerances(&[model.weight(n), model.bias(n)]),
            Case::new(name("dweight"), LayernormBackwardParams { bias: false }, params, model.weight(n)),
        ]
    };
    // the same rows as sums of two halves, which are exact
    let residual = |name: &str, n_row: u64, n_col: u64, rows: &Rows, has_bias: bool| {
        let case = forward(&format!("residual, {name}"), n_row, n_col, rows, has_bias);
        let mut inputs = case.inputs;
        let Data::F32(whole) = &inputs[0].1 else { unreachable!("inp is f32") };
        let half: Vec<f32> = whole.iter().map(|x| x / 2.0).collect();
        let shape = inputs[0].0;
        inputs[0].1 = Data::F32(half.clone());
        inputs.insert(1, (shape, Data::F32(half)));
        let tolerance: Vec<Tolerance> = [Tolerance::exact()].into_iter().chain(case.tolerance).collect();
        Case::new(case.name, ResidualLayernorm { eps: EPS }, inputs, Tolerance::exact()).tolerances(&tolerance)
    };
    let far = Rows { scale: 1.0, shift: 100.0, dout: 1.0 };
    let huge = Rows { scale: 1e15, shift: 0.0, dout: 1e15 };
    let tiny = Rows { scale: 1e-15, shift: 0.0, dout: 1e-15 };
    let mut all = vec![
        forward("one element", 1, 1, &UNIT, true),
        forward("one column", 5, 1, &UNIT, true),
        forward("not a multiple of 4", 3, 7, &UNIT, true),
        forward("no bias", 5, 12, &UNIT, false),
        forward("workgroup minus 1", 63, 63, &UNIT, true),
        forward("workgroup plus 1", 65, 65, &UNIT, true),
        forward("wide", 3, 1601, &UNIT, true),
        forward("far from zero", 9, 33, &far, true),
        forward("huge values", 4, 16, &huge, true),
        forward("tiny values", 4, 16, &Rows { dout: 1.0, ..tiny }, false),
        forward("more than 65,535 rows", 65_537, 3, &UNIT, true),
        forward("split over bindings", 200, 20, &UNIT, true).max_binding(5120),
        forward("multiples of 4", 65, 260, &UNIT, true),
        forward("far from zero, multiples of 4", 9, 64, &far, true),
        residual("not a multiple of 4", 9, 7, &UNIT, true),
        residual("multiples of 4", 65, 68, &UNIT, true),
        residual("no bias", 5, 12, &UNIT, false),
        residual("far from zero", 9, 64, &far, true),
        residual("split over bindings", 200, 20, &UNIT, true).max_binding(5120),
    ];
    all.extend(backward("one element", 1, 1, &UNIT));
    all.extend(backward("not a multiple of 4", 33, 7, &UNIT));
    all.extend(backward("workgroup minus 1", 31, 63, &UNIT));
    all.extend(backward("workgroup plus 1", 65, 65, &UNIT));
    all.extend(backward("wide", 3, 1601, &UNIT));
    all.extend(backward("multiples of 4", 67, 132, &UNIT));
    all.extend(backward("more rows than one invocation adds", 5001, 8, &UNIT));
    all.extend(backward("far from zero", 9, 33, &far));
    all.extend(backward("huge values", 40, 16, &huge));
    all.extend(backward("more than 65,535 rows", 65_537, 3, &UNIT));
    all.extend(backward("split over bindings", 200, 20, &UNIT).into_iter().map(|case| case.max_binding(5120)));
    all
}
