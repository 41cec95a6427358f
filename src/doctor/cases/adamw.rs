use crate::doctor::{Case, Data};
use crate::ops::{Adamw, AdamwCorrections};
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// The unit roundoff of f32.
const U: f64 = 1.0 / 16_777_216.0;

/// Tolerances of (params, moment1, moment2) for gradients up to `grad`, moments up to the same and its square,
/// parameters up to `param` and steps (lr m / c1 over the root) up to `step`. Each is a handful of roundings of terms
/// of that size; beta in f32 is off by U too. A second moment of positive terms has no cancellation.
pub fn tolerances(param: f64, grad: f64, step: f64) -> [Tolerance; 3] {
    let flushed = f64::from(f32::MIN_POSITIVE);
    [
        Tolerance { abs: U * (4.0 * param + 16.0 * step) + flushed, rel: 4.0 * U },
        Tolerance { abs: 8.0 * U * grad + flushed, rel: 4.0 * U },
        Tolerance { abs: flushed, rel: 12.0 * U },
    ]
}

/// lr, beta1, beta2, eps, weight_decay, and the complements as the host computes them.
pub fn hyper(lr: f64, beta1: f64, beta2: f64, eps: f64, weight_decay: f64) -> (Shape, Data) {
    let values = [lr, beta1, beta2, eps, weight_decay, 1.0 - beta1, 1.0 - beta2, 0.0];
    (Shape::new(&[8]), Data::F32(values.into_iter().map(|x| x as f32).collect()))
}

const LR: f64 = 0.01;

/// The parameters in which the cases of an update differ.
#[derive(Clone, Copy)]
struct Update {
    n: u64,
    n_decay: u64,
    /// Largest gradient and first moment.
    grad: f32,
    clip: f32,
    finite: f32,
}

pub(super) fn cases() -> Vec<Case> {
    let settings = || hyper(LR, 0.9, 0.95, 1e-8, 0.1);
    let four = |values: [f32; 4]| (Shape::new(&[4]), Data::F32(values.to_vec()));
    let update = |name: &str, u: Update| {
        let shape = Shape::new(&[u.n]);
        let Data::F32(mut v) = Data::uniform(4, u.n, u.grad) else { unreachable!("uniform data is f32") };
        v.iter_mut().for_each(|v| *v = (*v * *v).max(0.01 * u.grad * u.grad));
        let norm = four([1.0, u.clip, u.finite, 0.0]);
        let inputs = vec![(shape, Data::uniform(1, u.n, u.grad)), norm, settings(), four([0.3, 0.2, 3.0, 0.0])];
        let state =
            vec![(shape, Data::uniform(2, u.n, 1.0)), (shape, Data::uniform(3, u.n, u.grad)), (shape, Data::F32(v))];
        // m <= grad, sqrt(v) >= 0.095 grad: m / c1 over sqrt(v / c2) is at most 16
        let tolerances =
            if u.finite == 0.0 { [Tolerance::exact(); 3] } else { tolerances(1.0, u.grad.into(), 16.0 * LR) };
        Case::new(name, Adamw { n_decay: u.n_decay }, inputs, Tolerance::exact()).state(state).tolerances(&tolerances)
    };
    let corrections = |name: &str, finite: f32, old: [f32; 4]| {
        let inputs = vec![four([1.0, 1.0, finite, 0.0]), settings()];
        // two roundings
        Case::new(name, AdamwCorrections, inputs, Tolerance::ulps(1.5)).state(vec![four(old)])
    };
    let usual = Update { n: 64, n_decay: 64, grad: 1.0, clip: 1.0, finite: 1.0 };
    vec![
        update("one vector", Update { n: 4, n_decay: 4, ..usual }),
        update("no decay", Update { n_decay: 0, ..usual }),
        update("decay ends inside a vector", Update { n: 12, n_decay: 7, ..usual }),
        update("clipped", Update { clip: 0.3125, ..usual }),
        update("workgroup minus one vector", Update { n: 1020, n_decay: 512, ..usual }),
        update("workgroup plus one vector", Update { n: 1028, n_decay: 512, ..usual }),
        update("huge gradients", Update { grad: 1e15, ..usual }),
        update("tiny gradients", Update { grad: 1e-4, ..usual }),
        update("not finite", Update { finite: 0.0, ..usual }),
        update("many workgroups", Update { n: 400_000, n_decay: 300_000, ..usual }),
        update("split over bindings", Update { n: 5056, n_decay: 3008, ..usual }).max_binding(4096),
        update("split by work", Update { n: 5056, n_decay: 3008, ..usual }).max_work(100_000),
        corrections("corrections, first step", 1.0, [0.0; 4]),
        corrections("corrections, later step", 1.0, [0.7, 0.4, 20.0, 3.0]),
        corrections("corrections, not finite", 0.0, [0.7, 0.4, 20.0, 3.0]),
    ]
}
