//! Clipping and AdamW over the slabs of a small graph, against the reference, update by update.

use tril::exec::Program;
use tril::graph::{AdamwConfig, GraphBuilder, Phase, Training};
use tril::kernel::Choice;
use tril::ops::{CrossEntropy, Layernorm};
use tril::plan::Plan;
use tril::reference::compare::{Tolerance, compare};
use tril::reference::{adamw, cross_entropy, global_norm, layernorm};
use tril::tensor::{DType, ParamGroup, Role};

const N_ROW: usize = 6;
const N_COL: usize = 5;
const EPS: f64 = 1e-5;
const MAX_NORM: f32 = 0.05;
const HYPER: adamw::Hyper = adamw::Hyper { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
const TARGETS: [u32; N_ROW] = [0, 4, 2, 2, 1, 3];

/// Logits are the rows of a matrix, normalised and weighted: two parameters, of which the matrix decays.
fn program() -> Program {
    let mut builder = GraphBuilder::new();
    let matrix = builder.param("matrix", &[N_ROW as u64, N_COL as u64], ParamGroup::Matrix).unwrap();
    let weight = builder.param("weight", &[N_COL as u64], ParamGroup::Vector).unwrap();
    let targets = builder.input("targets", &[N_ROW as u64], DType::U32).unwrap();
    let scale = builder.input("scale", &[1], DType::F32).unwrap();
    let logits = builder.apply("logits", Layernorm { eps: EPS }, &[matrix, weight]).unwrap()[0];
    let loss = builder.apply("loss", CrossEntropy, &[logits, targets, scale]).unwrap()[0];
    builder.set_role(loss, Role::Metric);
    builder.backward(loss).unwrap();
    let training = Training { optimizer: &AdamwConfig::DEFAULT, max_norm: MAX_NORM, adds_up: true };
    builder.optimizer(loss, training).unwrap();
    let plan = Plan::new(builder.finish(), crate::gpu().caps(), &Choice::default()).unwrap();
    Program::new(&crate::gpu(), plan).unwrap()
}

fn read(program: &Program, name: &str) -> Vec<f32> {
    program.read(program.find(name).unwrap()).unwrap()
}

fn update(program: &Program, scale: f32) {
    program.write(program.find("scale").unwrap(), &[scale]).unwrap();
    program.begin_step();
    program.run(Phase::MicroBatch).unwrap();
    program.run(Phase::Update).unwrap();
}

/// The same parameters in f64, with their moments.
struct Reference {
    params: [Vec<f64>; 2],
    moments: [[Vec<f64>; 2]; 2],
    t: f64,
}

impl Reference {
    fn update(&mut self, scale: f64) -> [f64; 4] {
        self.t += 1.0;
        let targets = TARGETS.map(f64::from);
        let (logits, ..) = layernorm::forward(&self.params[0], &self.params[1], None, N_ROW, N_COL, EPS);
        let dlogits = cross_entropy::backward(&logits, &targets, scale, N_ROW, N_COL);
        let (dmatrix, dweight, _) = layernorm::backward(&dlogits, &self.params[0], &self.params[1], N_ROW, N_COL, EPS);
        let norm = global_norm::forward(&[dmatrix.as_slice(), &dweight].concat(), MAX_NORM.into());
        let (c1, c2) = (1.0 - HYPER.beta1.powf(self.t), 1.0 - HYPER.beta2.powf(self.t));
        for (i, grad) in [dmatrix, dweight].iter().enumerate() {
            let [m, v] = &mut self.moments[i];
            adamw::step(&mut self.params[i], grad, m, v, c1, c2, norm[1], i == 0, &HYPER);
        }
        norm
    }
}

#[test]
fn optimizer_follows_the_reference_and_skips_what_is_not_finite() {
    let program = program();
    let start = |n: usize, step: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * step).sin() + 0.5).collect() };
    let params = [start(N_ROW * N_COL, 0.7), start(N_COL, 1.3)];
    for (name, values) in ["matrix", "weight"].iter().zip(&params) {
        program.write(program.find(name).unwrap(), values).unwrap();
    }
    program.write_u32(program.find("targets").unwrap(), &TARGETS).unwrap();
    let hyper =
        [HYPER.lr, HYPER.beta1, HYPER.beta2, HYPER.eps, HYPER.weight_decay, 1.0 - HYPER.beta1, 1.0 - HYPER.beta2, 0.0];
    program.write(program.find("hyper").unwrap(), &hyper.map(|x| x as f32)).unwrap();
    let zeros = |n: usize| [vec![0.0; n], vec![0.0; n]];
    let mut reference = Reference {
        params: params.map(|p| p.iter().map(|&x| x.into()).collect()),
        moments: [zeros(N_ROW * N_COL), zeros(N_COL)],
        t: 0.0,
    };

    let n_update: u8 = 5;
    let scale = 1.0 / 6.0_f32;
    for _ in 0..n_update {
        update(&program, scale);
        let norm = reference.update(scale.into());
        // sums of a few dozen terms, each off by some 1e-6 of itself
        compare(&read(&program, "norm"), &norm, Tolerance { abs: 0.0, rel: 1e-5 }).unwrap();
        assert!(norm[1] < 1.0, "the case is meant to clip");
        for (name, want) in ["matrix", "weight"].iter().zip(&reference.params) {
            // Gradients err by 1e-6 of the largest and Adam divides each by its own size: an element a thousandth of the
            // largest is off by a thousandth of a step.
            let tolerance = Tolerance { abs: f64::from(n_update) * HYPER.lr * 1e-3, rel: 1e-6 };
            compare(&read(&program, name), want, tolerance).unwrap();
        }
    }
    let (c1, c2) = (1.0 - HYPER.beta1.powi(n_update.into()), 1.0 - HYPER.beta2.powi(n_update.into()));
    let tolerance = Tolerance { abs: 0.0, rel: 1e-6 };
    compare(&read(&program, "corrections"), &[c1, c2, n_update.into(), 0.0], tolerance).unwrap();

    let bits = |program: &Program| -> Vec<u32> {
        let names = ["params.0", "moment1.0", "moment2.0"];
        names.iter().flat_map(|name| read(program, name)).map(f32::to_bits).collect()
    };
    let before = bits(&program);
    update(&program, f32::NAN);
    assert_eq!(bits(&program), before);
    let norm = read(&program, "norm");
    assert!(norm[..3] == [0.0; 3] && norm[3] > 0.0, "{norm:?}");
    let corrections = read(&program, "corrections");
    compare(&corrections, &[c1, c2, n_update.into(), 1.0], tolerance).unwrap();
    update(&program, scale);
    assert_ne!(bits(&program), before);
}
