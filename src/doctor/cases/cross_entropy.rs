use crate::doctor::{Case, Data};
use crate::ops::{CrossEntropy, CrossEntropyBackward, ProjectionCrossEntropy};
use crate::reference::compare::Tolerance;
use crate::reference::{IGNORE, cross_entropy as reference, matmul};
use crate::tensor::Shape;

/// The unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;

/// The logits of a case: their number, and their largest magnitude.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Rows.
    pub n_row: usize,
    /// Columns.
    pub n_col: usize,
    /// Largest |logit|.
    pub logit: f64,
    /// The factor of the loss.
    pub scale: f64,
}

impl Model {
    /// Log of a sum of exponentials: exp(x - max) errs by 2 U |x - max| and a few U of itself, which matters as far as
    /// exp(x - max) |x - max| <= 1/e does; the sum errs like C positive terms; log near 1 errs by 5e-8 (lavapipe), else
    /// by a few U of itself, at most that of log(C).
    fn log_sum(&self) -> f64 {
        let n = self.n_col as f64;
        let sum = Tolerance::sum(self.n_col, 1.0);
        8.0 * U + sum.rel + sum.abs / n.max(2.0) + 5e-8 + 4.0 * U * (1.0 + n.ln())
    }

    /// loss = log(sum) - (x - max): U of each, |x - max| <= 2 |logit|.
    pub fn losses(&self) -> Tolerance {
        Tolerance { abs: self.log_sum(), rel: 4.0 * U }
    }

    /// lse = max + log(sum).
    pub fn lse(&self) -> Tolerance {
        Tolerance { abs: self.log_sum() + 2.0 * U * self.logit, rel: 2.0 * U }
    }

    /// The sum of N losses of at most 2 |logit| + log(C), each off as above, times scale.
    pub fn loss(&self) -> Tolerance {
        let height = 2.0 * self.logit + (self.n_col as f64).ln();
        let sum = Tolerance::sum(self.n_row, height);
        let each = self.losses();
        let abs = sum.abs + self.n_row as f64 * (each.abs + each.rel * height);
        Tolerance { abs: abs * self.scale + f64::from(f32::MIN_POSITIVE), rel: sum.rel + 2.0 * U }
    }

    /// p = exp(x - lse): the saved lse is rounded (U |lse|), as is the difference; both move p by that share of itself.
    /// p - 1 is rounded at 1.
    pub fn backward(&self) -> Tolerance {
        let lse = self.logit + (self.n_col as f64).ln();
        Tolerance { abs: self.scale * U * (4.0 * lse + 8.0) + f64::from(f32::MIN_POSITIVE), rel: 4.0 * U }
    }
}

/// Which rows have a target.
#[derive(Clone, Copy)]
enum Targets {
    All,
    /// Two of three rows.
    Some,
    None,
    /// Targets beyond the vocabulary in all rows.
    Wrong,
}

/// The targets of a case.
fn targets_of(n_row: u64, n_col: u64, targets: Targets) -> Vec<u32> {
    let Data::U32(mut ids) = Data::ids(2, n_row, n_col as u32) else { unreachable!("ids are u32") };
    for (row, id) in ids.iter_mut().enumerate() {
        match targets {
            Targets::All => {}
            Targets::Some if row % 3 != 1 => {}
            Targets::Some | Targets::None => *id = IGNORE,
            Targets::Wrong => *id += n_col as u32,
        }
    }
    ids
}

pub(super) fn cases() -> Vec<Case> {
    apart().into_iter().chain(projected()).collect()
}

fn apart() -> Vec<Case> {
    let both = |name: &str, n_row: u64, n_col: u64, logit: f32, targets: Targets| {
        let ids = targets_of(n_row, n_col, targets);
        let Data::F32(logits) = Data::uniform(1, n_row * n_col, logit) else { unreachable!("uniform data is f32") };
        let wide: Vec<f64> = logits.iter().map(|&x| x.into()).collect();
        let (rows, cols) = (n_row as usize, n_col as usize);
        let (_, _, lse) = reference::forward(&wide, &vec![f64::from(IGNORE); rows], 1.0, rows, cols);
        let scale = 1.0 / n_row as f32;
        let model = Model { n_row: rows, n_col: cols, logit: logit.into(), scale: scale.into() };
        let mut inputs = vec![
            (Shape::new(&[n_row, n_col]), Data::F32(logits)),
            (Shape::new(&[n_row]), Data::U32(ids)),
            (Shape::new(&[1]), Data::all(1, scale)),
        ];
        let forward = Case::new(name, CrossEntropy, inputs.clone(), Tolerance::exact());
        inputs.push((Shape::new(&[n_row]), Data::F32(lse.into_iter().map(|x| x as f32).collect())));
        let backward = Case::new(format!("backward, {name}"), CrossEntropyBackward, inputs, model.backward());
        [forward.tolerances(&[model.loss(), model.losses(), model.lse()]), backward]
    };
    let split = |case: Case| case.max_binding(64 * 35 * 4);
    [
        both("one element", 1, 1, 1.0, Targets::All),
        both("not a multiple of 4", 5, 7, 1.0, Targets::All),
        both("some ignored", 7, 11, 3.0, Targets::Some),
        both("all ignored", 5, 9, 3.0, Targets::None),
        both("targets beyond the vocabulary", 5, 9, 3.0, Targets::Wrong),
        both("workgroup minus 1", 255, 255, 3.0, Targets::Some),
        both("workgroup plus 1", 9, 257, 3.0, Targets::All),
        both("GPT-2's vocabulary and beyond", 3, 70_003, 10.0, Targets::All),
        both("huge values", 4, 6, 1e4, Targets::All),
        both("tiny values", 4, 6, 1e-30, Targets::All),
        both("more than 65,535 rows", 65_537, 3, 3.0, Targets::Some),
        both("split over bindings", 300, 35, 3.0, Targets::Some).map(split),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Projection and loss as one op: logits are sums of C products of x and a weight of at most 1. Their error moves
/// losses by at most itself, and gradients of logits by twice that, relative to each gradient.
fn projected() -> Vec<Case> {
    let case = |name: &str, [n, v, c]: [u64; 3], chunk_rows: u64, x_scale: f32, targets: Targets| {
        let (x, weight) = (Data::uniform(3, n * c, x_scale), Data::uniform(4, v * c, 1.0));
        let [rows, cols, terms] = [n, v, c].map(|size| size as usize);
        let dims = matmul::Dims { m: rows, n: cols, k: terms, trans_a: false, trans_b: true };
        let logits = matmul::forward(&x.to_f64(), &weight.to_f64(), None, dims);
        let largest = logits.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let scale = 1.0 / n as f32;
        let model = Model { n_row: rows, n_col: cols, logit: largest, scale: scale.into() };
        let x_size = f64::from(x_scale);
        let error = Tolerance::sum(terms, x_size / 3.0).allowed(largest);
        let off = |abs: f64| Tolerance { abs, rel: 0.0 };
        let dlogit = model.backward().abs + model.backward().rel * model.scale;
        // the sum of the magnitudes of a row's dlogits is at most 2 scale, so partial sums stay below that; each is
        // rounded, and the errors are relative to it
        let roundings = 4.0 * U * 2.0 * model.scale * (1.0 + (cols as f64).sqrt());
        let dx = off(model.scale * 2.0 * error + 2.0 * dlogit + roundings + f64::from(f32::MIN_POSITIVE));
        let dweight = Tolerance::sum(rows, model.scale * x_size)
            .plus(off(rows as f64 * x_size * (model.scale * 2.0 * error + dlogit)));
        let tolerances = [
            model.loss().plus(off(model.scale * rows as f64 * 2.0 * error)),
            model.losses().plus(off(2.0 * error)),
            model.lse().plus(off(error)),
            dx,
            dweight,
        ];
        let inputs = vec![
            (Shape::new(&[n, c]), x),
            (Shape::new(&[v, c]), weight),
            (Shape::new(&[n]), Data::U32(targets_of(n, v, targets))),
            (Shape::new(&[1]), Data::all(1, scale)),
        ];
        [false, true].map(|gradients| {
            let op = ProjectionCrossEntropy { chunk_rows, gradients };
            let kind = if gradients { "projected, with gradients" } else { "projected" };
            Case::new(format!("{kind}, {name}"), op, inputs.clone(), Tolerance::exact()).tolerances(&tolerances)
        })
    };
    [
        case("one element", [1, 1, 1], 0, 1.0, Targets::All),
        case("not multiples of 4", [5, 7, 3], 0, 1.0, Targets::All),
        case("a last column alone", [12, 65, 16], 0, 1.0, Targets::Some),
        case("fewer columns than four", [9, 3, 8], 0, 1.0, Targets::All),
        case("all ignored", [8, 12, 8], 0, 1.0, Targets::None),
        case("targets beyond the vocabulary", [8, 12, 8], 0, 1.0, Targets::Wrong),
        case("several chunks", [150, 37, 12], 64, 1.0, Targets::Some),
        case("a chunk rounded up, and the last one smaller", [200, 20, 8], 65, 1.0, Targets::Some),
        case("a chunk larger than all", [100, 20, 8], 1 << 40, 1.0, Targets::All),
        case("blocks of columns", [3, 4200, 8], 0, 1.0, Targets::All),
        case("large values", [4, 24, 4], 0, 300.0, Targets::All),
        case("tiny values", [4, 24, 4], 0, 1e-30, Targets::All),
        case("GPT-2's vocabulary and beyond", [2, 70_003, 4], 0, 1.0, Targets::All),
        // ranges of the vocabulary, and chunks that fit a binding
        case("split over bindings", [150, 150, 130], 0, 1.0, Targets::Some).map(|case| case.max_binding(64 * 152 * 4)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
