//! A whole model on the device against PyTorch's f64 goldens, and properties that any decoder must have.

use tril::data::Batch;
use tril::doctor::{ModelFailure, check_model, self_check};
use tril::gpu::{Gpu, GpuOptions};
use tril::graph::Recompute;
use tril::kernel::Choice;
use tril::model::{Memory, ModelConfig, Positions, ReadBack};
use tril::reference::IGNORE;
use tril::reference::compare::{Tolerance, canary, compare};
use tril::train::{AdamwConfig, Session, SessionConfig};

use crate::common::golden::Golden;
use crate::gpu;

fn golden_session(golden: &Golden, keep: ReadBack) -> (Session, Batch) {
    let model = golden.model();
    let (b, t): (u64, u64) = (golden.parsed("b"), golden.parsed("t"));
    let optimizer = AdamwConfig {
        beta1: golden.parsed("beta1"),
        beta2: golden.parsed("beta2"),
        eps: golden.parsed("eps"),
        weight_decay: golden.parsed("weight_decay"),
        max_norm: golden.parsed("max_norm"),
    };
    let config = SessionConfig {
        model,
        batch_size: b,
        t,
        micro_batches: 1,
        optimizer,
        seed: 1,
        keep,
        memory: Memory::default(),
        document_mask: false,
    };
    let session = Session::new(&gpu(), config).unwrap();
    for name in session.param_names() {
        session.set_weight(&name, &golden.f32(&format!("init.{name}"))).unwrap();
    }
    (session, golden.batch())
}

/// Values of order 1 after some 30 roundings of 6e-8 each, and exp's 4e-6 on the coarsest device known.
const TOLERANCE: Tolerance = Tolerance { abs: 4e-6, rel: 4e-5 };

pub(crate) fn check(what: &str, got: &[f32], want: &[f64], tolerance: Tolerance) {
    compare(got, want, tolerance).unwrap_or_else(|e| panic!("{what}: {e}"));
    canary(got, want, tolerance).unwrap_or_else(|e| panic!("{what}: {e}"));
}

fn golden_case(name: &str) {
    for logits in [true, false] {
        golden_case_with(name, ReadBack { logits, attention: false });
    }
}

/// Without logits to keep, projection and loss are one op.
fn golden_case_with(name: &str, keep: ReadBack) {
    let golden = Golden::open(name);
    let (mut session, batch) = golden_session(&golden, keep);
    let loss = session.forward_backward(&batch).unwrap();
    check("loss", &[loss], &golden.f64("loss"), TOLERANCE);
    if keep.logits {
        check("logits", &session.logits().unwrap(), &golden.f64("logits"), TOLERANCE);
    } else {
        assert!(session.logits().is_err());
    }
    for param in session.param_names() {
        let want = golden.f64(&format!("grad.{param}"));
        check(&format!("gradient of {param}"), &session.gradient(&param).unwrap(), &want, TOLERANCE);
    }

    let (losses, norms, lr) = (golden.f64("losses"), golden.f64("grad_norms"), golden.parsed("lr"));
    let mut results = vec![];
    for _ in 0..losses.len() {
        session.train_step(std::slice::from_ref(&batch), lr).unwrap();
        while let Some(result) = session.poll().unwrap() {
            results.push(result);
        }
    }
    while let Some(result) = session.wait().unwrap() {
        results.push(result);
    }
    assert_eq!(results.len(), losses.len());
    assert!(results.iter().all(|r| r.finite && r.n_skipped == 0));
    // ten steps at 1e-2 carry a gradient's relative error of 4e-5 into weights that moved by about 1e-1
    let after = Tolerance { abs: 4e-5, rel: 4e-4 };
    check("losses", &results.iter().map(|r| r.loss).collect::<Vec<_>>(), &losses, after);
    check("gradient norms", &results.iter().map(|r| r.grad_norm).collect::<Vec<_>>(), &norms, after);
    for param in session.param_names() {
        let (mut got, mut want) = (session.weight(&param).unwrap(), golden.f64(&format!("final.{param}")));
        if param.ends_with("c_attn.bias") {
            // the key part's true gradient is 0: what is left is rounding noise, which AdamW divides by its own size
            let c = got.len() / 3;
            // (each step moves a weight by about the learning rate at most)
            let init = golden.f32(&format!("init.{param}"));
            let moved = got.iter().zip(&init).skip(c).take(c).map(|(x, y)| (x - y).abs());
            assert!(moved.into_iter().all(|d| d <= 10.0 * 1.5e-2), "{param}: a key bias ran away");
            got.drain(c..2 * c);
            want.drain(c..2 * c);
        }
        check(&format!("{param} after ten steps"), &got, &want, after);
    }
}

#[test]
fn tied_model_with_biases_equals_pytorch() {
    golden_case("model_tiny");
}

#[test]
fn untied_model_without_biases_equals_pytorch() {
    golden_case("model_plain");
}

#[test]
fn small_model_of_awkward_sizes_equals_the_reference() {
    check_model(&gpu()).unwrap();
}

#[test]
fn the_check_before_training_passes_and_sees_every_wrong_weight() {
    self_check(&gpu(), &mut |_| Ok(())).unwrap();
    for name in
        ["wte.weight", "wpe.weight", "h.0.ln_1.bias", "h.0.attn.c_attn.weight", "h.0.mlp.c_proj.bias", "ln_f.weight"]
    {
        let wrong = self_check(&gpu(), &mut |session| {
            let mut values = session.weight(name)?;
            values[3] += 0.05;
            session.set_weight(name, &values)
        });
        assert!(matches!(wrong, Err(ModelFailure::Wrong { .. })), "{name}: {wrong:?}");
    }
}

pub(crate) fn small(dropout: f32, seed: u64) -> SessionConfig {
    let model = ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 16,
        block_size: 24,
        vocab_size: 13,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout,
    };
    let keep = ReadBack { logits: true, attention: true };
    SessionConfig {
        model,
        batch_size: 2,
        t: 24,
        micro_batches: 2,
        optimizer: AdamwConfig::default(),
        seed,
        keep,
        memory: Memory::default(),
        document_mask: false,
    }
}

pub(crate) fn batch(salt: usize) -> Batch {
    let ids = |salt: usize| (0..48).map(|i| ((i * 5 + i / 7 + salt) % 13) as u32).collect();
    Batch { tokens: ids(salt), targets: ids(salt + 1), firsts: vec![], b: 2, t: 24 }
}

/// The same without attention maps, which takes other kernels.
fn without_maps(config: SessionConfig) -> SessionConfig {
    SessionConfig { keep: ReadBack { attention: false, ..config.keep }, ..config }
}

#[test]
fn keeping_attention_maps_changes_nothing_else() {
    for dropout in [0.0, 0.2] {
        let results = [small(dropout, 3), without_maps(small(dropout, 3))].map(|config| {
            let mut session = Session::new(&gpu(), config).unwrap();
            let loss = session.forward_backward(&batch(0)).unwrap();
            let names = session.param_names();
            let gradients: Vec<f32> = names.iter().flat_map(|name| session.gradient(name).unwrap()).collect();
            (loss, gradients)
        });
        let [(with, with_gradients), (without, without_gradients)] = results;
        // both err by a few roundings of numbers around 1
        assert!((with - without).abs() < 2e-6, "dropout {dropout}: losses {with} and {without}");
        let largest = with_gradients.iter().fold(0.0f32, |most, g| most.max(g.abs()));
        for (i, (a, b)) in with_gradients.iter().zip(&without_gradients).enumerate() {
            assert!((a - b).abs() < 1e-5 * largest, "dropout {dropout}: element {i} has gradients {a} and {b}");
        }
    }
}

#[test]
fn no_future_token_changes_an_earlier_logit() {
    check_causality(small(0.0, 3));
    check_causality(without_maps(small(0.0, 3)));
}

fn check_causality(config: SessionConfig) {
    let mut session = Session::new(&gpu(), config).unwrap();
    session.forward_backward(&batch(0)).unwrap();
    let before = session.logits().unwrap();
    for changed in [1, 7, 8, 15, 16, 23] {
        let mut other = batch(0);
        for row in 0..2 {
            for t in changed..24 {
                other.tokens[row * 24 + t] = (other.tokens[row * 24 + t] + 1 + (t % 3) as u32) % 13;
            }
        }
        session.forward_backward(&other).unwrap();
        let after = session.logits().unwrap();
        for row in 0..2 {
            for t in 0..24 {
                let at = (row * 24 + t) * 13;
                let same = before[at..at + 13].iter().zip(&after[at..at + 13]).all(|(a, b)| a.to_bits() == b.to_bits());
                assert_eq!(same, t < changed, "logits at row {row}, position {t}, tokens from {changed} on changed");
            }
        }
    }
}

#[test]
fn attention_maps_are_causal_and_sum_to_one() {
    let mut session = Session::new(&gpu(), small(0.0, 3)).unwrap();
    session.forward_backward(&batch(0)).unwrap();
    let map = session.attention_map(1).unwrap();
    for (i, row) in map.chunks(24).enumerate() {
        let (seen, future) = row.split_at(i % 24 + 1);
        assert!(future.iter().all(|p| p.to_bits() == 0), "row {i} sees the future");
        assert!((seen.iter().sum::<f32>() - 1.0).abs() < 1e-5, "row {i} doesn't sum to 1");
    }
}

#[test]
fn batch_without_targets_has_no_loss_and_no_gradient() {
    let mut session = Session::new(&gpu(), small(0.0, 3)).unwrap();
    let mut empty = batch(0);
    empty.targets.fill(IGNORE);
    assert_eq!(session.forward_backward(&empty).unwrap(), 0.0);
    for name in session.param_names() {
        assert!(session.gradient(&name).unwrap().iter().all(|&g| g == 0.0), "{name}");
    }
}

/// Bits of everything that a step changes; gradients of -0 count as 0.
pub(crate) fn state(session: &Session) -> Vec<u32> {
    let names = session.param_names();
    let weights = names.iter().flat_map(|n| session.weight(n).unwrap());
    let gradients = names.iter().flat_map(|n| session.gradient(n).unwrap());
    weights.chain(gradients.map(|g| g + 0.0)).map(f32::to_bits).collect()
}

#[test]
fn same_seed_gives_the_same_bits_and_another_seed_does_not() {
    let train = |seed| {
        let mut session = Session::new(&gpu(), small(0.2, seed)).unwrap();
        for i in 0..5 {
            session.train_step(&[batch(i), batch(i + 9)], 1e-3).unwrap();
        }
        while session.wait().unwrap().is_some() {}
        state(&session)
    };
    let first = train(3);
    assert_eq!(first, train(3));
    assert_ne!(first, train(4));
}

#[test]
fn dropout_differs_from_step_to_step_and_is_off_in_evaluation() {
    let mut session = Session::new(&gpu(), small(0.5, 3)).unwrap();
    let mut losses = vec![];
    for _ in 0..3 {
        session.train_step(&[batch(0)], 0.0).unwrap();
        losses.push(session.wait().unwrap().unwrap().loss);
    }
    assert!(losses[0] != losses[1] && losses[1] != losses[2], "{losses:?}");
    let mut plain = Session::new(&gpu(), small(0.0, 3)).unwrap();
    let want = plain.forward_backward(&batch(0)).unwrap();
    let (got, n) = session.evaluator().unwrap().loss([batch(0)].into_iter()).unwrap();
    assert_eq!(n, 48);
    assert!((got - f64::from(want)).abs() < 1e-6, "{got} {want}");
}

#[test]
fn step_with_a_nan_changes_nothing_and_is_counted() {
    let mut session = Session::new(&gpu(), small(0.0, 3)).unwrap();
    session.train_step(&[batch(0)], 1e-3).unwrap();
    assert!(session.wait().unwrap().unwrap().finite);
    let mut wte = session.weight("wte.weight").unwrap();
    let good = wte.clone();
    wte[5] = f32::NAN;
    session.set_weight("wte.weight", &wte).unwrap();
    let weights = |s: &Session| -> Vec<u32> {
        s.param_names().iter().flat_map(|n| s.weight(n).unwrap()).map(f32::to_bits).collect()
    };
    let before = weights(&session);
    session.train_step(&[batch(0)], 1e-3).unwrap();
    let result = session.wait().unwrap().unwrap();
    assert!(!result.finite && result.n_skipped == 1 && result.n_nonfinite > 0.0, "{result:?}");
    assert_eq!(before, weights(&session));
    session.set_weight("wte.weight", &good).unwrap();
    session.train_step(&[batch(0)], 1e-3).unwrap();
    let result = session.wait().unwrap().unwrap();
    assert!(result.finite && result.n_skipped == 1, "{result:?}");
    assert_ne!(before, weights(&session));
}

#[test]
fn next_token_logits_equal_those_of_the_whole_window() {
    let mut session = Session::new(&gpu(), small(0.0, 3)).unwrap();
    session.forward_backward(&batch(0)).unwrap();
    let all = session.logits().unwrap();
    let tokens = batch(0).tokens;
    let mut generator = session.generator(2);
    for len in [1, 5, 16, 17, 24] {
        let contexts = [&tokens[..len], &tokens[24..24 + len]];
        let next = generator.next_logits(session.program(), &contexts).unwrap();
        for (row, logits) in next.iter().enumerate() {
            let at = (row * 24 + len - 1) * 13;
            let want: Vec<f64> = all[at..at + 13].iter().map(|&x| x.into()).collect();
            check(&format!("row {row}, length {len}"), logits, &want, Tolerance { abs: 1e-6, rel: 1e-5 });
        }
    }
    // past the block size, only the last 24 tokens count
    let long: Vec<u32> = tokens.iter().copied().chain([1, 2, 3]).collect();
    let slid = generator.next_logits(session.program(), &[&long]).unwrap();
    let window = generator.next_logits(session.program(), &[&long[long.len() - 24..]]).unwrap();
    assert_eq!(slid, window);
}

#[test]
fn bad_batches_are_refused_by_name() {
    let mut session = Session::new(&gpu(), small(0.0, 3)).unwrap();
    let mut wrong = batch(0);
    wrong.tokens[5] = 13;
    let error = session.train_step(&[wrong], 1e-3).unwrap_err().to_string();
    assert_eq!(error, "token 13 at index 5 is outside the vocabulary of 13");
    assert!(session.train_step(&[], 1e-3).unwrap_err().to_string().contains("at least one"));
    let short = Batch { b: 1, ..batch(0) };
    assert!(session.train_step(&[short], 1e-3).unwrap_err().to_string().contains("(2, 24)"));
    assert!(session.set_weight("h.9.ln_1.weight", &[0.0]).unwrap_err().to_string().contains("h.9.ln_1.weight"));
    assert!(session.set_weight("ln_f.weight", &[0.0]).unwrap_err().to_string().contains("16 elements, got 1"));
    assert_eq!(session.step_count(), 0);
}

#[test]
fn bad_sessions_are_refused_with_the_flag() {
    let refused = |change: &dyn Fn(&mut SessionConfig)| {
        let mut config = small(0.0, 3);
        change(&mut config);
        Session::new(&gpu(), config).unwrap_err().to_string()
    };
    assert!(refused(&|c| c.t = 25).contains("block size 24"));
    assert!(refused(&|c| c.t = 0).contains("block size 24"));
    assert!(refused(&|c| c.batch_size = 0).starts_with("--batch-size"));
    assert!(refused(&|c| c.batch_size = u64::MAX).starts_with("--batch-size"));
    assert!(refused(&|c| c.optimizer.beta1 = 1.0).starts_with("--beta1"));
    assert!(refused(&|c| c.model.vocab_size = 300_000).starts_with("--vocab-size"));
}

#[test]
fn generator_follows_its_source() {
    let first = Session::new(&gpu(), small(0.0, 3)).unwrap();
    let second = Session::new(&gpu(), small(0.0, 4)).unwrap();
    let mut generator = first.generator(1);
    let of = |generator: &mut tril::generate::Generator, s: &Session| {
        generator.next_logits(s.program(), &[&[1, 2]]).unwrap()
    };
    let (a, b) = (of(&mut generator, &first), of(&mut generator, &second));
    assert_ne!(a, b);
    assert_eq!(b, of(&mut second.generator(1), &second));
    let error = generator.next_logits(first.program(), &[&[13]]).unwrap_err().to_string();
    assert!(error.contains("token 13"), "{error}");
}

/// A step by the kernels that a GPU would run, with products that do what follows them, and one without.
#[test]
fn fused_products_train_like_separate_ones() {
    let gpu = Gpu::open(&GpuOptions { checked: gpu().is_checked(), ..GpuOptions::default() }).unwrap();
    // as many positions as share out the terms of a weight's gradient
    let (b, t) = (4, 128);
    let batch = Batch {
        tokens: (0..512).map(|i| (i * 7 + i / 9) % 29).collect(),
        targets: (0..512).map(|i| (i * 7 + i / 9 + 1) % 29).collect(),
        firsts: vec![],
        b,
        t,
    };
    for (bias, dropout, recompute) in
        [(true, 0.0, Recompute::None), (false, 0.2, Recompute::Cheap), (true, 0.0, Recompute::Block)]
    {
        let model = ModelConfig {
            n_layer: 2,
            n_head: 2,
            n_embd: 32,
            block_size: t as u64,
            vocab_size: 29,
            bias,
            tied: true,
            positions: Positions::Learned,
            dropout,
        };
        let memory = Memory { recompute, ..Memory::default() };
        let (optimizer, keep) = (AdamwConfig::default(), ReadBack::default());
        let config = SessionConfig {
            model,
            batch_size: b as u64,
            t: t as u64,
            micro_batches: 1,
            optimizer,
            seed: 3,
            keep,
            memory,
            document_mask: false,
        };
        let mut runs = vec![];
        // rows of any length have no kernel that does more, so that `tiled_any` is a GPU without fusing
        for choice in [Choice::gpu_family().pin("matmul", "tiled_any"), Choice::gpu_family()] {
            let mut session = Session::with_kernels(&gpu, config.clone(), &choice).unwrap();
            let first = session.forward_backward(&batch).unwrap();
            let names = session.param_names();
            let gradients: Vec<Vec<f32>> = names.iter().map(|name| session.gradient(name).unwrap()).collect();
            session.train_step(std::slice::from_ref(&batch), 1e-3).unwrap();
            let step = session.wait().unwrap().unwrap();
            let fused =
                session.program().plan().steps.iter().filter(|s| s.dispatch.kernel.name == "matmul_tiled4_fused");
            runs.push((first, step.loss, step.grad_norm, gradients, fused.count()));
        }
        let (apart, fused) = (&runs[0], &runs[1]);
        assert_eq!(apart.4, 0);
        // of each layer GELU, its gradient, sums of columns with biases, residual sums without dropout between
        assert!(fused.4 >= 2 * (2 + if bias { 4 } else { 0 } + if dropout == 0.0 { 2 } else { 0 }), "{}", fused.4);
        for (a, b) in [(apart.0, fused.0), (apart.1, fused.1), (apart.2, fused.2)] {
            assert!((a - b).abs() <= 1e-5 * a.abs(), "{recompute}: {a} and {b}");
        }
        for (name, (a, b)) in config.model.param_shapes().iter().map(|(name, _)| name).zip(apart.3.iter().zip(&fused.3))
        {
            let largest = a.iter().fold(0f32, |most, x| most.max(x.abs()));
            let differ = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(differ <= 2e-5 * largest.max(1e-3), "{recompute}, {name}: {differ} of {largest}");
        }
    }
}
