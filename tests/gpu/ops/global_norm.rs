use tril::doctor::Data;
use tril::doctor::cases::global_norm::tolerance;
use tril::ops::GlobalNorm;
use tril::reference::compare::Tolerance;
use tril::tensor::Shape;

use super::pinned::each_case;

#[test]
fn global_norm() {
    super::check("global_norm");
}

#[test]
fn global_norm_golden() {
    each_case("global_norm", "grads", |case| {
        // a slab ends with zeros
        let mut grads: Vec<f32> = case.f64("grads").into_iter().map(|x| x as f32).collect();
        grads.resize(grads.len().next_multiple_of(64), 0.0);
        let n = grads.len();
        let (one, none) = ((Shape::new(&[1]), Data::F32(vec![1.0])), (Shape::new(&[2]), Data::F32(vec![0.0; 2])));
        let op = GlobalNorm { max_norm: case.scalar("max_norm") as f32 };
        // values are normal rather than uniform: room for a few larger ones
        let tolerance = tolerance(n).plus(Tolerance::ulps(8.0));
        case.check(
            op,
            vec![one, none, (Shape::new(&[n as u64]), Data::F32(grads))],
            vec![(case.f64("out"), tolerance)],
        );
    });
}
