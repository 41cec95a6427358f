use tril::doctor::Data;
use tril::doctor::cases::cross_entropy::Model;
use tril::ops::{CrossEntropy, CrossEntropyBackward};
use tril::tensor::Shape;

use super::pinned::{each_case, largest};

#[test]
fn cross_entropy() {
    super::check("cross_entropy");
}

#[test]
fn cross_entropy_golden() {
    each_case("cross_entropy", "logits", |case| {
        let shape = case.shape("logits");
        let scale = case.scalar("scale") as f32;
        let model = Model {
            n_row: shape.n_row() as usize,
            n_col: shape.n_col() as usize,
            logit: largest(&case.f64("logits")),
            scale: scale.into(),
        };
        let mut inputs = vec![case.input("logits"), case.ids("targets"), (Shape::new(&[1]), Data::all(1, scale))];
        let lse = case.f64("lse");
        let want =
            vec![(case.f64("loss"), model.loss()), (case.f64("losses"), model.losses()), (lse.clone(), model.lse())];
        case.check(CrossEntropy, inputs.clone(), want);

        let saved = lse.iter().map(|&x| x as f32).collect();
        inputs.push((Shape::new(&[shape.n_row()]), Data::F32(saved)));
        case.check(CrossEntropyBackward, inputs, vec![(case.f64("dlogits"), model.backward())]);
    });
}
