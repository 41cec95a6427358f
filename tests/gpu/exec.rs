//! Running programs: marks of command buffers, timing, what the host spends.

use tril::data::Batch;
use tril::exec::ExecError;
use tril::graph::Phase;
use tril::model::{ModelConfig, ReadBack};
use tril::train::{AdamwConfig, Session, SessionConfig, SessionError};

use crate::gpu;

fn nano() -> (Session, Batch) {
    let model = ModelConfig::preset("nano").unwrap();
    let (optimizer, keep) = (AdamwConfig::default(), ReadBack::default());
    let session = Session::new(
        &gpu(),
        SessionConfig {
            model,
            batch_size: 2,
            t: 64,
            micro_batches: 1,
            optimizer,
            seed: 1,
            keep,
            memory: tril::model::Memory::default(),
            document_mask: false,
        },
    )
    .unwrap();
    let ids = |salt: u32| (0..2 * 64u32).map(|i| (i * 31 + i / 7 + salt) % 65).collect();
    (session, Batch { tokens: ids(0), targets: ids(1), firsts: vec![], b: 2, t: 64 })
}

fn losses(session: &mut Session, batch: &Batch, n: usize) -> Vec<u32> {
    let mut losses = vec![];
    for _ in 0..n {
        session.train_step(std::slice::from_ref(batch), 1e-3).unwrap();
    }
    while let Some(result) = session.wait().unwrap() {
        losses.push(result.loss.to_bits());
    }
    losses
}

#[test]
fn a_command_buffer_that_was_dropped_is_noticed() {
    let (mut session, batch) = nano();
    // more steps than a ring is deep, all marks in place
    assert_eq!(losses(&mut session, &batch, 5).len(), 5);
    session.program().begin_step();
    session.program().run(Phase::MicroBatch).unwrap();
    session.program().forge_marks();
    let error = session.program().read_named("loss").unwrap_err();
    assert!(matches!(error, ExecError::Unfinished { missing: 1.., .. }), "{error}");
    assert!(error.to_string().contains("--resume"), "{error}");
    // in the ring, too: the step after a forgery of its own marks
    session.program().run(Phase::Update).unwrap();
    session.program().forge_marks();
    let step = session.train_step(std::slice::from_ref(&batch), 1e-3).and_then(|()| session.wait());
    assert!(matches!(step, Err(SessionError::Exec(ExecError::Unfinished { .. }))), "{step:?}");
}

#[test]
fn timing_every_dispatch_changes_no_result() {
    let (mut timed, batch) = nano();
    let (mut plain, _) = nano();
    let first = losses(&mut timed, &batch, 1);
    timed.program().start_timing().unwrap();
    let started = std::time::Instant::now();
    let second = losses(&mut timed, &batch, 2);
    let wall = started.elapsed().as_nanos() as u64;
    let timings = timed.program().stop_timing();
    assert_eq!([first, second].concat(), losses(&mut plain, &batch, 3));
    assert_eq!(timed.weight("wte.weight").unwrap(), plain.weight("wte.weight").unwrap());

    let n_step = timed.program().plan().steps.len();
    assert_eq!(timings.dispatches.len(), 2 * n_step);
    let steps: Vec<usize> = timings.dispatches.iter().map(|d| d.step).collect();
    assert_eq!(steps, (0..n_step).chain(0..n_step).collect::<Vec<_>>());
    assert_eq!(timings.by_device, gpu().has_timestamps());
    assert!(timings.dispatches.is_sorted_by_key(|d| d.start_ns));
    let busy: u64 = timings.dispatches.iter().map(|d| d.ns).sum();
    assert!(busy > 0 && busy <= wall, "{busy} ns of {wall}");
    assert!(timed.program().stop_timing().dispatches.is_empty());
}

#[test]
fn the_host_counts_what_it_submits() {
    let (mut session, batch) = nano();
    losses(&mut session, &batch, 2);
    let before = session.program().host_time();
    losses(&mut session, &batch, 3);
    let spent = session.program().host_time().since(before);
    assert_eq!(spent.n_dispatch, 3 * session.program().plan().steps.len() as u64);
    // a phase is at least one command buffer, and so is what comes back
    assert!(spent.n_submit >= 6 && spent.n_submit <= 3 * session.program().plan().steps.len() as u64);
    assert!(spent.us_per_dispatch() > 0.0);
    eprintln!("host: {:.2} us per dispatch in {} command buffers", spent.us_per_dispatch(), spent.n_submit);
}
