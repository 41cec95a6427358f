//! A run that is stopped while it evaluates or samples repeats that when it is resumed, and ends in the same bytes as
//! an uninterrupted run.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tril::data::{Corpus, Text, Tokenizer};
use tril::kernel::Choice;
use tril::run::{OpenRun, RunClaim, RunConfig};
use tril::train::{Doing, Event, Run, Summary};

use crate::cli::bytes;
use crate::gpu;

fn lines() -> String {
    (0..200).map(|i| format!("line {i} says {}\n", (i * i) % 97)).collect()
}

fn corpus() -> Corpus {
    Corpus::Text(Text::new(lines()))
}

fn begin(root: &Path) -> Run {
    let corpus = corpus();
    let tokenizer = Tokenizer::chars(&lines());
    let mut config = RunConfig::preset("nano").unwrap();
    (config.model.n_layer, config.model.n_head, config.model.n_embd, config.model.block_size) = (1, 2, 16, 16);
    config.model.vocab_size = tokenizer.vocab_size() as u64;
    let train = &mut config.train;
    (train.steps, train.batch_size, train.eval_windows, train.warmup_steps) = (24, 2, 0, 2);
    (train.eval_every, train.sample_every, train.checkpoint_every, train.keep) = (6, 12, 8, 2);
    config.data.crc32 = corpus.crc32();
    Run::create(&gpu(), &RunClaim::take(root).unwrap(), config, &corpus, tokenizer, &Choice::default()).unwrap()
}

fn resume(root: &Path) -> Run {
    let open = OpenRun::open(root).unwrap();
    let config = open.config.clone();
    Run::resume(&gpu(), open, &corpus(), &config, &Choice::default()).unwrap()
}

/// Where a run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the evaluation after this step, after this many windows.
    Evaluation(u64, u64),
    /// In the sample after this step.
    Sample(u64),
    /// While the checkpoint of this step is written.
    Save(u64),
    Nowhere,
}

fn train(run: &mut Run, at: At) -> Summary {
    let (stop, step) = (AtomicBool::new(false), Cell::new(run.step()));
    let summary = run.train(&stop, |event| {
        let here = match event {
            Event::Step { result, .. } => {
                step.set(result.step);
                return;
            }
            Event::Doing(Doing::Evaluating { done, .. }) => At::Evaluation(step.get(), *done),
            Event::Doing(Doing::Sampling) => At::Sample(step.get()),
            Event::Doing(Doing::Saving) => At::Save(step.get()),
            _ => return,
        };
        if here == at {
            stop.store(true, Ordering::Relaxed);
        }
    });
    summary.unwrap()
}

#[test]
fn whatever_is_left_at_a_stop_is_done_again_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let whole = train(&mut begin(&at("whole")), At::Nowhere);
    assert!(!whole.interrupted && whole.best.is_some());
    let stops = [
        (At::Evaluation(6, 0), 6),
        (At::Evaluation(6, 4), 6),
        (At::Save(8), 8),
        (At::Evaluation(12, 4), 12),
        (At::Sample(12), 12),
        (At::Evaluation(24, 2), 24),
        (At::Sample(24), 24),
    ];
    for (i, (stop, step)) in stops.into_iter().enumerate() {
        let mut run = if i == 0 { begin(&at("stopped")) } else { resume(&at("stopped")) };
        let summary = train(&mut run, stop);
        assert!(summary.interrupted && summary.step == step, "{stop:?}: {summary:?}");
    }
    assert_eq!(train(&mut resume(&at("stopped")), At::Nowhere), whole);
    assert!(bytes(&at("stopped")) == bytes(&at("whole")));
}

/// Ends a run like a kill, at a given event.
fn killed(run: &mut Run, is_met: impl Fn(&Event) -> bool) {
    let killed = catch_unwind(AssertUnwindSafe(|| {
        run.train(&AtomicBool::new(false), |event| assert!(!is_met(event), "a kill, as it is meant to be"))
    }));
    assert!(killed.is_err());
}

#[test]
fn a_repeated_evaluation_lost_by_a_kill_is_repeated_again_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let whole = train(&mut begin(&at("whole")), At::Nowhere);
    // the metrics have the evaluation's line then, and the best model is of it, and no checkpoint knows of either
    train(&mut begin(&at("killed")), At::Evaluation(12, 4));
    killed(&mut resume(&at("killed")), |event| matches!(event, Event::Eval { step: 12, .. }));
    killed(&mut resume(&at("killed")), |event| matches!(event, Event::Sample { step: 12, .. }));
    train(&mut resume(&at("killed")), At::Sample(12));
    killed(&mut resume(&at("killed")), |event| matches!(event, Event::Sample { step: 12, .. }));
    let mut last = resume(&at("killed"));
    assert!(last.warnings().is_empty(), "{:?}", last.warnings());
    assert_eq!(train(&mut last, At::Nowhere), whole);
    assert!(bytes(&at("killed")) == bytes(&at("whole")));
}
