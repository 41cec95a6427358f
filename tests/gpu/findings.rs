//! Warnings about a text that its tokenizer doesn't fit.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::cli::{Folder, SMALL, fails, said};

const FEW: &[&str] = &["--steps", "2", "--no-tune"];

/// Writes a tokenizer of words, with everything else unknown.
fn words(at: &Path, name: &str, words: &[&str]) {
    let vocab: serde_json::Map<_, _> =
        ["[UNK]"].iter().chain(words).enumerate().map(|(id, word)| ((*word).to_string(), json!(id))).collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": { "type": "Whitespace" }, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]" },
    });
    fs::write(at.join(name), file.to_string()).unwrap();
}

#[test]
fn a_text_that_the_tokenizer_does_not_know_is_refused_and_one_that_it_half_knows_is_warned_of() {
    let at = Folder::with_text();
    words(&at, "other.json", &["hello", "world"]);
    words(&at, "half.json", &["line", "says"]);
    let train = |tokenizer: &'static str, out: &'static str| {
        at.train(&[FEW, &["--tokenizer", tokenizer, "--out", out]].concat())
            .iter()
            .map(|s| s.to_string())
            .collect::<Vec<_>>()
    };
    let tokenize =
        |tokenizer, out| ["tokenize", &at.text, "--tokenizer", tokenizer, "--out", out].map(str::to_string).to_vec();
    for (args, out) in [(train("./other.json", "run"), "run"), (tokenize("./other.json", "set"), "set")] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let line = fails(&at, &args);
        assert!(line.contains("100.0 % of the text's tokens are [UNK]") && line.contains("--tokenizer"), "{line}");
        assert!(!at.join(out).exists());
    }
    for args in [train("./half.json", "run"), tokenize("./half.json", "set")] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let err = said(&at, &args);
        assert!(err.contains("warning: 50.0 % of the text's 800 tokens are [UNK]"), "{err}");
        assert!(err.contains("choose another with --tokenizer"), "{err}");
    }
    // an existing run stays usable
    let err = said(&at, &["train", "--resume", "run", "--steps", "3"]);
    assert!(err.contains("warning: 50.0 %") && err.contains("only a new run"), "{err}");
    fs::write(at.join("other.txt"), "hello world ".repeat(40)).unwrap();
    let err = said(&at, &["eval", "run", "other.txt"]);
    assert!(err.contains("warning: 100.0 % of the text's 80 tokens are [UNK]"), "{err}");
    for (command, more) in [("generate", ["--tokens", "2"]), ("logits", ["--out", "logits.safetensors"])] {
        let about = |prompt| said(&at, &[&[command, "run", "--prompt", prompt][..], &more].concat());
        let err = about("line zebra");
        assert!(err.contains("doesn't know all of the prompt; the model sees [UNK] instead"), "{err}");
        assert!(!about("line says").contains("prompt"));
    }
    let plain = [&["train", &at.text, "--out", "plain"][..], SMALL, FEW].concat();
    assert!(!said(&at, &plain).contains("of the text's"));
}

/// Writes a tokenizer of single letters that drops whatever else it meets.
fn letters(at: &Path, name: &str, letters: &str) {
    let vocab: serde_json::Map<_, _> = letters.chars().enumerate().map(|(id, c)| (c.to_string(), json!(id))).collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": { "type": "Whitespace" }, "decoder": null,
        "model": { "type": "BPE", "vocab": vocab, "merges": [], "unk_token": null, "fuse_unk": false },
    });
    fs::write(at.join(name), file.to_string()).unwrap();
}

#[test]
fn text_that_the_tokenizer_drops_is_counted_in_bytes() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    letters(at, "letters.json", "abc \n");
    fs::write(at.join("half.txt"), "abcxyz abz\n".repeat(100)).unwrap();
    fs::write(at.join("other.txt"), "xyz xyzzy\n".repeat(100)).unwrap();
    let train = |text, out| [&["train", text, "--tokenizer", "./letters.json", "--out", out][..], SMALL, FEW].concat();
    // of nine letters four are lost
    let err = said(at, &train("half.txt", "run"));
    assert!(err.contains("warning: 44.4 % of the text is lost, as the tokenizer drops what it doesn't know;"), "{err}");
    let err = said(at, &["eval", "run", "half.txt"]);
    assert!(err.contains("warning: 44.4 % of the text is lost"), "{err}");
    let line = fails(at, &train("other.txt", "none"));
    assert!(line.contains("100.0 % of the text"), "{line}");
    assert!(!at.join("none").exists());
}

#[test]
fn names_of_special_tokens_read_as_plain_text_are_noted_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("a.txt"), "one line here<|endoftext|>\nand another<|endoftext|>\n".repeat(60)).unwrap();
    let is_there = "note: the text contains <|endoftext|> 120 times, read as plain text; ";
    let train =
        |out: &str, more: &[&str]| said(at, &[&["train", "a.txt", "--out", out][..], SMALL, FEW, more].concat());
    let mask = "--document-mask true separates documents";
    let parts = "--separator '<|endoftext|>' separates documents there";
    for (i, (more, remedy)) in [
        (&["--tokenizer", "gpt2"][..], mask),
        (&["--tokenizer", "bpe:300"], mask),
        (&["--tokenizer", "char"], parts),
        (&["--tokenizer", "byte", "--mode", "documents"], parts),
        (&["--tokenizer", "gpt2", "--mode", "documents"], parts),
    ]
    .into_iter()
    .enumerate()
    {
        let err = train(&format!("run{i}"), more);
        assert!(err.contains(is_there) && err.contains(remedy), "{more:?}: {err}");
        assert_eq!(err.contains("--mode documents"), remedy == parts && more.len() == 2, "{more:?}: {err}");
    }
    let err = said(at, &["eval", "run0", "a.txt"]);
    assert!(err.contains(is_there) && err.contains("as the run reads its own text"), "{err}");
    // after following the advice there is no note
    for (i, more) in [
        &["--tokenizer", "gpt2", "--special-tokens", "--document-mask", "true"][..],
        &["--tokenizer", "char", "--mode", "documents", "--separator", "<|endoftext|>"],
    ]
    .into_iter()
    .enumerate()
    {
        let err = train(&format!("good{i}"), more);
        assert!(!err.contains("note: "), "{more:?}: {err}");
    }
    for (i, (tokenizer, remedy)) in
        [("gpt2", "; --special-tokens makes it the end"), ("char", "--tokenizer gpt2 --special-tokens")]
            .into_iter()
            .enumerate()
    {
        let err = said(at, &["tokenize", "a.txt", "--tokenizer", tokenizer, "--out", &format!("set{i}")]);
        assert!(err.contains(is_there) && err.contains(remedy), "{err}");
    }
}
