//! Spikes: steps far above those before, which change nothing with --on-spike skip.

use std::fs;

use tril::data::Batch;
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::train::{AdamwConfig, Session, SessionConfig, StepResult};

use crate::cli::{SMALL, bytes, ok};

#[test]
fn a_step_beyond_a_limit_changes_not_a_bit() {
    let nano = ModelConfig::preset("nano").unwrap();
    let model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 8, block_size: 4, vocab_size: 5, ..nano };
    let (keep, memory, optimizer) = (ReadBack::default(), Memory::default(), AdamwConfig::default());
    let config = SessionConfig {
        model,
        batch_size: 2,
        t: 4,
        micro_batches: 1,
        optimizer,
        seed: 1,
        keep,
        memory,
        document_mask: false,
    };
    let mut session = Session::new(&crate::gpu(), config).unwrap();
    let tokens: Vec<u32> = vec![0, 1, 2, 3, 4, 0, 1, 2];
    let batch = Batch { targets: tokens.iter().map(|t| (t + 1) % 5).collect(), tokens, firsts: vec![], b: 2, t: 4 };
    let mut step = |loss: f32, grad_norm: f32| -> (StepResult, Vec<u32>) {
        session.set_limits(loss, grad_norm).unwrap();
        session.train_step(std::slice::from_ref(&batch), 1e-3).unwrap();
        let result = session.wait().unwrap().unwrap();
        let name = "h.0.mlp.c_fc.weight";
        let moments = ["moment1", "moment2"].map(|state| session.optimizer_state(name, state).unwrap());
        let all = [
            session.weight(name).unwrap(),
            moments.concat(),
            session.shared_state("corrections").unwrap()[..3].to_vec(),
        ];
        (result, all.concat().into_iter().map(f32::to_bits).collect())
    };
    let (first, mut before) = step(0.0, 0.0);
    assert!(first.applied && first.n_skipped == 0 && first.loss > 1.0 && first.grad_norm > 0.0);
    let mut skipped = 0;
    for (loss, grad_norm, applied) in [
        (0.0, 0.0, true),
        (100.0, 100.0, true),
        (0.1, 0.0, false),
        (0.0, 1e-6, false),
        (100.0, 1e-6, false),
        (0.1, 100.0, false),
        (0.0, 100.0, true),
    ] {
        let (result, after) = step(loss, grad_norm);
        skipped += u64::from(!applied);
        assert!(result.finite && result.applied == applied && result.n_skipped == skipped, "{result:?}");
        assert!(result.grad_norm > 0.0 && result.loss > 1.0, "{result:?}");
        assert_eq!(after != before, applied, "{loss} {grad_norm}");
        before = after;
    }
}

#[test]
fn spikes_are_reported_or_skipped_and_a_resumed_run_judges_alike() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    // a regular text with places that no model of it expects
    let odd = |i: u8| -> String { (0..31).map(|j| char::from(33 + (j * 7 + i * 13) % 90)).collect() };
    let parts: String = (0..5).map(|i| "abc ".repeat(600) + &odd(i)).collect();
    fs::write(at.join("text"), parts + &"abc ".repeat(400)).unwrap();
    let train = |out: &str, more: &[&str]| {
        let steps =
            ["--checkpoint-every", "50", "--eval-every", "1000", "--schedule", "constant", "--json", "--no-tune"];
        ok(at, &[&["train", "text", "--out", out, "--lr", "0.01"][..], SMALL, &steps, more].concat())
    };
    let lines = |out: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(at.join(out).join("metrics.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|l: &serde_json::Value| l["loss"].is_number())
            .collect()
    };
    train("report", &["--steps", "400"]);
    let reported = lines("report");
    let spikes: Vec<_> = reported.iter().filter(|l| l["spikes"]["loss"].as_f64() > Some(6.0)).collect();
    assert!(!spikes.is_empty() && reported.iter().all(|l| l.get("skipped").is_none()));

    let said = train("whole", &["--steps", "400", "--on-spike", "skip"]);
    let skipped: Vec<_> = lines("whole").into_iter().filter(|l| l["skipped"] == true).collect();
    assert!(!skipped.is_empty() && skipped.len() < 20 && said.contains(r#""skipped":true"#), "{}", skipped.len());
    // up to the first one both runs are alike
    let step = skipped[0]["step"].as_u64().unwrap();
    assert!(reported[step as usize - 1]["spikes"].is_object() && skipped[0].get("nonfinite_gradients").is_none());
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(last["skipped_steps"], skipped.len());

    // stopped one and two steps before a skip, and at it: the statistics of three steps before are restored
    for stop in [step - 2, step - 1, step] {
        let out = format!("part-{stop}");
        train(&out, &["--steps", &stop.to_string(), "--on-spike", "skip"]);
        ok(at, &["train", "--resume", &out, "--steps", "400", "--json"]);
        assert!(lines(&out)[step as usize - 1]["skipped"] == true);
        let of = |run: &str| bytes(&at.join(run)).into_iter().filter(|(name, _)| name == "state").collect::<Vec<_>>();
        assert!(of(&out) == of("whole"), "{stop}");
    }
}
