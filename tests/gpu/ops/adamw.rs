use tril::doctor::Data;
use tril::doctor::cases::adamw::{hyper, tolerances};
use tril::ops::Adamw;
use tril::reference::compare::Tolerance;
use tril::tensor::Shape;

use super::pinned::{each_case, largest};

#[test]
fn adamw() {
    super::check("adamw");
}

#[test]
fn adamw_golden() {
    each_case("adamw", "param", |case| {
        let values = case.f64("hyper");
        let (t, clip) = (case.scalar("t"), case.scalar("clip_coef"));
        let n = case.f64("param").len().next_multiple_of(64);
        // a slab ends with zeros, and those stay
        let padded = |tensor: &str| -> Vec<f64> {
            let mut values = case.f64(tensor);
            values.resize(n, 0.0);
            values
        };
        let slab = |tensor: &str| {
            let values = padded(tensor).into_iter().map(|x| x as f32).collect();
            (Shape::new(&[n as u64]), Data::F32(values))
        };
        let four = |values: [f64; 4]| (Shape::new(&[4]), Data::F32(values.map(|x| x as f32).to_vec()));
        let corrections = four([1.0 - values[1].powf(t), 1.0 - values[2].powf(t), t, 0.0]);
        let hyper = hyper(values[0], values[1], values[2], values[3], values[4]);
        let inputs = vec![slab("grad"), four([1.0, clip, 1.0, 0.0]), hyper, corrections];
        let state = vec![slab("param"), slab("m"), slab("v")];

        let (param, after) = (padded("param"), padded("param_after"));
        let step = param.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let grad = largest(&case.f64("grad")).max(largest(&case.f64("m")));
        // settings are rounded to f32 here and f64 in PyTorch: a few roundings more
        let [p, m, v] = tolerances(largest(&param), grad, step).map(|t| t.plus(Tolerance::ulps(4.0)));
        let want = vec![(after, p), (padded("m_after"), m), (padded("v_after"), v)];
        let decays = case.u32("decay")[0] == 1;
        case.check_in_place(Adamw { n_decay: if decays { n as u64 } else { 0 } }, inputs, state, want);
    });
}
