//! What a user may get wrong: every command answers with one clear line and an exit code, at once.

use std::fs;
use std::path::Path;

use crate::cli::{Folder, SMALL, command, fails, ok, train, tril};

/// Flags, and what they don't take.
type Values = [(&'static str, &'static [&'static str])];

/// The line of a command that its flags alone make wrong, which is seen at parsing.
fn misused(dir: &Path, args: &[&str]) -> String {
    let output = tril(dir, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "tril {args:?}: {err}");
    let lines: Vec<&str> = err.lines().filter(|l| l.starts_with("error: ")).collect();
    assert!(lines.len() == 1 && !err.contains("panicked"), "tril {args:?}: {err}");
    lines[0].into()
}

#[test]
fn values_that_are_none_are_misuse_in_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    const NUMBER: &[&str] = &["x", "", "-1", "1.5", "18446744073709551616"];
    const SHARE: &[&str] = &["x", "", "1,5", "0x1"];
    let settings: &Values = &[
        ("--n-layer", NUMBER),
        ("--n-head", NUMBER),
        ("--n-embd", NUMBER),
        ("--block-size", NUMBER),
        ("--steps", NUMBER),
        ("--batch-size", NUMBER),
        ("--grad-accum", NUMBER),
        ("--batch-tokens", NUMBER),
        ("--warmup-steps", NUMBER),
        ("--seed", NUMBER),
        ("--eval-every", NUMBER),
        ("--eval-windows", NUMBER),
        ("--sample-every", NUMBER),
        ("--checkpoint-every", NUMBER),
        ("--keep", NUMBER),
        ("--loss-chunk", NUMBER),
        ("--dropout", SHARE),
        ("--lr", SHARE),
        ("--min-lr", SHARE),
        ("--beta1", SHARE),
        ("--beta2", SHARE),
        ("--eps", SHARE),
        ("--weight-decay", SHARE),
        ("--clip", SHARE),
        ("--val-fraction", SHARE),
        ("--bias", &["yes", ""]),
        ("--tied", &["1"]),
        ("--pack", &["no"]),
        ("--document-mask", &["x"]),
        ("--positions", &["rotary"]),
        ("--schedule", &["exponential"]),
        ("--on-nonfinite", &["ignore"]),
        ("--on-spike", &["stop"]),
        ("--recompute", &["all"]),
        ("--mode", &["lines"]),
        ("--memory", &["0", "-5G", "4X", "G", "nan", "inf"]),
        ("--tokenizer", &["words", "bpe:", "bpe:1", "bpe:300000", "bpe:x"]),
    ];
    let cases: &[(&[&str], &Values)] = &[
        (&["train"], settings),
        (&["train"], &[("--profile", &["0", "1001", "x"]), ("--out", &[""]), ("--no-such-flag", &["1"])]),
        (&["plan"], &[("--vocab-size", NUMBER), ("--limits", &["h100"]), ("--n-head", NUMBER)]),
        (&["kernels"], &[("--family", &["tpu"]), ("--emit", &[""])]),
        (&["tune"], &[("--vocab-size", NUMBER)]),
        (&["generate", "run"], &[("--tokens", NUMBER), ("--temperature", SHARE), ("--top-k", NUMBER)]),
        (&["generate", "run"], &[("--top-p", SHARE), ("--seed", NUMBER), ("--samples", NUMBER)]),
        (&["eval", "run"], &[("--eval-windows", NUMBER), ("--batch-size", NUMBER), ("--free-windows", NUMBER)]),
        (&["bench"], &[("--steps", NUMBER), ("--seconds", &["x", ""])]),
    ];
    for (command, flags) in cases {
        for (flag, values) in *flags {
            for value in *values {
                let line = misused(at, &[command, &[*flag, *value][..]].concat());
                // what begins like a flag is taken for one
                assert!(line.contains(flag) || value.starts_with('-'), "{line}");
            }
        }
    }
    for args in [
        &["train", "--out", "a", "--resume", "b"][..],
        &["train", "--resume", "b", "--preset", "nano"],
        &["train", "--trace", "t.json"],
        &["generate"],
        &["replay"],
        &["fly"],
    ] {
        misused(at, args);
    }
}

#[test]
fn values_out_of_range_are_said_before_a_device_is_opened_or_a_file_made() {
    let at = &Folder::with_text();
    fs::write(at.join("not.json"), "{\"model\":").unwrap();
    fs::write(at.join("small.txt"), "a text").unwrap();
    fs::create_dir(at.join("some.folder")).unwrap();
    fs::write(at.join("panics.json"), r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}"#)
        .unwrap();
    fs::write(at.join("wide.toml"), "[train]\nsteps = 1e9\n").unwrap();
    fs::write(at.join("head.toml"), "[model]\nn_head = 5\n").unwrap();
    fs::write(at.join("utf16.toml"), b"\xff\xfe[\0m\0").unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--n-layer", "0"], "--n-layer"),
        (&["--n-layer", "1025"], "from 1 to 1024"),
        (&["--n-head", "0"], "--n-head"),
        (&["--n-embd", "18446744073709551615"], "--n-embd"),
        (&["--n-head", "7"], "--n-head"),
        (&["--block-size", "0"], "--block-size"),
        (&["--block-size", "65537"], "--block-size"),
        (&["--dropout", "1"], "--dropout"),
        (&["--dropout", "nan"], "--dropout"),
        (&["--dropout", "-0.1"], "--dropout"),
        (&["--steps", "0"], "--steps"),
        (&["--steps", "4294967296"], "--steps"),
        (&["--batch-size", "0"], "--batch-size"),
        (&["--batch-size", "18446744073709551615"], "--batch-size"),
        (&["--grad-accum", "0"], "--grad-accum"),
        (&["--grad-accum", "65537"], "--grad-accum"),
        (&["--batch-tokens", "64", "--grad-accum", "2"], "--batch-tokens"),
        (&["--lr", "-1"], "--lr"),
        (&["--lr", "nan"], "--lr"),
        (&["--lr", "1e999"], "--lr"),
        (&["--min-lr", "1"], "--min-lr"),
        (&["--warmup-steps", "18446744073709551615"], "--warmup-steps"),
        (&["--beta1", "1"], "--beta1"),
        (&["--beta2", "-0.5"], "--beta2"),
        (&["--eps", "0"], "--eps"),
        (&["--weight-decay", "inf"], "--weight-decay"),
        (&["--clip", "-1"], "--clip"),
        (&["--keep", "0"], "--keep"),
        (&["--eval-every", "0"], "--eval-every"),
        (&["--seed", "18446744073709551615"], "--seed"),
        (&["--checkpoint-every", "9223372036854775808"], "--checkpoint-every"),
        (&["--loss-chunk", "18446744073709551615"], "--loss-chunk"),
        (&["--val-fraction", "1"], "--val-fraction"),
        (&["--val-fraction", "nan"], "--val-fraction"),
        (&["--memory", "1"], "--block-size"),
        (&["--pack", "true"], "--mode documents"),
        (&["--separator", ","], "--mode documents"),
        (&["--special-tokens", "--tokenizer", "char"], "--special-tokens"),
        (&["--tokenizer", "none.json"], "--tokenizer none.json is not there"),
        (&["--tokenizer", "not.json"], "--tokenizer not.json is no tokenizer.json"),
        (&["--tokenizer", "small.txt"], "--tokenizer small.txt is no tokenizer.json"),
        (&["--tokenizer", "some.folder"], "--tokenizer some.folder is a folder"),
        (&["--tokenizer", "panics.json"], "tokenizer"),
        (&["--preset", "gpt5"], "gpt2-xl"),
        (&["--config", "wide.toml"], "wide.toml: line 2, train.steps: "),
        (&["--config", "utf16.toml"], "utf16.toml: it is not UTF-8 text; save it as that"),
        (&["--config", "nowhere.toml"], "--config nowhere.toml: "),
        (&["--config", "head.toml", "--n-embd", "16"], "--n-head"),
        (&["--device", "99"], "--device"),
        (&["--trace", "nowhere/t.json", "--profile"], "--trace"),
    ];
    let before = fs::read_dir(at).unwrap().count();
    for (flags, word) in cases {
        let small: Vec<&str> =
            SMALL.chunks(2).filter(|pair| !flags.contains(&pair[0])).flatten().copied().collect::<Vec<_>>();
        let small = if flags.contains(&"head.toml") { vec![] } else { small };
        let line = fails(at, &[&["train", &at.text, "--no-tune"][..], &small, flags].concat());
        assert!(line.contains(word), "{flags:?}: {line}");
    }
    for (args, word) in [
        (&["plan", "--vocab-size", "0"][..], "--vocab-size"),
        (&["plan", "--n-head", "3"], "--n-head"),
        (&["plan", "--limits", "webgpu", "--batch-size", "0"], "--batch-size"),
        (&["kernels", "--limits", "webgpu", "--n-embd", "0"], "--n-embd"),
        (&["tune", "--block-size", "0"], "--block-size"),
        (&["bench", "--presets", "none"], "--presets"),
        (&["bench", "--seconds", "nan"], "--seconds"),
        (&["bench", "--out", "nowhere/b.json"], "--out"),
        (&["replay", "nowhere"], "it does not exist); give a folder in RUN/nonfinite"),
        (&["replay", "text.txt"], "it is a file, not a folder); give a folder in RUN/nonfinite"),
        (&["replay", "some.folder"], "there is no report.json in it); give a folder in RUN/nonfinite"),
        (&["generate", "nowhere"], "nowhere does not exist; give the directory"),
        (&["eval", "nowhere/run"], "nowhere/run does not exist; give the directory"),
        (&["logits", "nowhere", "--tokens", "1", "--out", "out"], "nowhere does not exist; give the directory"),
        (&["train", "--resume", "nowhere"], "nowhere does not exist; give the directory"),
        (&["eval", "text.txt"], "text.txt is not a run directory of tril: it is a file, not a folder"),
        (&["generate", "some.folder"], "some.folder is not a run directory of tril: there is no config.toml in it"),
        (&["generate", "nowhere", "--temperature", "nan"], "--temperature"),
        (&["generate", "nowhere", "--top-p", "0"], "--top-p"),
        (&["generate", "nowhere", "--top-p", "2"], "--top-p"),
    ] {
        let line = fails(at, args);
        assert!(line.contains(word), "{args:?}: {line}");
    }
    assert_eq!(fs::read_dir(at).unwrap().count(), before, "a refused command left something behind");
}

#[test]
fn another_number_of_heads_is_refused_wherever_it_comes_from() {
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "2", "--out", "run", "--no-tune"]));
    let line = fails(at, &["train", "--resume", "run", "--steps", "3", "--n-head", "4"]);
    assert!(line.contains("--steps"), "{line}");
    // the same shapes with other heads: another model
    let config = at.join("run/config.toml");
    let changed = fs::read_to_string(&config).unwrap().replace("n_head = 2", "n_head = 4");
    fs::write(&config, changed).unwrap();
    for args in [&["train", "--resume", "run", "--steps", "3"][..], &["generate", "run"], &["eval", "run"]] {
        let line = fails(at, args);
        assert!(line.contains("model.n_head = 4, and was = 2"), "{line}");
    }
}

#[test]
fn any_alphabet_trains_and_is_prompted() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for (name, word) in [("ru", "привет, мир! "), ("zh", "你好世界。"), ("ar", "مرحبا بالعالم "), ("emoji", "👩‍👩‍👧‍👦🏳️‍🌈é")]
    {
        fs::write(at.join(name), word.repeat(120)).unwrap();
        for tokenizer in ["auto", "byte", "bpe:300", "gpt2"] {
            let run = format!("{name}-{}", tokenizer.replace(':', ""));
            train(at, name, &["--steps", "1", "--no-tune", "--tokenizer", tokenizer, "--out", &run]);
            let said = ok(at, &["generate", &run, "--prompt", word, "--tokens", "4"]);
            assert!(said.starts_with(word), "{said}");
        }
    }
}

#[test]
fn a_device_that_computes_wrongly_trains_nothing() {
    let at = &Folder::with_text();
    let args = at.train(&["--steps", "2", "--no-tune", "--out", "run"]);
    let refused = || {
        let output = command().args(&args).current_dir(at).env("TRIL_FAULT", "wrong").output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("computes a small model wrongly") && err.contains("tril doctor"), "{err}");
        assert!(!at.join("run").exists());
    };
    refused();
    ok(at, &args);
    fs::remove_dir_all(at.join("run")).unwrap();
    refused();
}
