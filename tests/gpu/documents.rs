//! Several documents in a row, with attention within each: the same results as with a row for each.

use std::collections::BTreeMap;

use tril::data::Batch;
use tril::doctor::{Data, interpret};
use tril::graph::Recompute;
use tril::kernel::Choice;
use tril::model::{Memory, ModelConfig, Positions, ReadBack};
use tril::reference::IGNORE;
use tril::reference::compare::{Tolerance, canary, compare};
use tril::train::{AdamwConfig, Session, SessionConfig, SessionError};

use crate::gpu;

const T: usize = 24;
const VOCAB: u32 = 23;
/// Lengths of the documents of each row; the rest up to T is padding.
const ROWS: [&[usize]; 2] = [&[9, 1, 14], &[5, 13]];

fn config(b: u64, positions: Positions, attention: bool) -> SessionConfig {
    let model = ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 16,
        block_size: 32,
        vocab_size: u64::from(VOCAB),
        bias: true,
        tied: true,
        positions,
        dropout: 0.0,
    };
    SessionConfig {
        model,
        batch_size: b,
        t: T as u64,
        micro_batches: 2,
        optimizer: AdamwConfig::default(),
        seed: 3,
        keep: ReadBack { logits: true, attention },
        memory: Memory::default(),
        document_mask: true,
    }
}

/// A model whose weights are large enough for gradients of order 1.
fn open(config: SessionConfig, choice: &Choice) -> Session {
    let session = Session::with_kernels(&gpu(), config, choice).unwrap();
    for (index, (name, dims)) in session.config().model.param_shapes().into_iter().enumerate() {
        let Data::F32(values) = Data::uniform(index as u64, dims.iter().product(), 0.3) else { unreachable!() };
        session.set_weight(&name, &values).unwrap();
    }
    session
}

/// The tokens of a document and one more, different ones for neighbouring documents.
fn document(number: usize, len: usize) -> Vec<u32> {
    (0..=len).map(|i| ((i * 5 + i / 4 + number * 7) as u32) % VOCAB).collect()
}

fn lengths() -> impl Iterator<Item = usize> {
    ROWS.into_iter().flatten().copied()
}

fn put(batch: &mut Batch, start: usize, ids: &[u32]) {
    let n = ids.len() - 1;
    batch.tokens[start..start + n].copy_from_slice(&ids[..n]);
    batch.targets[start..start + n].copy_from_slice(&ids[1..]);
}

/// All documents in two rows.
fn packed() -> Batch {
    let mut batch = Batch::padding(ROWS.len(), T);
    let mut number = 0;
    for (row, lengths) in ROWS.into_iter().enumerate() {
        let mut start = 0;
        for &len in lengths.iter().chain([&(T - lengths.iter().sum::<usize>())]) {
            batch.firsts.extend(std::iter::repeat_n(start as u32, len));
            if start < lengths.iter().sum() {
                put(&mut batch, row * T + start, &document(number, len));
                number += 1;
            }
            start += len;
        }
    }
    batch
}

/// One row per document.
fn separate() -> Batch {
    let mut batch = Batch::padding(lengths().count(), T);
    for (row, len) in lengths().enumerate() {
        put(&mut batch, row * T, &document(row, len));
    }
    batch
}

fn gradients(session: &Session) -> BTreeMap<String, Vec<f32>> {
    session.param_names().into_iter().map(|name| (name.clone(), session.gradient(&name).unwrap())).collect()
}

/// The tolerance that `tril doctor` allows a model of this size.
const TOLERANCE: Tolerance = Tolerance { abs: 2e-6, rel: 2e-5 };

fn check(what: &str, got: &[f32], want: &[f64]) {
    compare(got, want, TOLERANCE).unwrap_or_else(|e| panic!("{what}: {e}"));
    canary(got, want, TOLERANCE).unwrap_or_else(|e| panic!("{what}: {e}"));
}

fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn packed_documents_give_what_separate_rows_give() {
    let choices = [Choice::default(), Choice::gpu_family()];
    let kinds = [(Positions::Learned, false), (Positions::Sinusoidal, false), (Positions::Learned, true)];
    for (choice, (positions, attention)) in choices.iter().flat_map(|c| kinds.map(|kind| (c, kind))) {
        let what = |what: &str| format!("{positions:?}, attention kept {attention}: {what}");
        let one_each = SessionConfig { document_mask: false, ..config(lengths().count() as u64, positions, attention) };
        let mut want = open(one_each, choice);
        let mut got = open(config(2, positions, attention), choice);
        let want_loss = want.forward_backward(&separate()).unwrap();
        let got_loss = got.forward_backward(&packed()).unwrap();
        check(&what("loss"), &[got_loss], &[want_loss.into()]);
        let width = VOCAB as usize;
        let (packed_logits, separate_logits) = (got.logits().unwrap(), want.logits().unwrap());
        let mut place = 0;
        for (row, len) in lengths().enumerate() {
            // the second of two rows begins after the padding, if any
            if row == ROWS[0].len() {
                place = T;
            }
            let of_packed = &packed_logits[place * width..(place + len) * width];
            let of_separate = &separate_logits[row * T * width..(row * T + len) * width];
            check(&what(&format!("logits of document {row}")), of_packed, &exact(of_separate));
            place += len;
        }
        let want = gradients(&want);
        for (name, gradient) in gradients(&got) {
            check(&what(&name), &gradient, &exact(&want[&name]));
        }
    }
}

#[test]
fn packed_documents_give_what_the_reference_gives() {
    let mut session = open(config(2, Positions::Learned, false), &Choice::default());
    let batch = packed();
    let loss = session.forward_backward(&batch).unwrap();
    let names = session.param_names();
    let params = names.iter().map(|name| (name.clone(), exact(&session.weight(name).unwrap()))).collect();
    let of = |batch: &Batch| interpret(&session.config().model, &params, batch).unwrap();
    let want = of(&batch);
    check("loss", &[loss], &[want.loss]);
    check("logits", &session.logits().unwrap(), &want.logits);
    for (name, gradient) in gradients(&session) {
        check(&name, &gradient, &want.gradients[&name]);
    }
    // the mask matters
    let other = of(&Batch { firsts: vec![], ..batch }).loss;
    assert!((other - want.loss).abs() > 1e-4, "{other} and {}", want.loss);
}

#[test]
fn no_document_changes_a_bit_of_another() {
    let (first, last) = (9, 10);
    for attention in [false, true] {
        let run = |poison: u32| {
            let mut batch = packed();
            for i in first..last {
                batch.targets[i] = IGNORE;
                batch.tokens[i] = poison;
            }
            let mut session = open(config(2, Positions::Learned, attention), &Choice::default());
            let loss = session.forward_backward(&batch).unwrap();
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let gradients: Vec<_> = gradients(&session).into_iter().map(|(name, g)| (name, bits(g))).collect();
            (loss.to_bits(), bits(session.logits().unwrap()), gradients)
        };
        let (before, after) = (run(2), run(22));
        assert_eq!(before.0, after.0, "the loss");
        for (row, (a, b)) in before.1.chunks(VOCAB as usize).zip(after.1.chunks(VOCAB as usize)).enumerate() {
            assert_eq!(a != b, (first..last).contains(&row), "logits of row {row}");
        }
        for (a, b) in before.2.iter().zip(&after.2) {
            assert!(a == b, "the gradient of {}", a.0);
        }
    }
}

#[test]
fn recomputing_and_accumulating_change_no_bit_of_documents() {
    let mut known: Option<Vec<u32>> = None;
    for recompute in Recompute::ALL {
        let mut with = config(2, Positions::Learned, false);
        with.model.dropout = 0.2;
        with.keep = ReadBack::default();
        with.memory = Memory { recompute, ..Memory::default() };
        let mut session = open(with, &Choice::default());
        for _ in 0..2 {
            session.train_step(&[packed(), packed()], 1e-2).unwrap();
        }
        let weights = session.param_names().into_iter().flat_map(|name| session.weight(&name).unwrap());
        let bits: Vec<u32> = weights.map(f32::to_bits).collect();
        assert!(known.as_ref().is_none_or(|known| *known == bits), "--recompute {recompute}");
        known = Some(bits);
    }
}

#[test]
fn an_evaluator_takes_the_same_documents() {
    let mut session = open(config(2, Positions::Learned, false), &Choice::default());
    let want = session.forward_backward(&packed()).unwrap();
    let (loss, n_target) = session.evaluator().unwrap().loss([packed(), packed()].into_iter()).unwrap();
    assert_eq!(n_target, 2 * lengths().sum::<usize>() as u64);
    check("loss", &[want], &[loss]);
}

#[test]
fn documents_that_can_not_be_are_refused() {
    let mut session = open(config(2, Positions::Learned, false), &Choice::default());
    let mut refused = |change: &dyn Fn(&mut Vec<u32>)| {
        let mut batch = packed();
        change(&mut batch.firsts);
        session.forward_backward(&batch).unwrap_err()
    };
    assert_eq!(refused(&|firsts| firsts[3] = 2), SessionError::First { first: 2, index: 3 });
    assert_eq!(refused(&|firsts| firsts[24] = 5), SessionError::First { first: 5, index: 24 });
    assert!(matches!(refused(&|firsts| firsts.truncate(9)), SessionError::BatchShape { .. }));
    let plain = SessionConfig { document_mask: false, ..config(2, Positions::Learned, false) };
    let error = open(plain, &Choice::default()).forward_backward(&packed()).unwrap_err();
    assert!(error.to_string().contains("document_mask"), "{error}");
}
