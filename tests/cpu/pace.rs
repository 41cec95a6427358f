//! How work is split into command buffers and dispatches.

use tril::graph::Phase;
use tril::kernel::{Caps, Choice};
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::ops::Cost;
use tril::plan::{Pace, Plan, n_within};
use tril::train::{AdamwConfig, Session, SessionConfig};

fn plan(preset: &str, batch_size: u64, t: u64, caps: &Caps) -> Plan {
    let model = ModelConfig { block_size: t, ..ModelConfig::preset(preset).unwrap() };
    let optimizer = AdamwConfig::default();
    let config = SessionConfig {
        model,
        batch_size,
        t,
        micro_batches: 1,
        optimizer,
        seed: 1,
        keep: ReadBack::default(),
        memory: Memory::default(),
        document_mask: false,
    };
    Session::plan(&config, caps, &Choice::default()).unwrap()
}

fn work(plan: &Plan, phase: Phase) -> Vec<u64> {
    plan.steps.iter().filter(|s| s.phase == phase).map(|s| s.work()).collect()
}

/// Runs a phase on a device of that speed as `Program::run` does; returns the work of each command buffer.
fn command_buffers(pace: &mut Pace, work: &[u64], ns_per_work: f64) -> Vec<u64> {
    let (mut rest, mut sizes) = (work, vec![]);
    while !rest.is_empty() {
        let n = n_within(rest.iter().copied(), pace.budget());
        let size: u64 = rest[..n].iter().sum();
        rest = &rest[n..];
        if pace.is_ramping() && !rest.is_empty() {
            pace.measured(size, size, (size as f64 * ns_per_work) as u64);
        }
        sizes.push(size);
    }
    sizes
}

#[test]
fn command_buffers_begin_small_and_end_at_the_time_that_the_kind_of_device_allows() {
    let plan = plan("gpt2", 4, 1024, &Caps::desktop());
    let work = work(&plan, Phase::MicroBatch);
    let largest_dispatch = *work.iter().max().unwrap();
    // from 10 GFLOP/s to 10 TFLOP/s
    let speeds = [0.1, 0.01, 0.001, 0.0001].map(|ns| (ns, false, Pace::TARGET_NS));
    for (ns_per_work, is_cpu, target_ns) in speeds.into_iter().chain([(0.02, true, Pace::TARGET_NS_CPU)]) {
        let mut pace = Pace::new(is_cpu);
        let sizes = command_buffers(&mut pace, &work, ns_per_work);
        assert_eq!(sizes.iter().sum::<u64>(), work.iter().sum::<u64>());
        assert!(sizes[0] <= Pace::FIRST.max(work[0]), "{}", sizes[0]);
        let affordable = (target_ns / ns_per_work) as u64 + 1;
        let mut proven = 0;
        for &size in &sizes {
            let allowed = (proven * Pace::GROWTH).max(Pace::FIRST).min(affordable);
            assert!(size <= allowed.max(largest_dispatch), "{size} of {allowed} at {ns_per_work} ns");
            proven = proven.max(size);
        }
        // once settled, there is no waiting, and the step is split as coarsely as the time allows
        assert!(!pace.is_ramping());
        let settled = command_buffers(&mut pace, &work, ns_per_work);
        let total = work.iter().sum::<u64>() as f64 * ns_per_work;
        let fewest = total / target_ns;
        assert!(settled.len() as f64 <= 2.0 * fewest + 1.0, "{} command buffers, {fewest} would do", settled.len());
    }
}

#[test]
fn a_slow_dispatch_gets_a_command_buffer_of_its_own() {
    assert_eq!(n_within([50, 1, 1], 10), 1);
    assert_eq!(n_within([4, 4, 4], 10), 2);
    assert_eq!(n_within([4, 4], 10), 2);
    assert_eq!(n_within([u64::MAX, u64::MAX], u64::MAX - 1), 1);
}

#[test]
fn compiling_in_the_first_command_buffer_is_forgotten() {
    let mut pace = Pace::new(false);
    // half a second of compiling for a dispatch of a millisecond
    pace.measured(32_000_000, 32_000_000, 500_000_000);
    assert!(pace.budget() < Pace::FIRST);
    for _ in 0..12 {
        pace.measured(1_000_000_000, 10_000_000, 30_000_000);
    }
    assert!(pace.budget() > 30_000_000, "{}", pace.budget());
    // and one later outlier doesn't undo it
    let before = pace.budget();
    pace.measured(1_000_000_000, 10_000_000, 100_000_000);
    assert!(pace.budget() > before / 2);
}

#[test]
fn a_dispatch_of_too_much_work_is_split_over_rows() {
    let limit = 2_000_000_000;
    let usual = plan("gpt2", 1, 1024, &Caps { max_dispatch_work: u64::MAX, ..Caps::lavapipe() });
    let split = plan("gpt2", 1, 1024, &Caps { max_dispatch_work: limit, ..Caps::lavapipe() });
    let most = |plan: &Plan| plan.steps.iter().map(|s| s.cost.work()).max().unwrap();
    assert!(most(&usual) > 2 * limit, "{}", most(&usual));
    // ranges begin at multiples of 64 rows
    assert!(most(&split) < limit + limit / 4, "{}", most(&split));
    assert_eq!(usual.cost, split.cost);
    let flops = |plan: &Plan| plan.steps.iter().map(|s| s.cost.flops).sum::<u64>();
    let whole: u64 = usual.cost.values().map(|c| c.flops).sum();
    for plan in [&usual, &split] {
        // shares are rounded down
        assert!((whole - flops(plan)) < plan.steps.len() as u64, "{} of {whole}", flops(plan));
    }
}

#[test]
fn work_counts_what_takes_longer() {
    assert_eq!(Cost { flops: 100, bytes: 10 }.work(), 100);
    assert_eq!(Cost { flops: 10, bytes: 100 }.work(), 400);
    assert_eq!(Cost { flops: 10, bytes: u64::MAX }.work(), u64::MAX);
}
