//! What memory costs: the same bits with less of it, and no more of it step after step.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tril::data::Batch;
use tril::graph::Recompute;
use tril::model::{Keep, Memory, ModelConfig, Positions};
use tril::tensor::Role;
use tril::train::{AdamwConfig, Session, SessionConfig};

use crate::{cli, gpu};

fn session(n_embd: u64, dropout: f32, keep: Keep, recompute: Recompute) -> Session {
    let model = ModelConfig {
        n_layer: 3,
        n_head: 2,
        n_embd,
        block_size: 24,
        vocab_size: 13,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout,
    };
    let (optimizer, memory) = (AdamwConfig::default(), Memory { recompute, ..Memory::default() });
    Session::new(&gpu(), SessionConfig { model, batch_size: 2, t: 24, optimizer, seed: 5, keep, memory }).unwrap()
}

#[test]
fn recomputing_changes_no_bit() {
    let ids = |salt: usize| (0..48).map(|i| ((i * 5 + i / 7 + salt) % 13) as u32).collect();
    let batch = |salt: usize| Batch { tokens: ids(salt), targets: ids(salt + 1), b: 2, t: 24 };
    // widths with kernels of four elements at a time and without; with and without dropout; the last thing that the
    // forward pass does is another where logits are kept
    let kept = Keep { logits: true, attention: true };
    for (n_embd, dropout, keep) in [(32, 0.2, Keep::default()), (32, 0.0, kept), (18, 0.2, Keep::default())] {
        let mut first: Option<(Vec<u32>, u64)> = None;
        for recompute in Recompute::ALL {
            let mut session = session(n_embd, dropout, keep, recompute);
            for i in 0..3 {
                session.train_step(&[batch(i), batch(i + 9)], 1e-2).unwrap();
            }
            let mut losses = vec![];
            while let Some(result) = session.wait().unwrap() {
                losses.push(result.loss);
            }
            let names = session.param_names();
            let weights = names.iter().flat_map(|n| session.weight(n).unwrap());
            let gradients = names.iter().flat_map(|n| session.gradient(n).unwrap());
            let bits: Vec<u32> = losses.into_iter().chain(weights).chain(gradients).map(f32::to_bits).collect();
            let bytes = session.program().plan().bytes_by_role()[&Role::Activation];
            if let Some((known, more)) = &first {
                assert!(*known == bits, "--recompute {recompute}, {n_embd} channels, dropout {dropout}: other bits");
                assert!(bytes < *more, "--recompute {recompute} takes {bytes} bytes, less recomputing {more}");
            }
            first = Some((bits, bytes));
        }
    }
}

/// A program that leaks a little each step would show it here: nothing of it may stay.
#[cfg(target_os = "linux")]
#[test]
fn resident_memory_is_flat_over_a_thousand_steps() {
    const FLAT_KIB: u64 = 2048;
    let dir = tempfile::tempdir().unwrap();
    let args = "train --n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --batch-size 2 --steps 1001 --eval-every 5000 \
                --eval-windows 4 --sample-every 0 --checkpoint-every 0 --json --out run";
    let mut child =
        cli::command().args(args.split_whitespace()).current_dir(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let resident_kib = |pid: u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    };
    let mut seen = vec![];
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let is_step = event.get("loss").is_some();
        if is_step && matches!(event["step"].as_u64(), Some(200 | 600 | 1000)) {
            seen.push(resident_kib(child.id()));
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(seen.len(), 3);
    eprintln!("resident after 200, 600 and 1,000 steps: {seen:?} KiB");
    assert!(seen[2] <= seen[0] + FLAT_KIB, "resident after 200, 600 and 1,000 steps: {seen:?} KiB");
}
