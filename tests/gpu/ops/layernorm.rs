use tril::doctor::Data;
use tril::doctor::cases::layernorm::Model;
use tril::ops::{Layernorm, LayernormBackward, LayernormBackwardParams};
use tril::tensor::Shape;

use super::pinned::{each_case, largest};

#[test]
fn layernorm() {
    super::check("layernorm");
}

#[test]
fn layernorm_golden() {
    each_case("layernorm", "inp", |case| {
        let (shape, inp) = case.input("inp");
        let (mean, rstd) = (case.f64("mean"), case.f64("rstd"));
        let (n_row, n_col) = (shape.n_row() as usize, shape.n_col() as usize);
        // the model has weights up to 2; larger ones act like larger gradients and outputs
        let height = (largest(&case.f64("weight")) / 2.0).max(1.0);
        let rounding = |x: &f64| (x - f64::from(*x as f32)).abs();
        let model = Model {
            n_col,
            inp: largest(&case.f64("inp")) * height,
            rstd: largest(&rstd),
            bias: if case.has("bias") { largest(&case.f64("bias")) } else { 0.0 },
            dout: largest(&case.f64("dout")) * height,
            mean_error: mean.iter().map(rounding).fold(0.0, f64::max),
        };
        let mut inputs = vec![(shape, inp.clone()), case.input("weight")];
        if case.has("bias") {
            inputs.push(case.input("bias"));
        }
        let op = Layernorm { eps: case.scalar("eps") };
        let want = [case.f64("out"), mean.clone(), rstd.clone()].into_iter().zip(model.forward()).collect();
        case.check(op, inputs, want);

        // a row of equal inputs has gradients of 0, which autograd in f64 misses by some 1e-16 rstd
        let noise = 1e-14 * largest(&rstd);
        let clean = |tensor: &str| -> Vec<f64> {
            case.f64(tensor).into_iter().map(|x| if x.abs() < noise { 0.0 } else { x }).collect()
        };
        // mean and rstd as the device would save them, rounded
        let rows = Shape::new(&[n_row as u64]);
        let saved = |values: &[f64]| (rows, Data::F32(values.iter().map(|&x| x as f32).collect()));
        let (mean, rstd) = (saved(&mean), saved(&rstd));
        let (dout, weight) = (case.input("dout"), case.input("weight"));
        let inp = (shape, inp);
        let want = vec![(clean("dinp"), model.backward())];
        case.check(LayernormBackward, vec![dout.clone(), inp.clone(), weight, mean.clone(), rstd.clone()], want);
        let mut want = vec![(clean("dweight"), model.weight(n_row))];
        let bias = case.has("bias");
        if bias {
            want.push((case.f64("dbias"), model.bias(n_row)));
        }
        case.check(LayernormBackwardParams { bias }, vec![dout, inp, mean, rstd], want);
    });
}
