//! A complete model in f64, built from the ops' references, against PyTorch: one batch, then ten AdamW steps on it.

use std::collections::BTreeMap;

use tril::data::Batch;
use tril::doctor::{Interpreted, interpret};
use tril::model::ModelConfig;
use tril::reference::{IGNORE, adamw, global_norm};

use super::check;
use crate::common::golden::Golden;

const MODELS: [&str; 2] = ["model_tiny", "model_plain"];

type Tensors = BTreeMap<String, Vec<f64>>;

struct Case {
    model: ModelConfig,
    batch: Batch,
}

impl Case {
    fn of(golden: &Golden) -> Case {
        Case { model: golden.model(), batch: golden.batch() }
    }

    fn run(&self, params: &Tensors) -> Interpreted {
        interpret(&self.model, params, &self.batch).unwrap()
    }
}

fn tensors(golden: &Golden, prefix: &str) -> Tensors {
    let values = |name: String| {
        let value = golden.f64(&format!("{prefix}{name}"));
        (name, value)
    };
    golden.names(prefix).into_iter().map(values).collect()
}

#[test]
fn logits_loss_and_every_gradient_agree() {
    for model in MODELS {
        let golden = Golden::open(model);
        let case = Case::of(&golden);
        let Interpreted { loss, logits, gradients: grads } = case.run(&tensors(&golden, "init."));
        check(&format!("{model} loss"), &[loss], &golden.f64("loss"));
        check(&format!("{model} logits"), &logits, &golden.f64("logits"));

        let want = tensors(&golden, "grad.");
        let names: Vec<&String> = grads.keys().collect();
        assert_eq!(names, want.keys().collect::<Vec<_>>(), "{model}");
        for (name, grad) in &grads {
            check(&format!("{model} gradient of {name}"), grad, &want[name]);
        }
    }
}

#[test]
fn ten_steps_of_adamw_agree() {
    for model in MODELS {
        let golden = Golden::open(model);
        let case = Case::of(&golden);
        let hyper = adamw::Hyper {
            lr: golden.parsed("lr"),
            beta1: golden.parsed("beta1"),
            beta2: golden.parsed("beta2"),
            eps: golden.parsed("eps"),
            weight_decay: golden.parsed("weight_decay"),
        };
        let n_step: i32 = golden.parsed("n_step");
        let mut params = tensors(&golden, "init.");
        let zeros: Tensors = params.iter().map(|(name, x)| (name.clone(), vec![0.0; x.len()])).collect();
        let (mut m, mut v) = (zeros.clone(), zeros);

        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for step in 1..=n_step {
            let Interpreted { loss, gradients: grads, .. } = case.run(&params);
            let all: Vec<f64> = grads.values().flatten().copied().collect();
            let [norm, clip_coef, finite, _] = global_norm::forward(&all, golden.parsed("max_norm"));
            assert_eq!(finite, 1.0);
            losses.push(loss);
            norms.push(norm);
            let (c1, c2) = (1.0 - hyper.beta1.powi(step), 1.0 - hyper.beta2.powi(step));
            for (name, param) in &mut params {
                let is_matrix = golden.shape(&format!("init.{name}")).len() == 2;
                let (m, v) = (m.get_mut(name).unwrap(), v.get_mut(name).unwrap());
                adamw::step(param, &grads[name], m, v, c1, c2, clip_coef, is_matrix, &hyper);
            }
        }
        check(&format!("{model} losses"), &losses, &golden.f64("losses"));
        check(&format!("{model} gradient norms"), &norms, &golden.f64("grad_norms"));
        let want = tensors(&golden, "final.");
        for (name, param) in &params {
            check_weights(&format!("{model} {name} after the steps"), param, &want[name]);
        }
    }
}

/// The gradient of the keys' bias is 0 in exact arithmetic, since softmax doesn't see a shift of its scores, and a
/// rounding error of 1e-17 or so in practice. AdamW divides that by `sqrt(v) + 1e-8`, so such weights move by noise: at
/// most 10 steps * lr 1e-2 * 1e-17 / 1e-8 = 1e-10. Everything else stays far inside of this.
fn check_weights(label: &str, got: &[f64], want: &[f64]) {
    use tril::reference::compare::{Tolerance, compare_f64};
    let tolerance = Tolerance { abs: 1e-10, rel: 0.0 };
    if let Err(mismatch) = compare_f64(got, want, tolerance) {
        panic!("{label}: {mismatch}");
    }
}

#[test]
fn a_batch_without_targets_has_no_loss_and_no_gradients() {
    for model in MODELS {
        let golden = Golden::open(model);
        let mut case = Case::of(&golden);
        case.batch.targets.fill(IGNORE);
        let Interpreted { loss, logits, gradients: grads } = case.run(&tensors(&golden, "init."));
        assert_eq!(loss, 0.0);
        check(&format!("{model} logits"), &logits, &golden.f64("logits"));
        for (name, grad) in grads {
            assert!(grad.iter().all(|&grad| grad == 0.0), "{model}: {name}");
        }
    }
}

/// One random direction through all weights of a tensor at once, for each tensor of each model.
#[test]
fn gradients_agree_with_differences() {
    for model in MODELS {
        let golden = Golden::open(model);
        let case = Case::of(&golden);
        let params = tensors(&golden, "init.");
        let grads = case.run(&params).gradients;
        for (name, grad) in &grads {
            // Signs from a multiplicative hash of the index, so that no weights cancel by symmetry.
            let sign = |i: usize| {
                if (i + 1).wrapping_mul(0x9e37_79b9) & 0x8000 == 0 { 1.0 } else { -1.0 }
            };
            let step = 1e-5;
            let loss_at = |step: f64| {
                let mut moved = params.clone();
                for (i, x) in moved.get_mut(name).unwrap().iter_mut().enumerate() {
                    *x += step * sign(i);
                }
                case.run(&moved).loss
            };
            let difference = (loss_at(step) - loss_at(-step)) / (2.0 * step);
            let slope: f64 = grad.iter().enumerate().map(|(i, grad)| grad * sign(i)).sum();
            // Up to 576 weights move together, so third derivatives weigh more than in a single op.
            let is_close = (slope - difference).abs() <= 1e-6 * (1.0 + difference.abs());
            assert!(is_close, "{model} {name}: slope {slope}, differences {difference}");
        }
    }
}
