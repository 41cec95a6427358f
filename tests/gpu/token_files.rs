//! Training on token files, as a user does it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::cli::{bytes, command, fails, misused, ok, said, text, train};

/// The data set that nanoGPT makes from a text, with bytes as tokens.
fn data_set(text: &str, folder: &Path) {
    let text = fs::read(text).unwrap();
    let (train, val) = text.split_at((text.len() as f64 * 0.9) as usize);
    fs::create_dir(folder).unwrap();
    for (name, part) in [("train.bin", train), ("val.bin", val)] {
        let tokens: Vec<u8> = part.iter().flat_map(|&byte| u16::from(byte).to_le_bytes()).collect();
        fs::write(folder.join(name), tokens).unwrap();
    }
}

#[test]
fn a_run_on_token_files_is_the_run_on_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(dir.path());
    let set = dir.path().join("set");
    data_set(&path, &set);
    let flags = ["--tokenizer", "byte", "--steps", "8", "--eval-every", "4", "--checkpoint-every", "4"];
    let train_on = |path: &str, out: &str| train(dir.path(), path, &[&flags[..], &["--out", out]].concat());
    train_on(&path, "text");
    let out = train_on("set", "tokens");
    assert!(out.contains("tokens to train on"), "{out}");
    let (of_text, of_tokens) = (bytes(&dir.path().join("text")), bytes(&dir.path().join("tokens")));
    // all but config.toml, which records where the data is
    for (one, other) in of_text.iter().zip(&of_tokens).take(3) {
        assert!(one == other, "{} differs", one.0);
    }

    let loss = |out: String| out.lines().find(|line| line.contains("loss")).unwrap().to_string();
    let evaluate = |paths: &[&str]| loss(ok(dir.path(), &[&["eval", "tokens", "--free-windows", "0"], paths].concat()));
    assert_eq!(evaluate(&[]), evaluate(&["set"]));
    assert_eq!(evaluate(&["set/val.bin"]), evaluate(&["set"]));
    ok(dir.path(), &["generate", "tokens", "--tokens", "4", "--prompt", "line"]);

    // moved files are the same, changed ones aren't
    fs::rename(&set, dir.path().join("moved")).unwrap();
    assert!(fails(dir.path(), &["train", "--resume", "tokens", "--steps", "12"]).contains("does not exist"));
    ok(dir.path(), &["train", "--resume", "tokens", "--steps", "12", "moved"]);
    let val = dir.path().join("moved/val.bin");
    let mut changed = fs::read(&val).unwrap();
    changed[0] ^= 1;
    fs::write(&val, changed).unwrap();
    let error = fails(dir.path(), &["train", "--resume", "tokens", "--steps", "16", "moved"]);
    assert!(error.contains("the set of token files has changed since this run began"), "{error}");
}

#[test]
fn training_and_evaluation_warn_of_tokens_that_may_be_padding() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    let tokens: Vec<u8> = (0..50_000u32)
        .flat_map(|i| if i % 25_000 >= 20_000 { 0 } else { 65 + (i % 23) as u16 }.to_le_bytes())
        .collect();
    fs::write(at.join("padded.bin"), tokens).unwrap();
    let expected = "padded.bin has only zeros from token 20000 to 24999 (10 % of it): unless they are padding";
    let flags =
        "--tokenizer byte --n-layer 1 --n-embd 16 --n-head 1 --block-size 16 --batch-size 2 --steps 2 --no-tune";
    let train = ["train", "padded.bin", "--val", "padded.bin", "--out", "run"];
    let flags: Vec<&str> = flags.split(' ').collect();
    for args in [[&train[..], &flags].concat(), vec!["eval", "run", "padded.bin", "--eval-windows", "2"]] {
        let err = said(at, &args);
        assert!(err.contains("warning: ") && err.contains(expected), "{args:?}: {err}");
    }
}

/// The same tokens with another width.
fn widened(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["train.bin", "val.bin"] {
        let tokens = fs::read(from.join(name)).unwrap();
        let tokens: Vec<u8> = tokens.chunks(2).flat_map(|id| [id, &[0; 6]].concat()).collect();
        fs::write(to.join(name), tokens).unwrap();
    }
}

#[test]
fn tokens_of_64_bits_are_refused_without_token_width() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    data_set(&text(dir.path()), &at("short"));
    widened(&at("short"), &at("long"));
    let flags = ["--tokenizer", "byte", "--steps", "4", "--checkpoint-every", "4", "--out"];
    let refused = |args: &[&str]| {
        let error = fails(dir.path(), args);
        assert!(error.contains("looks like 64-bit ids, not 16-bit ones: give --token-width 64"), "{error}");
    };
    refused(&[&["train", "long"], &flags[..], &["a"]].concat());
    assert!(!at("a").exists());
    train(dir.path(), "short", &[&flags[..], &["a"]].concat());
    train(dir.path(), "long", &[&["--token-width", "64"], &flags[..], &["b"]].concat());
    assert!(bytes(&at("a"))[..3] == bytes(&at("b"))[..3]);
    // the run remembers the width
    ok(dir.path(), &["train", "--resume", "b", "--steps", "6"]);
    fs::rename(at("long"), at("moved")).unwrap();
    ok(dir.path(), &["train", "--resume", "b", "--steps", "8", "moved"]);
    let evaluate = |args: &[&str]| ok(dir.path(), &[&["eval", "b", "--free-windows", "0"], args].concat());
    refused(&["eval", "b", "moved/val.bin"]);
    let loss = |out: String| out.lines().find(|line| line.contains("loss")).unwrap().to_string();
    assert_eq!(loss(evaluate(&["moved/val.bin", "--token-width", "64"])), loss(evaluate(&[])));
    let error = fails(dir.path(), &["train", "--resume", "b", "--token-width", "16"]);
    assert!(error.contains("the set of token files has changed"), "{error}");
    // a run from before the width was checked
    let config = fs::read_to_string(at("a/config.toml")).unwrap();
    fs::write(at("a/config.toml"), config.replace("/short/", "/moved/")).unwrap();
    refused(&["train", "--resume", "a", "--steps", "6"]);
}

#[test]
fn flags_that_do_not_fit_token_files_give_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(dir.path());
    data_set(&path, &dir.path().join("set"));
    let table: [(&[&str], &str); 8] = [
        (&[&path, "--token-width", "16"], "--token-width needs token files (.bin), but this is text"),
        (&["set", "--tokenizer", "char"], "--tokenizer char needs text, but these are token files"),
        (&["set", "--tokenizer", "bpe:300"], "--tokenizer bpe:300 needs text"),
        (&["set", "--special-tokens"], "--special-tokens is for text"),
        (&["set", "--lossy"], "--lossy is for text"),
        (&["set", "--mode", "documents"], "--mode documents needs text, but these are token files"),
        (&[&path, "--val", "set/val.bin"], "needs token files (.bin); for text, leave it out and use --val-fraction"),
        (&["--val", "set/val.bin"], "needs token files to train on"),
    ];
    for (args, reason) in table {
        let error = misused(dir.path(), &[&["train"], args].concat());
        assert!(error.contains(reason), "{error}");
    }
    assert!(fails(dir.path(), &["train", "set", &path]).contains("give one or the other"));
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn tokenize_makes_a_data_set_to_train_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(dir.path());
    let json = ok(dir.path(), &["tokenize", &path, "--out", "set", "--tokenizer", "byte", "--json"]);
    let done: serde_json::Value = serde_json::from_str(&json).unwrap();
    let n = fs::metadata(&path).unwrap().len();
    assert_eq!(done["train_tokens"].as_u64().unwrap() + done["val_tokens"].as_u64().unwrap(), n, "{json}");
    assert_eq!((&done["vocab_size"], &done["format"], &done["bits"]), (&256.into(), &"nanogpt".into(), &16.into()));
    // only tokenizer.json can name this tokenizer
    let flags = ["--steps", "4", "--checkpoint-every", "4"];
    let train_on =
        |path: &str, more: &[&str], out: &str| train(dir.path(), path, &[&flags, more, &["--out", out]].concat());
    let out = train_on("set", &[], "tokens");
    assert!(out.contains("tokens   from ") && out.contains("tokenizer.json"), "{out}");
    train_on(&path, &["--tokenizer", "byte"], "text");
    assert!(bytes(&dir.path().join("text"))[..3] == bytes(&dir.path().join("tokens"))[..3]);

    let mut child = command()
        .args(["tokenize", "-", "--out", "piped", "--tokenizer", "byte"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(&path).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("tril train piped"));
    for name in ["train.bin", "val.bin"] {
        let read = |set: &str| fs::read(dir.path().join(set).join(name)).unwrap();
        assert_eq!(read("piped"), read("set"), "{name}");
    }

    let table: [(&[&str], &str); 2] = [
        (&[&path, "--out", "set"], "already exists: choose another --out, or remove it"),
        (&["set", "--out", "again"], "these are already token files; train on them with tril train"),
    ];
    for (args, reason) in table {
        let error = fails(dir.path(), &[&["tokenize"], args].concat());
        assert!(error.contains(reason), "{error}");
    }
    let specials = ["tokenize", &path, "--out", "again", "--special-tokens", "--tokenizer", "byte"];
    assert!(misused(dir.path(), &specials).contains("--special-tokens is for byte-pair encodings"));
    assert!(!dir.path().join("again").exists());
}
