//! Profiles and benchmark figures, from made-up times.

use std::time::Duration;

use serde_json::Value;
use tril::bench::{BenchPreset, PRESETS};
use tril::exec::{HostTime, TimedDispatch, Timings};
use tril::graph::Phase;
use tril::kernel::{Caps, Choice};
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::plan::Plan;
use tril::speed::{Peaks, Profile, Rates, Spans, TimedStep};
use tril::train::{AdamwConfig, Session, SessionConfig};

fn plan(model: &ModelConfig, batch_size: u64) -> Plan {
    let (optimizer, t) = (AdamwConfig::default(), model.block_size);
    let config = SessionConfig {
        model: model.clone(),
        batch_size,
        t,
        micro_batches: 1,
        optimizer,
        seed: 1,
        keep: ReadBack::default(),
        memory: Memory::default(),
        document_mask: false,
    };
    Session::plan(&config, &Caps::lavapipe(), &Choice::default()).unwrap()
}

/// Two steps of a plan in which dispatch i takes i + 1 microseconds, one after another.
fn profile(plan: &Plan) -> Profile {
    let mut at = 0;
    let n = plan.steps.len();
    let dispatches = (0..n).chain(0..n).map(|step| {
        let timed = TimedDispatch { step, start_ns: at, ns: (step as u64 + 1) * 1000 };
        at += timed.ns;
        timed
    });
    let timings = Timings { dispatches: dispatches.collect(), by_device: true };
    let host = HostTime { time: Duration::from_micros(600), n_dispatch: 2 * n as u64, n_submit: 4 };
    let spans = Spans { n_step: 2, plain: Duration::from_nanos(at), timed: Duration::from_nanos(at * 2), host };
    let peaks = Peaks { flops_per_s: 1e12, bytes_per_s: 1e11 };
    Profile::new(plan, &timings, spans, peaks, "a device")
}

#[test]
fn no_op_beats_the_peak_that_is_shown_beside_it() {
    let plan = plan(&ModelConfig::preset("nano").unwrap(), 12);
    let profile = |ns: fn(usize) -> u64, flops_per_s: f64, bytes_per_s: f64| {
        let dispatches = (0..plan.steps.len()).map(|step| TimedDispatch { step, start_ns: 0, ns: ns(step) }).collect();
        let host = HostTime { time: Duration::from_micros(600), n_dispatch: 1, n_submit: 1 };
        let spans = Spans { n_step: 1, plain: Duration::from_millis(1), timed: Duration::from_millis(1), host };
        let timings = Timings { dispatches, by_device: true };
        Profile::new(&plan, &timings, spans, Peaks { flops_per_s, bytes_per_s }, "a device")
    };
    let shares = |profile: &Profile| -> Vec<f64> {
        let json = profile.to_json();
        let ops = json["ops"].as_array().unwrap();
        ops.iter().flat_map(|op| ["of_matmul_peak", "of_copy_peak"].map(|share| op[share].as_f64().unwrap())).collect()
    };
    // a slow product was measured: the fastest op becomes the peak of its kind, and is named
    let slow = profile(|_| 100_000, 1e6, 1e6);
    assert_eq!(shares(&slow).iter().filter(|&&share| share == 1.0).count(), 2, "{slow}");
    assert!(shares(&slow).iter().all(|share| (0.0..=1.0).contains(share)), "{slow}");
    assert!(slow.peaks.flops_per_s > 1e6 && slow.peaks_of[0] == "matmul", "{slow}");
    assert!(slow.to_string().contains("GFLOP/s (F) in matmul"), "{slow}");
    // nothing beats the measured peak
    let fast = profile(|_| 100_000, 1e15, 1e15);
    assert_eq!((fast.peaks.flops_per_s, fast.peaks.bytes_per_s), (1e15, 1e15));
    assert!(fast.to_string().contains("(F) in a matrix product"), "{fast}");
    // an op shorter than the clock's resolution proves nothing about the device
    let instant = profile(|_| 0, 1e12, 1e11);
    assert_eq!(instant.peaks, Peaks { flops_per_s: 1e12, bytes_per_s: 1e11 });
    assert!(shares(&instant).iter().all(|share| (0.0..=1.0).contains(share)), "{instant}");
}

#[test]
fn a_model_that_beats_the_peak_raises_it() {
    let mut peaks = Peaks { flops_per_s: 1e9, bytes_per_s: 1e9 };
    assert_eq!(peaks.mfu(5e8), 0.5);
    assert_eq!(peaks.mfu(4e9), 1.0);
    assert_eq!((peaks.mfu(5e8), peaks.flops_per_s), (0.125, 4e9));
}

#[test]
fn a_profile_adds_up_by_op_and_by_kernel() {
    let plan = plan(&ModelConfig::preset("nano").unwrap(), 12);
    let profile = profile(&plan);
    let n = plan.steps.len() as u64;
    assert_eq!(profile.busy_ns(), 1000 * n * (n + 1));
    assert_eq!(profile.rows.iter().map(|(op, _)| op.calls).sum::<u64>(), 2 * n);
    let flops: u64 = plan.steps.iter().map(|s| s.cost.flops).sum();
    assert_eq!(profile.rows.iter().map(|(op, _)| op.cost.flops).sum::<u64>(), 2 * flops);
    for (op, kernels) in &profile.rows {
        assert_eq!(op.ns, kernels.iter().map(|k| k.ns).sum::<u64>(), "{}", op.name);
        assert_eq!(op.calls, kernels.iter().map(|k| k.calls).sum::<u64>(), "{}", op.name);
    }
    assert!(profile.rows.is_sorted_by_key(|(op, _)| std::cmp::Reverse(op.ns)));
    assert_eq!(profile.longest.0, n * 1000);

    let table = profile.to_string();
    let matmul = table.lines().find(|l| l.starts_with("matmul ")).unwrap();
    assert!(matmul.ends_with('F') || matmul.ends_with('B'), "{matmul}");
    let shares: f64 = table
        .lines()
        .filter(|l| l.starts_with(|c: char| c.is_ascii_lowercase()) && l.contains("% ") && l.contains('.'))
        .filter_map(|l| l.split_whitespace().find_map(|w| w.strip_suffix('%')?.parse::<f64>().ok()))
        .take(profile.rows.len())
        .sum();
    assert!((shares - 100.0).abs() < 1.5, "{shares}\n{table}");
    assert!(table.contains("kernels are 100%"), "{table}");
    let json = profile.to_json();
    assert_eq!(json["ops"].as_array().unwrap().len(), profile.rows.len());
    assert_eq!(json["host_us_per_dispatch"].as_f64().unwrap(), 600.0 / (2 * n) as f64);
}

/// A step in which an op's dispatch takes a fixed time plus one for its work.
fn timed(plan: &Plan, law: fn(&str) -> (f64, f64)) -> Timings {
    let once = plan.steps.iter().enumerate().map(|(step, s)| {
        let (per_dispatch, per_work) = law(s.op);
        TimedDispatch { step, start_ns: 0, ns: (per_dispatch + per_work * s.cost.work() as f64) as u64 }
    });
    let once: Vec<_> = once.collect();
    // in another run, something else kept the machine busy
    let busy = once.iter().map(|d| TimedDispatch { ns: d.ns * 3, ..*d });
    Timings { dispatches: busy.chain(once.clone()).collect(), by_device: true }
}

#[test]
fn the_time_of_a_step_is_estimated_from_two_others() {
    let sizes = |n_layer, n_embd, block_size, vocab_size| ModelConfig {
        n_layer,
        n_embd,
        block_size,
        vocab_size,
        ..ModelConfig::preset("nano").unwrap()
    };
    let law = |op: &str| if op == "matmul" { (90_000.0, 0.02) } else { (30_000.0, 0.3) };
    let seconds = |plan: &Plan, micro: f64| {
        let of = |phase| {
            let n = plan.steps.len();
            let all = timed(plan, law).dispatches;
            all[n..].iter().filter(|d| plan.steps[d.step].phase == phase).map(|d| d.ns as f64 / 1e9).sum::<f64>()
        };
        1.1 * (of(Phase::MicroBatch) * micro + of(Phase::Update))
    };
    let (small, large) = (plan(&sizes(2, 128, 64, 128), 8), plan(&sizes(1, 384, 256, 512), 4));
    let laps = [&small, &large].map(|plan| (plan, timed(plan, law), seconds(plan, 1.0)));
    let [first, second] = [0, 1].map(|i: usize| TimedStep { plan: laps[i].0, timings: &laps[i].1, step_s: laps[i].2 });
    let rates = Rates::of(first, second);
    let other = plan(&sizes(6, 256, 128, 1000), 3);
    for micro in [1, 4] {
        let (estimate, truth) = (rates.step_s(&other, micro), seconds(&other, micro as f64));
        assert!((estimate / truth - 1.0).abs() < 0.01, "{estimate} {truth}");
    }
    // the times are only noise: the estimate is still a number
    let nothing = Timings { dispatches: vec![], by_device: true };
    let empty = TimedStep { plan: &small, timings: &nothing, step_s: 0.0 };
    assert!(Rates::of(empty, empty).step_s(&other, 1).is_finite());
    let again: Rates = serde_json::from_str(&serde_json::to_string(&rates).unwrap()).unwrap();
    assert_eq!(again, rates);
}

#[test]
fn a_trace_has_an_event_for_every_dispatch() {
    let plan = plan(&ModelConfig::preset("nano").unwrap(), 12);
    let trace: Value = serde_json::from_str(&profile(&plan).trace().to_string()).unwrap();
    let events: Vec<&Value> = trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X").collect();
    assert_eq!(events.len(), 2 * plan.steps.len());
    let mut end = 0.0;
    for (event, step) in events.iter().zip(plan.steps.iter().chain(&plan.steps)) {
        assert_eq!(event["cat"], step.op);
        assert_eq!(event["args"]["at"], step.label);
        let (start, long) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        assert!(start >= end && long > 0.0);
        end = start;
    }
}

#[test]
fn a_model_counts_the_products_of_its_plan() {
    for name in PRESETS {
        let BenchPreset { model, batch_size, .. } = BenchPreset::by_name(name).unwrap();
        let (b, t) = (batch_size, model.block_size);
        let whole: u64 = plan(&model, b).cost[&Phase::MicroBatch].flops;
        // the plan counts the small ops, too, and may count what the causal mask hides
        let hidden = 3 * 2 * 2 * b * t * t * model.n_embd * model.n_layer / 2;
        let counted = model.train_flops(b, t);
        // GPT-2's: 12 C^2 weights a layer and the head, each twice forward; scores and sums of T (T + 1) / 2 pairs
        let (layer, c) = (model.n_layer, model.n_embd);
        let token = 2 * (12 * c * c * layer + model.vocab_size * c) + 2 * layer * c * (t + 1);
        assert_eq!(counted, 3 * b * t * token, "{name}");
        assert!(
            counted <= whole && whole - hidden.min(whole) <= counted + counted / 10,
            "{name}: {counted} of {whole}"
        );
    }
}

#[test]
fn the_bench_presets_are_those_that_peers_were_measured_on() {
    let sizes = |name| {
        let BenchPreset { model: m, batch_size, .. } = BenchPreset::by_name(name).unwrap();
        (m.n_layer, m.n_head, m.n_embd, m.block_size, batch_size, m.vocab_size, m.dropout)
    };
    assert_eq!(sizes("xs"), (4, 4, 128, 128, 8, 256, 0.0));
    assert_eq!(sizes("s"), (6, 6, 384, 256, 12, 65, 0.0));
    assert_eq!(sizes("gpt2"), (12, 12, 768, 256, 1, 50_257, 0.0));
    assert!(BenchPreset::by_name("huge").unwrap_err().to_string().contains("xs"));
}
