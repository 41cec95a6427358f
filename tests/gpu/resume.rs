//! Runs that are resumed with damaged metrics.

use std::fs;
use std::path::Path;

use crate::cli::{Folder, bytes, ok, tril};

/// What a command says besides its result; it must succeed.
fn said(at: &Path, args: &[&str]) -> String {
    let output = tril(at, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !err.contains("panicked"), "{err}");
    err
}

#[test]
fn damaged_metrics_stand_in_no_way_and_what_is_lost_is_said() {
    let at = &Folder::with_text();
    let train = |steps, out| {
        let flags = ["--no-tune", "--checkpoint-every", "2", "--eval-every", "4", "--steps", steps, "--out", out];
        ok(at, &at.train(&flags));
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
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("a byte that is not UTF-8", replaced(1, b"{\"step\":2,\"loss\":\"\xff\"}\n"), lost),
        ("NULs", replaced(1, &[0; 200]), "1 line after step 1 can't be read"),
        ("a line that is cut", replaced(1, b"{\"step\":2,\"lo\n"), lost),
        ("a giant line", replaced(1, &giant), lost),
        ("no step", replaced(1, b"{\"loss\":2}\n"), lost),
        ("not JSON", replaced(0, b"hello\n"), "1 line after step 0 can't be read; the losses of step 1 are lost"),
        ("the end is cut", good[..good.len() - 9].to_vec(), "1 line after step 4 can't be read; the old file"),
        ("a line is gone", replaced(2, b""), "metrics.jsonl: the losses of step 3 are lost\n"),
        ("empty", vec![], "metrics.jsonl: the losses of steps 1 to 4 are lost\n"),
        ("twice", [lines[0], &good[..]].concat(), "1 line repeated by later ones; the old file is kept as"),
        // as a kill leaves it: what comes after the checkpoint is computed again
        ("behind the checkpoint", [&good[..], b"{\"step\":5,\"loss\":1.0}\n{\"step\":"].concat(), ""),
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
    assert!(err.contains("it is not a file; the losses of steps 1 to 4 are lost; the old file is kept as"), "{err}");
    assert!(kept("metrics.damaged-1.jsonl").is_dir() && metrics.is_file());
    #[cfg(unix)]
    {
        fs::remove_file(&metrics).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&metrics).status().unwrap().success());
        assert!(said(at, &resume).contains("it is not a file") && kept("metrics.damaged-2.jsonl").exists());
    }
    // to the end it comes to the same
    fs::write(&metrics, &good).unwrap();
    assert!(!said(at, &["train", "--resume", "run", "--steps", "6"]).contains("metrics"));
    assert!(bytes(&run)[1..3] == whole[1..3]);
}
