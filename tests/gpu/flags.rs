//! Usage errors: every command reports them at once, with one clear line and an exit code.

use std::fs;

use crate::cli::{Folder, SMALL, command, fails, fails_with, misused, ok, train, tril};

/// Flags, and values that they don't take.
type Values = [(&'static str, &'static [&'static str])];

#[test]
fn invalid_values_are_usage_errors_in_every_command() {
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
        ("--token-width", &["12", "x", "", "-16"]),
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
                // a value that begins like a flag is taken for one
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
fn invalid_values_and_conflicting_flags_are_usage_errors_and_leave_nothing_behind() {
    let at = &Folder::with_text();
    fs::write(at.join("not.json"), "{\"model\":").unwrap();
    fs::write(at.join("small.txt"), "a text").unwrap();
    fs::create_dir(at.join("some.folder")).unwrap();
    fs::write(at.join("panics.json"), r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}"#)
        .unwrap();
    fs::write(at.join("wide.toml"), "[train]\nsteps = 1e9\n").unwrap();
    fs::write(at.join("head.toml"), "[model]\nn_head = 5\n").unwrap();
    fs::write(at.join("utf16.toml"), b"\xff\xfe[\0m\0").unwrap();
    let cases: &[(i32, &[&str], &str)] = &[
        (2, &["--n-layer", "0"], "--n-layer"),
        (2, &["--n-layer", "1025"], "from 1 to 1024"),
        (2, &["--n-head", "0"], "--n-head"),
        (2, &["--n-embd", "18446744073709551615"], "--n-embd"),
        (2, &["--n-head", "7"], "--n-head"),
        (2, &["--block-size", "0"], "--block-size"),
        (2, &["--block-size", "65537"], "--block-size"),
        (2, &["--dropout", "1"], "--dropout"),
        (2, &["--dropout", "nan"], "--dropout"),
        (2, &["--dropout", "-0.1"], "--dropout"),
        (2, &["--steps", "0"], "--steps"),
        (2, &["--steps", "4294967296"], "--steps"),
        (2, &["--batch-size", "0"], "--batch-size"),
        (2, &["--batch-size", "18446744073709551615"], "--batch-size"),
        (2, &["--grad-accum", "0"], "--grad-accum"),
        (2, &["--grad-accum", "65537"], "--grad-accum"),
        (2, &["--batch-tokens", "64", "--grad-accum", "2"], "--batch-tokens"),
        (2, &["--lr", "-1"], "--lr"),
        (2, &["--lr", "nan"], "--lr"),
        (2, &["--lr", "1e999"], "--lr"),
        (2, &["--min-lr", "1"], "--min-lr"),
        (2, &["--warmup-steps", "18446744073709551615"], "--warmup-steps"),
        (2, &["--beta1", "1"], "--beta1"),
        (2, &["--beta2", "-0.5"], "--beta2"),
        (2, &["--eps", "0"], "--eps"),
        (2, &["--weight-decay", "inf"], "--weight-decay"),
        (2, &["--clip", "-1"], "--clip"),
        (2, &["--keep", "0"], "--keep"),
        (2, &["--eval-every", "9223372036854775808"], "--eval-every"),
        (2, &["--seed", "18446744073709551615"], "--seed"),
        (2, &["--checkpoint-every", "9223372036854775808"], "--checkpoint-every"),
        (2, &["--loss-chunk", "18446744073709551615"], "--loss-chunk"),
        (2, &["--val-fraction", "1"], "--val-fraction"),
        (2, &["--val-fraction", "nan"], "--val-fraction"),
        (1, &["--memory", "1"], "--block-size"),
        (2, &["--pack", "true"], "--mode documents"),
        (2, &["--separator", ","], "--mode documents"),
        (2, &["--special-tokens", "--tokenizer", "char"], "--special-tokens"),
        (1, &["--tokenizer", "none.json"], "--tokenizer none.json does not exist"),
        (1, &["--tokenizer", "not.json"], "--tokenizer not.json is not a tokenizer.json"),
        (1, &["--tokenizer", "small.txt"], "--tokenizer small.txt is not a tokenizer.json"),
        (1, &["--tokenizer", "some.folder"], "--tokenizer some.folder is a folder"),
        (1, &["--tokenizer", "panics.json"], "tokenizer"),
        (2, &["--preset", "gpt5"], "gpt2-xl"),
        (1, &["--config", "wide.toml"], "wide.toml: line 2, train.steps: "),
        (1, &["--config", "utf16.toml"], "utf16.toml: it is not UTF-8 text; save it as UTF-8"),
        (1, &["--config", "nowhere.toml"], "--config nowhere.toml: "),
        (2, &["--config", "head.toml", "--n-embd", "16"], "--n-head"),
        (1, &["--config", "head.toml", "--n-layer", "1"], "--config head.toml: --n-head is 5, "),
        (2, &["--device", "99"], "--device"),
        (2, &["--device", "no such card"], "--device"),
        (2, &["--separator", "", "--mode", "documents"], "--separator"),
        (2, &["--document-mask", "true"], "--document-mask"),
        (2, &["--val", "text.txt"], "--val text.txt needs token files"),
        (2, &["--batch-tokens", "65", "--block-size", "16"], "--batch-tokens"),
        (2, &["--batch-size", "4294967295"], "--batch-size"),
        (1, &["--trace", "nowhere/t.json", "--profile"], "--trace"),
    ];
    let before = fs::read_dir(at).unwrap().count();
    for (code, flags, word) in cases {
        let small: Vec<&str> =
            SMALL.chunks(2).filter(|pair| !flags.contains(&pair[0])).flatten().copied().collect::<Vec<_>>();
        let small = if flags.contains(&"head.toml") { vec![] } else { small };
        let small = if flags.contains(&"--batch-tokens") { vec![] } else { small };
        let line = fails_with(*code, at, &[&["train", &at.text, "--no-tune"][..], &small, flags].concat());
        assert!(line.contains(word), "{flags:?}: {line}");
    }
    for (code, args, word) in [
        (2, &["plan", "--vocab-size", "0"][..], "--vocab-size"),
        (2, &["plan", "--n-head", "3"], "--n-head"),
        (2, &["plan", "--limits", "webgpu", "--batch-size", "0"], "--batch-size"),
        (2, &["kernels", "--limits", "webgpu", "--n-embd", "0"], "--n-embd"),
        (2, &["tune", "--block-size", "0"], "--block-size"),
        (2, &["bench", "--presets", "none"], "--presets"),
        (2, &["bench", "--seconds", "nan"], "--seconds"),
        (1, &["bench", "--out", "nowhere/b.json"], "--out"),
        (1, &["replay", "nowhere"], "it does not exist); give a folder in RUN/nonfinite"),
        (1, &["replay", "text.txt"], "it is a file, not a folder); give a folder in RUN/nonfinite"),
        (1, &["replay", "some.folder"], "there is no report.json in it); give a folder in RUN/nonfinite"),
        (1, &["generate", "nowhere"], "nowhere does not exist; give the directory"),
        (1, &["eval", "nowhere/run"], "nowhere/run does not exist; give the directory"),
        (1, &["logits", "nowhere", "--tokens", "1", "--out", "out"], "nowhere does not exist; give the directory"),
        (1, &["train", "--resume", "nowhere"], "nowhere does not exist; give the directory"),
        (1, &["eval", "text.txt"], "text.txt is not a tril run: it is a file, not a folder"),
        (1, &["generate", "some.folder"], "some.folder is not a tril run: there is no config.toml in it"),
        (2, &["generate", "nowhere", "--temperature", "nan"], "--temperature"),
        (2, &["generate", "nowhere", "--top-p", "0"], "--top-p"),
        (2, &["generate", "nowhere", "--top-p", "2"], "--top-p"),
        (2, &["generate", "nowhere", "--temperature", "-1"], "--temperature is -1, it must be"),
        (2, &["generate", "nowhere", "--top-p", "-0.5"], "--top-p is -0.5, it must be"),
        (2, &["generate", "nowhere", "--device", ""], "--device"),
        (2, &["devices", "--device", "0"], "--device"),
        (2, &["bench", "--seconds", "-1"], "--seconds is -1, it must be"),
        (2, &["tokenize", "text.txt", "--out", "set", "--val-fraction", "2"], "--val-fraction"),
        (2, &["tokenize", "text.txt", "--out", "set", "--tokenizer", "char", "--special-tokens"], "--special-tokens"),
        (2, &["doctor", "--quick", "--device", " "], "--device"),
    ] {
        let line = fails_with(code, at, args);
        assert!(line.contains(word), "{args:?}: {line}");
    }
    assert_eq!(fs::read_dir(at).unwrap().count(), before, "a refused command left something behind");
}

#[test]
fn never_evaluating_still_evaluates_the_end() {
    let at = &Folder::with_text();
    let said = ok(at, &at.train(&["--steps", "4", "--no-tune", "--eval-every", "0", "--out", "never"]));
    assert_eq!(said.matches("validation loss").count(), 2, "{said}");
    assert!(said.contains("step 4: validation loss") && said.contains("best validation loss"), "{said}");
    let said = ok(at, &["train", "--resume", "never", "--steps", "6"]);
    assert!(said.contains("step 6: validation loss") && !said.contains("step 5: validation"), "{said}");
}

#[test]
fn a_short_run_without_a_terminal_shows_its_first_and_last_loss() {
    let at = &Folder::with_text();
    for (steps, shown) in [("1", vec!["step 1/1  loss "]), ("7", vec!["step 1/7  loss ", "step 7/7  loss "])] {
        let said = ok(at, &at.train(&["--steps", steps, "--no-tune", "--out", &format!("run-{steps}")]));
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("  loss ")).collect();
        assert!(lines.len() >= shown.len(), "{said}");
        assert!(lines[0].starts_with(shown[0]) && lines[lines.len() - 1].starts_with(shown[shown.len() - 1]), "{said}");
        // before the evaluation
        assert!(said.find(shown[shown.len() - 1]) < said.find("best validation loss"), "{said}");
    }
}

#[test]
fn invalid_numbers_are_explained_in_plain_words() {
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "1", "--out", "run", "--no-tune"]));
    let whole = "it must be a whole number, not negative";
    let id = "an id must be a whole number, not negative; separate several with commas";
    let logits = |tokens| ["logits", "run", "--out", "x", "--tokens", tokens];
    let cases: [(&[&str], &str); 15] = [
        (&["generate", "run", "--temperature", "-1"], "--temperature is -1, it must be a finite number, at least 0"),
        (&["generate", "run", "--seed", "-1"], whole),
        (&["generate", "run", "--top-k", "-1"], whole),
        (&["generate", "run", "--top-k", "1.5"], whole),
        (&["generate", "run", "--top-p", "x"], "it must be a number"),
        (&["generate", "run", "--seed", "18446744073709551616"], "it is too large"),
        (&["generate", "run", "--samples", "0"], "'--samples <N>': 0 is not in 1.."),
        (&["generate", "run", "--samples", "-1"], whole),
        (&["train", "--steps", "-1"], whole),
        (&["train", "--lr", "-1"], "--lr"),
        (&["train", "--profile", "-1"], whole),
        (&logits("a"), id),
        (&logits("-1,2"), id),
        (&logits("1, 2"), id),
        (&logits("1,4000000000"), "--tokens: id 4000000000 is out of range; the largest is "),
    ];
    for (args, words) in cases {
        let line = misused(at, args);
        assert!(line.contains(words) && line.contains("--"), "{args:?}: {line}");
        let err = String::from_utf8(tril(at, args).stderr).unwrap();
        assert!(!err.contains("tip:") && !err.contains("digit"), "{args:?}: {err}");
    }
    assert!(!at.join("x").exists());
    ok(at, &logits("0,1"));
}

#[test]
fn logits_that_can_not_be_written_are_refused_before_a_device_is_opened() {
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "1", "--out", "run", "--no-tune"]));
    for out in ["no/such/folder/x", "run"] {
        let args = ["logits", "run", "--tokens", "0", "--out", out];
        assert!(fails(at, &args).contains("choose another"), "{out}");
        assert!(!String::from_utf8(tril(at, &args).stderr).unwrap().contains("device:"), "{out}");
    }
}

#[test]
fn changing_the_number_of_heads_is_refused() {
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "2", "--out", "run", "--no-tune"]));
    let line = misused(at, &["train", "--resume", "run", "--steps", "3", "--n-head", "4"]);
    assert!(line.contains("--n-head is 2 and can't become 4"), "{line}");
    // the same shapes with other heads are another model
    let config = at.join("run/config.toml");
    let changed = fs::read_to_string(&config).unwrap().replace("n_head = 2", "n_head = 4");
    fs::write(&config, changed).unwrap();
    for args in [&["train", "--resume", "run", "--steps", "3"][..], &["generate", "run"], &["eval", "run"]] {
        let line = fails(at, args);
        assert!(line.contains("model.n_head = 4, and was = 2"), "{line}");
    }
}

#[test]
fn any_alphabet_can_be_trained_on_and_prompted() {
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
fn a_device_that_computes_wrongly_is_refused() {
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
