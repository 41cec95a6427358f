//! Memory: less of it gives the same bits, and its use doesn't grow step by step.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use tril::data::Batch;
use tril::graph::Recompute;
use tril::model::{Memory, ModelConfig, Positions, ReadBack};
use tril::tensor::Role;
use tril::train::{AdamwConfig, Session, SessionConfig};

use crate::{cli, gpu};

fn session(n_embd: u64, dropout: f32, keep: ReadBack, recompute: Recompute) -> Session {
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
    Session::new(
        &gpu(),
        SessionConfig {
            model,
            batch_size: 2,
            t: 24,
            micro_batches: 2,
            optimizer,
            seed: 5,
            keep,
            memory,
            document_mask: false,
        },
    )
    .unwrap()
}

#[test]
fn recomputing_changes_no_bit() {
    let ids = |salt: usize| (0..48).map(|i| ((i * 5 + i / 7 + salt) % 13) as u32).collect();
    let batch = |salt: usize| Batch { tokens: ids(salt), targets: ids(salt + 1), firsts: vec![], b: 2, t: 24 };
    // widths with kernels of four elements at a time and without; with and without dropout; the last thing that the
    // forward pass does is another where logits are kept
    let kept = ReadBack { logits: true, attention: true };
    for (n_embd, dropout, keep) in [(32, 0.2, ReadBack::default()), (32, 0.0, kept), (18, 0.2, ReadBack::default())] {
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

/// A model large enough to dominate the memory, with its own text.
#[cfg(target_os = "linux")]
const MIDDLING: &str = "--n-layer 3 --n-head 4 --n-embd 128 --block-size 128 --eval-windows 4 --sample-every 0 \
                        --checkpoint-every 0";

#[cfg(target_os = "linux")]
fn text(dir: &Path) {
    let lines: String = (0..2000).map(|i| format!("line {i} says {}\n", (i * i) % 97)).collect();
    std::fs::write(dir.join("text.txt"), lines).unwrap();
}

#[cfg(target_os = "linux")]
fn status_kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// On a device that uses the machine's memory, the figure printed at the start is the process's maximum.
#[cfg(target_os = "linux")]
#[test]
fn the_figure_is_within_a_tenth_of_the_processs_maximum() {
    if !gpu().caps().is_cpu {
        eprintln!("the device has memory of its own, which drivers don't tell");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    text(dir.path());
    // the first run fills the driver's cache of kernels: compiling takes memory of its own
    for (out, batch_size) in [("first", 1), ("second", 8)] {
        let args =
            format!("train text.txt {MIDDLING} --tokenizer byte --batch-size {batch_size} --steps 2 --out {out}");
        let (figure, peak) = figure_and_peak(dir.path(), &args);
        let ratio = figure as f64 / peak as f64;
        eprintln!("{out}: figure {figure}, peak {peak}: {ratio:.3}");
        assert!(out == "first" || (0.9..1.1).contains(&ratio), "figure {figure}, peak {peak}: {ratio:.3}");
    }
}

/// The bytes that a run predicts for its process, and the maximum that it uses.
#[cfg(target_os = "linux")]
fn figure_and_peak(dir: &Path, args: &str) -> (u64, u64) {
    let mut child = cli::command()
        .args(args.split_whitespace())
        .arg("--json")
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let header: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let mut peak = 0;
    for line in lines {
        if line.unwrap().contains("val_loss") {
            peak = status_kib(child.id(), "VmHWM") * 1024;
        }
    }
    assert!(child.wait().unwrap().success());
    (header["process_bytes"].as_u64().unwrap(), peak)
}

/// Only the tokens of a long text are in memory, whatever its tokenizer and form, and the figure counts them.
#[cfg(target_os = "linux")]
#[test]
fn a_long_text_takes_little_more_than_its_tokens() {
    if !gpu().caps().is_cpu {
        eprintln!("the device has memory of its own, which drivers don't tell");
        return;
    }
    const TEXT_BYTES: usize = 24 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for i in 0u64.. {
        text.push_str(&format!("line {} says {} and no more of it\n", i * i % 9973, i * 7919 % 1009));
        if text.len() > TEXT_BYTES {
            break;
        }
    }
    std::fs::write(dir.path().join("a.txt"), &text).unwrap();
    // one record, with one line break escaped now and then
    let record = serde_json::json!({ "text": text });
    std::fs::write(dir.path().join("b.jsonl"), record.to_string()).unwrap();
    let run = |i: usize, what: &str| {
        let args = format!("train {what} {MIDDLING} --batch-size 4 --steps 2 --out {i}");
        figure_and_peak(dir.path(), &args)
    };
    run(0, "a.txt --tokenizer byte");
    let least = run(1, "a.txt --tokenizer byte").1;
    for (i, (what, more, most_ratio)) in [
        // tokens of 16 bits, each for at least two bytes
        ("a.txt --tokenizer bpe:400", TEXT_BYTES, 1.1),
        // where documents begin is in memory, too
        ("a.txt --tokenizer byte --mode documents", 4 * TEXT_BYTES, 1.1),
        // a record is in memory while it is read, and so is its line; what the allocator keeps of that is counted, and
        // some of it is used again
        ("b.jsonl --tokenizer bpe:400", 4 * TEXT_BYTES, 1.15),
    ]
    .into_iter()
    .enumerate()
    {
        let (figure, peak) = run(2 + i, &what.replacen(" --", " --memory 400M --", 1));
        let ratio = figure as f64 / peak as f64;
        eprintln!("{what}: figure {figure}, peak {peak}: {ratio:.3}; bytes {least}");
        assert!((0.9..most_ratio).contains(&ratio), "{what}: figure {figure}, peak {peak}: {ratio:.3}");
        assert!(peak < least + more as u64 + (32 << 20), "{what}: peak {peak}, with bytes {least}");
    }
}

/// A run that doesn't fit is refused before anything is written; with the suggested flags, it fits.
#[cfg(target_os = "linux")]
#[test]
fn out_of_memory_is_found_before_the_first_step_with_flags_that_help() {
    if !gpu().caps().is_cpu {
        eprintln!("the limits of this test are those of a process with its device in it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    text(dir.path());
    let run = |more: &str| {
        let args = format!("train text.txt {MIDDLING} --tokenizer byte --steps 1 --json --out run {more}");
        let output = cli::command().args(args.split_whitespace()).current_dir(dir.path()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let line = errors.lines().find(|l| l.starts_with("error: ")).unwrap_or("").to_string();
        assert_eq!(output.status.success(), line.is_empty(), "{errors}");
        (line, String::from_utf8(output.stdout).unwrap())
    };
    let (line, _) = run("--batch-size 16 --memory 179M");
    assert!(line.contains("needs at least") && line.contains("it may fit with"), "{line}");
    let flags = line.split(" with ").nth(1).unwrap_or("").split(',').next().unwrap_or("").to_string();
    assert!(line.contains("179.0 MiB") && line.contains("--recompute"), "{line}");
    assert!(flags.starts_with("--batch-size "), "{line}");
    assert!(!dir.path().join("run").exists());
    let (line, _) = run("--batch-size 16 --memory 60M");
    assert!(line.contains("with --batch-size 1 --grad-accum 16 --recompute block it needs "), "{line}");
    assert!(line.contains(" MiB, which is too much, too: use a smaller --block-size or model"), "{line}");
    let (line, out) = run(&format!("{flags} --memory 179M"));
    assert!(line.is_empty(), "{flags}: {line}");
    assert!(out.contains("\"done\":true"), "{out}");

    // a resumed run keeps its batch
    let line = cli::fails(dir.path(), &["train", "--resume", "run", "--steps", "2", "--memory", "70M"]);
    assert!(line.contains("with --recompute block it needs ") && line.contains("keeps its model and batch"), "{line}");
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    let (_, out) = run("--batch-tokens 2048 --memory 179M");
    let header: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    let (b, n) = (header["batch_size"].as_u64().unwrap(), header["grad_accum"].as_u64().unwrap());
    assert!(b * n == 16 && n > 1, "{header}");
    let config = std::fs::read_to_string(dir.path().join("run/config.toml")).unwrap();
    assert!(config.contains(&format!("batch_size = {b}\n")), "{config}");
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    let conflicts = [
        ("--batch-tokens 2048 --batch-size 4", "leave those two out"),
        ("--batch-tokens 2000", "1920 and 2048"),
        ("--batch-tokens 0", "128 and 256"),
    ];
    for (flags, words) in conflicts {
        let (line, _) = run(flags);
        assert!(line.contains("--batch-tokens") && line.contains(words), "{line}");
    }
}

/// A limit that no text would fit is enforced before reading, one that a text exceeds while reading.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_ends_the_reading_of_a_text() {
    if !gpu().caps().is_cpu {
        eprintln!("the limits of this test are those of a process with its device in it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // nobody writes to this pipe, so reading it would never end
    assert!(std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
    let line = cli::fails(dir.path(), &["train", "pipe", "--preset", "gpt2", "--memory", "400M", "--out", "run"]);
    assert!(line.contains("needs") && line.contains("400.0 MiB") && line.contains("smaller --block-size"), "{line}");

    // a line of JSON is in memory while it is read
    let words: String = (0..25_000_000u64).map(|i| format!("{} ", i * i % 9973)).collect();
    std::fs::write(dir.path().join("one.jsonl"), serde_json::json!({ "text": words }).to_string()).unwrap();
    let args = "train one.jsonl --n-layer 1 --n-embd 16 --n-head 1 --tokenizer byte --memory 200M --out run";
    let line = cli::fails(dir.path(), &args.split_whitespace().collect::<Vec<_>>());
    assert!(line.contains("--memory allows 200.0 MiB, but reading the text takes more"), "{line}");
    assert!(!dir.path().join("run").exists());
}

/// A program that leaks a little each step would show here: no memory may remain.
#[cfg(target_os = "linux")]
#[test]
fn resident_memory_is_flat_over_a_thousand_steps() {
    const FLAT_KIB: u64 = 2048;
    let dir = tempfile::tempdir().unwrap();
    let args = "train --n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --batch-size 2 --steps 1001 --eval-every 5000 \
                --eval-windows 4 --sample-every 0 --checkpoint-every 0 --json --out run";
    let mut child =
        cli::command().args(args.split_whitespace()).current_dir(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = vec![];
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let is_step = event.get("loss").is_some();
        if is_step && matches!(event["step"].as_u64(), Some(200 | 600 | 1000)) {
            seen.push(status_kib(child.id(), "VmRSS"));
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(seen.len(), 3);
    eprintln!("resident after 200, 600 and 1,000 steps: {seen:?} KiB");
    assert!(seen[2] <= seen[0] + FLAT_KIB, "resident after 200, 600 and 1,000 steps: {seen:?} KiB");
}
