//! Error messages, and whether they help.

use std::fs;

use crate::cli::{SMALL, fails, fails_with, misused, ok, said, states, text, train, tril};

const FEW: &[&str] = &["--steps", "2", "--no-tune"];

#[test]
fn an_imported_run_of_characters_names_the_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    for (run, more) in [("stream", &[][..]), ("documents", &["--mode", "documents"])] {
        train(at, &path, &[FEW, &["--tokenizer", "char", "--out", run], more].concat());
        let [hf, back] = [format!("{run}-hf"), format!("{run}-back")];
        ok(at, &["export", run, "--to", "hf", "--out", &hf]);
        ok(at, &["import", &hf, "--out", &back]);
        let json = |run: &str| fs::read_to_string(at.join(run).join("tokenizer.json")).unwrap();
        assert_eq!(json(&back), json(run));
        assert_eq!(
            ok(at, &["generate", &back, "--prompt", "line 1", "--tokens", "9"]),
            ok(at, &["generate", run, "--prompt", "line 1", "--tokens", "9"])
        );
        fs::write(at.join("odd.txt"), "l\u{e9}ne\nline 7 says 49\n".repeat(20)).unwrap();
        let settings = [&["--batch-size", "2", "--warmup-steps", "1", "--block-size", "8"][..], FEW, more].concat();
        for (code, args) in [
            (2, &["generate", &back, "--prompt", "l\u{e9}"][..]),
            (1, &["eval", &back, "odd.txt"]),
            (1, &[&["train", "odd.txt", "--resume", &back], &settings[..]].concat()),
            (1, &["train", "odd.txt", "--tokenizer", &format!("{hf}/tokenizer.json")]),
        ] {
            let line = fails_with(code, at, args);
            assert!(line.contains("character '\u{e9}' (U+00E9) at position") && line.contains("a new run"), "{line}");
        }
        ok(at, &[&["train", &path, "--resume", &back], &settings[..]].concat());
    }
    // a tokenizer imported without tokens for the ends of documents doesn't get any later
    ok(at, &["import", "stream-hf", "--out", "again"]);
    let line = misused(at, &[&["train", &path, "--resume", "again", "--mode", "documents"], FEW].concat());
    assert!(line.contains("--mode stream, or train a new run") && !line.contains("with --mode documents"), "{line}");
}

#[test]
fn printed_commands_can_be_given_to_a_shell() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let out = train(at, &path, &[FEW, &["--out", "my runs/it's"]].concat());
    assert!(out.contains(r"tril generate 'my runs/it'\''s'"), "{out}");
    let line = fails(at, &[&["train", &path][..], SMALL, FEW, &["--out", "my runs/it's"]].concat());
    assert!(line.contains(r"--resume 'my runs/it'\''s'"), "{line}");
    let out = ok(at, &["tokenize", &path, "--tokenizer", "char", "--out", "my set"]);
    assert!(out.contains("tril train 'my set'"), "{out}");
    let huge = ["--lr", "1e30", "--min-lr", "1e30", "--clip", "0", "--steps", "9", "--no-tune", "--out", "a run"];
    let output = tril(at, &[&["train", &path][..], SMALL, &huge].concat());
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(out.contains("tril replay 'a run/nonfinite/step-") && err.contains("tril import 'a run'"), "{out}{err}");
    fs::remove_file(&path).unwrap();
    let line = fails(at, &["train", "--resume", "my runs/it's"]);
    assert!(line.contains(r"tril train --resume 'my runs/it'\''s' NEWPATH"), "{line}");
}

#[test]
fn text_says_which_encoding_it_has_and_which_path_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let utf16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "\u{feff}some text".repeat(20).encode_utf16().flat_map(order).collect()
    };
    fs::write(at.join("little"), utf16(u16::to_le_bytes)).unwrap();
    fs::write(at.join("big"), utf16(u16::to_be_bytes)).unwrap();
    fs::write(at.join("bare"), &utf16(u16::to_le_bytes)[2..]).unwrap();
    fs::write(at.join("latin"), b"caf\xe9 ".repeat(99)).unwrap();
    for (name, encoding) in [("little", "utf-16"), ("big", "utf-16"), ("bare", "utf-16le"), ("latin", "latin1")] {
        for args in [&["train", name][..], &["tokenize", name, "--out", "set"]] {
            let line = fails(at, args);
            assert!(line.contains(&format!("iconv -f {encoding} -t utf-8")), "{args:?}: {line}");
        }
    }
    assert!(fails(at, &["train", "nosuch"]).contains("or give none to train on the embedded stories"));
    train(at, &text(at), &[FEW, &["--out", "run"]].concat());
    for args in [&["tokenize", "nosuch", "--out", "set"][..], &["eval", "run", "nosuch"]] {
        let line = fails(at, args);
        assert!(
            line.contains("nosuch does not exist: check the path") && !line.contains("stories"),
            "{args:?}: {line}"
        );
    }
}

#[test]
fn a_warm_up_longer_than_the_run_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let args = |steps: &'static str, out: &'static str| {
        [&["train", &path][..], SMALL, &["--no-tune", "--json", "--steps", steps, "--out", out]].concat()
    };
    for (steps, warns) in [("1", true), ("2", true), ("3", false)] {
        let err = said(at, &args(steps, steps));
        assert_eq!(err.contains("warning: the warm-up takes 2 steps"), warns, "--steps {steps}: {err}");
        assert_eq!(err.contains("--warmup-steps"), warns, "--steps {steps}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn metrics_removed_during_training_are_restarted_with_a_warning() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let flags =
        ["--steps", "300", "--checkpoint-every", "0", "--eval-every", "1000", "--no-tune", "--json", "--out", "run"];
    let mut child = crate::cli::command();
    child.args([&["train", &path][..], SMALL, &flags].concat()).current_dir(at);
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(r#""loss""#)));
    fs::remove_file(at.join("run/metrics.jsonl")).unwrap();
    let warnings: Vec<String> = lines.filter(|line| line.contains("metrics.jsonl was removed")).collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let kept = fs::read_to_string(at.join("run/metrics.jsonl")).unwrap();
    assert!(kept.lines().last().unwrap().contains(r#""step":300"#), "{kept}");
    assert!(states(&at.join("run")).last().unwrap().display().to_string().contains("00000300"));
}

#[cfg(unix)]
#[test]
fn logits_are_a_file_like_any_other() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    train(at, &text(at), &[FEW, &["--out", "run"]].concat());
    ok(at, &["logits", "run", "--prompt", "line", "--out", "logits.safetensors"]);
    let mode = |name: &str| fs::metadata(at.join(name)).unwrap().mode();
    assert_eq!(mode("logits.safetensors"), mode("text.txt"));
}

#[test]
fn data_sets_and_runs_in_a_folder_of_text_are_not_read_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir(at.join("texts")).unwrap();
    let path = text(at);
    fs::rename(&path, at.join("texts/a.txt")).unwrap();
    fs::write(at.join("texts/b.txt"), "another\n".repeat(30)).unwrap();
    let tokenize = |out: &str| -> serde_json::Value {
        let line = ok(at, &["tokenize", "texts", "--tokenizer", "byte", "--out", out, "--json"]);
        serde_json::from_str(&line).unwrap()
    };
    let first = tokenize("texts/out1");
    let second = tokenize("texts/out2");
    for key in ["documents", "train_tokens", "val_tokens", "bytes_read"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    // neither is a run
    let flags = [FEW, &["--tokenizer", "byte", "--out"]].concat();
    train(at, "texts", &[&flags[..], &["texts/runs/one"]].concat());
    ok(at, &["train", "--resume", "texts/runs/one", "--steps", "4"]);
    ok(at, &["eval", "texts/runs/one"]);
}

#[test]
fn token_files_have_one_validation_split() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    ok(at, &["tokenize", &path, "--tokenizer", "byte", "--out", "set"]);
    let start = [&["train", "set"][..], SMALL, FEW, &["--out", "run"]].concat();
    let line = misused(at, &[&start[..], &["--val-fraction", "0.5"]].concat());
    assert!(line.contains("--val-fraction 0.5") && line.contains("val.bin"), "{line}");
    ok(at, &[&["train", "set/train.bin"][..], SMALL, FEW, &["--out", "part", "--val-fraction", "0.5"]].concat());
    // a pattern splits the files as a folder does
    let tokens = |paths: &[&str], out: &str| {
        let line = ok(at, &[&["train"][..], paths, SMALL, FEW, &["--json", "--out", out]].concat());
        let line: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        (line["train_tokens"].clone(), line["val_tokens"].clone())
    };
    let whole = tokens(&["set"], "a");
    assert_eq!(tokens(&["set/*.bin"], "b"), whole);
    assert_eq!(tokens(&["set/train*", "--val", "set/val*"], "c"), whole);
    let only = tokens(&["set/val*.bin", "--val-fraction", "0"], "d");
    assert_eq!(only, (whole.1, 0.into()));
}
