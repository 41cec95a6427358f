//! Runs that are resumed with other flags, or with damaged metrics.

use std::fs;
use std::path::Path;

use crate::cli::{Folder, bytes, misused, ok, said, states};

fn without_metrics(run: &Path) -> Vec<(String, Vec<u8>)> {
    bytes(run).into_iter().filter(|(name, _)| name == "state" || name == "model").collect()
}

#[test]
fn flags_that_change_no_result_apply_to_a_resumed_run_and_are_remembered() {
    let at = &Folder::with_text();
    let begin = ["--checkpoint-every", "4", "--eval-every", "2", "--schedule", "constant", "--no-tune"];
    ok(at, &at.train(&[&begin[..], &["--steps", "12", "--out", "whole"]].concat()));
    ok(at, &at.train(&[&begin[..], &["--steps", "4", "--out", "run"]].concat()));
    let flags = ["--checkpoint-every", "2", "--eval-every", "4", "--sample-every", "6", "--keep", "4"];
    let more = ["--recompute", "block", "--on-nonfinite", "stop", "--steps", "12"];
    let err = said(at, &[&["train", "--resume", "run"][..], &flags, &more].concat());
    assert!(!err.contains("warning"), "{err}");
    assert!(without_metrics(&at.join("run"))[0] == without_metrics(&at.join("whole"))[0]);
    assert_eq!(states(&at.join("run")).len(), 4);
    let config = fs::read_to_string(at.join("run/config.toml")).unwrap();
    for line in ["keep = 4", "eval_every = 4", "sample_every = 6", "checkpoint_every = 2", "recompute = \"block\""] {
        assert!(config.contains(line), "{line}: {config}");
    }
    assert!(fs::read_to_string(at.join("run/metrics.jsonl")).unwrap().contains("\"sample\""));
    // repeating the run's original flags asks for no change, whatever they implied for a new run
    let again = ["train", &at.text, "--lr", "1e-3", "--tokenizer", "auto", "--batch-tokens", "32", "--steps", "13"];
    said(at, &[&again[..], &["--resume", "run"]].concat());
}

#[test]
fn flags_that_change_results_are_refused_by_name() {
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "2", "--no-tune", "--out", "run"]));
    let before = fs::read_to_string(at.join("run/config.toml")).unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&["--lr", "0.5"], ": --lr is 0.001 and can't become 0.5; "),
        (
            &["--n-layer", "2", "--clip", "3"],
            ": --n-layer is 1 and can't become 2, --clip is 1.0 and can't become 3.0; ",
        ),
        (&["--dropout", "0.3"], ": --dropout is 0.0 and can't become 0.3; "),
        (&["--seed", "7", "--keep", "9"], ": --seed is 1337 and can't become 7; "),
        (&["--on-nonfinite", "rollback"], "--on-nonfinite is skip and can't become rollback"),
        (&["--batch-tokens", "64"], "--batch-tokens is 32 and can't become 64"),
        (&["--eval-windows", "4"], "--eval-windows is 8 and can't become 4"),
        (&["--mode", "documents"], "--mode is stream and can't become documents"),
        (&["--tokenizer", "byte"], "--tokenizer is char and can't become byte"),
        (&["--val-fraction", "0.3"], "--val-fraction is 0.1 and can't become 0.3"),
    ];
    for (flags, words) in cases {
        let line = misused(at, &[&["train", "--resume", "run", "--steps", "3"], flags].concat());
        assert!(line.contains(words) && line.contains("tril import run --out NEW"), "{flags:?}: {line}");
        assert_eq!(fs::read_to_string(at.join("run/config.toml")).unwrap(), before);
    }
}

#[test]
fn damaged_metrics_do_not_prevent_a_resume_and_the_loss_is_reported() {
    let at = &Folder::with_text();
    let train = |steps, out| {
        let flags = ["--no-tune", "--schedule", "constant", "--checkpoint-every", "2", "--eval-every", "4"];
        ok(at, &at.train(&[&flags[..], &["--steps", steps, "--out", out]].concat()));
    };
    train("6", "whole");
    train("4", "run");
    let (run, whole) = (at.join("run"), bytes(&at.join("whole")));
    let metrics = run.join("metrics.jsonl");
    let good = fs::read(&metrics).unwrap();
    let lines: Vec<&[u8]> = good.split_inclusive(|&b| b == b'\n').collect();
    assert_eq!(lines.len(), 5);
    let kept = |name: &str| run.join(name);
    let replaced = |i: usize, with: &[u8]| {
        let mut lines: Vec<&[u8]> = lines.clone();
        lines[i] = with;
        lines.concat()
    };
    let resume = ["train", "--resume", "run", "--steps", "4"];
    let lost = "1 line after step 1 can't be read; the losses of step 2 are lost; the old file is kept as";
    let giant = [&vec![b'x'; 3 << 20][..], b"\n"].concat();
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("a byte that is not UTF-8", replaced(1, b"{\"step\":2,\"loss\":\"\xff\"}\n"), lost),
        ("NULs", replaced(1, &[0; 200]), "1 line after step 1 can't be read"),
        ("a line that is cut", replaced(1, b"{\"step\":2,\"lo\n"), lost),
        ("a giant line", replaced(1, &giant), lost),
        ("no step", replaced(1, b"{\"loss\":2}\n"), lost),
        ("not JSON", replaced(0, b"hello\n"), "1 line after step 0 can't be read; the losses of step 1 are lost"),
        (
            "the end is cut",
            good[..good.len() - 9].to_vec(),
            "1 line after step 4 can't be read; the evaluation of step 4 is lost; the old file",
        ),
        ("a line is gone", replaced(2, b""), "metrics.jsonl: the losses of step 3 are lost\n"),
        ("an evaluation is gone", replaced(4, b""), "metrics.jsonl: the evaluation of step 4 is lost\n"),
        ("empty", vec![], "metrics.jsonl: the losses of steps 1 to 4 are lost; the evaluation of step 4 is lost\n"),
        ("twice", [lines[0], &good[..]].concat(), "1 line repeated by later ones; the old file is kept as"),
        // as after a kill: lines after the checkpoint are recomputed
        ("before the checkpoint", [&good[..], b"{\"step\":5,\"loss\":1.0}\n{\"step\":"].concat(), ""),
    ];
    for (case, content, words) in cases {
        fs::write(&metrics, &content).unwrap();
        let err = said(at, &resume);
        assert!(if words.is_empty() { !err.contains("metrics") } else { err.contains(words) }, "{case}: {err}");
        for line in fs::read_to_string(&metrics).unwrap().lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap() <= 4, "{case}");
        }
        if let Some((_, name)) = err.split_once("is kept as ") {
            let name = name.lines().next().unwrap();
            assert!(fs::read(kept(name)).unwrap() == content, "{case}");
            fs::remove_file(kept(name)).unwrap();
        }
    }
    fs::remove_file(&metrics).unwrap();
    assert!(said(at, &resume).contains("metrics.jsonl: the losses of steps 1 to 4 are lost"));
    fs::remove_file(&metrics).unwrap();
    fs::create_dir(&metrics).unwrap();
    let err = said(at, &resume);
    assert!(err.contains("it is not a file; the losses of steps 1 to 4 are lost; the evaluation of step 4 is lost; the old file is kept as"), "{err}");
    assert!(kept("metrics.damaged-1.jsonl").is_dir() && metrics.is_file());
    #[cfg(unix)]
    {
        fs::remove_file(&metrics).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&metrics).status().unwrap().success());
        assert!(said(at, &resume).contains("it is not a file") && kept("metrics.damaged-2.jsonl").exists());
    }
    // the resumed run ends the same
    fs::write(&metrics, &good).unwrap();
    assert!(!said(at, &["train", "--resume", "run", "--steps", "6"]).contains("metrics"));
    assert!(bytes(&run)[1..3] == whole[1..3]);
}
