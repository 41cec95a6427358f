//! Steps of one micro-batch and of several.

use tril::data::Batch;
use tril::graph::Recompute;
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::reference::IGNORE;
use tril::reference::compare::Tolerance;
use tril::train::{Session, SessionConfig};

use crate::gpu;
use crate::model::{batch, check, small, state};

#[test]
fn micro_batches_add_up_to_one_large_batch() {
    // unequal numbers of real targets, so that a mean of means would be wrong
    let (mut first, second) = (batch(0), batch(4));
    first.targets[3..40].fill(IGNORE);
    let large = Batch {
        tokens: [first.tokens.clone(), second.tokens.clone()].concat(),
        targets: [first.targets.clone(), second.targets.clone()].concat(),
        firsts: vec![],
        b: 4,
        t: 24,
    };
    let mut split = Session::new(&gpu(), small(0.0, 3)).unwrap();
    split.train_step(&[first, second], 0.0).unwrap();
    let split_result = split.wait().unwrap().unwrap();
    let mut whole = Session::new(&gpu(), SessionConfig { batch_size: 4, ..small(0.0, 3) }).unwrap();
    whole.train_step(&[large], 0.0).unwrap();
    let whole_result = whole.wait().unwrap().unwrap();
    assert!((split_result.loss - whole_result.loss).abs() < 1e-5);
    for name in split.param_names() {
        let want: Vec<f64> = whole.gradient(&name).unwrap().into_iter().map(f64::from).collect();
        check(&name, &split.gradient(&name).unwrap(), &want, Tolerance { abs: 1e-7, rel: 1e-4 });
    }
}

#[test]
fn gradients_that_are_stored_equal_those_that_are_added_to_zeros() {
    let tied = small(0.2, 3);
    let untied = ModelConfig { tied: false, ..tied.model.clone() };
    let chunks = Memory { loss_chunk: 16, recompute: Recompute::Block };
    let fused = SessionConfig { keep: ReadBack::default(), memory: chunks, ..tied.clone() };
    for config in [SessionConfig { model: untied, ..tied.clone() }, tied, fused] {
        let train = |micro_batches| {
            let mut session = Session::new(&gpu(), SessionConfig { micro_batches, ..config.clone() }).unwrap();
            let mut losses = vec![];
            for i in 0..3 {
                session.train_step(&[batch(5 * i)], 1e-2).unwrap();
                losses.push(session.wait().unwrap().unwrap());
            }
            let clears = !session.program().plan().graph.stores_first;
            (losses, state(&session), clears)
        };
        let ((stored, stored_state, cleared_once), (added, added_state, cleared)) = (train(1), train(2));
        assert!(cleared && !cleared_once);
        assert_eq!((stored, stored_state), (added, added_state));
    }
    let mut session = Session::new(&gpu(), SessionConfig { micro_batches: 1, ..small(0.0, 3) }).unwrap();
    let error = session.train_step(&[batch(0), batch(1)], 1e-3).unwrap_err().to_string();
    assert!(error.contains("2 micro-batches") && error.contains("at most 1"), "{error}");
}
