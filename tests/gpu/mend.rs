//! Runs whose files aren't what they were: settings that were edited, another tokenizer.

use std::fs;
use std::path::Path;

use crate::cli::{fails, ok, states, text, train, tril};

/// What a command says besides its result; it must succeed.
fn warned(at: &Path, args: &[&str]) -> String {
    let output = tril(at, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    err
}

fn header(file: &Path) -> (serde_json::Value, Vec<u8>) {
    let bytes = fs::read(file).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..data]).unwrap(), bytes[data..].to_vec())
}

#[test]
fn settings_that_were_edited_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    train(at, &path, &["--steps", "4", "--out", "run", "--no-tune", "--lr", "0.002"]);
    let config = at.join("run/config.toml");
    let good = fs::read_to_string(&config).unwrap();
    let vocab = good.lines().find(|line| line.starts_with("vocab_size")).unwrap();
    let model = [
        ("block_size = 16", "block_size = 8"),
        ("n_embd = 16", "n_embd = 32"),
        ("n_embd = 16", "n_embd = 17"),
        ("n_layer = 1", "n_layer = 2"),
        ("n_head = 2", "n_head = 4"),
        ("tied = true", "tied = false"),
        ("bias = false", "bias = true"),
        (vocab, "vocab_size = 3"),
        (vocab, "vocab_size = 300"),
        ("positions = \"learned\"", "positions = \"sinusoidal\""),
    ];
    let training = [
        ("lr = 0.002", "lr = 0.001"),
        ("batch_size = 2", "batch_size = 4"),
        ("batch_size = 2", "batch_size = 4000000"),
        ("seed = 1337", "seed = 1"),
        ("dropout = 0.0", "dropout = 0.5"),
        ("val_fraction = 0.1", "val_fraction = 0.2"),
        ("keep = 2", "keep = 3"),
    ];
    for (i, (before, after)) in model.into_iter().chain(training).enumerate() {
        assert!(good.contains(before), "{before}");
        fs::write(&config, good.replace(&format!("\n{before}\n"), &format!("\n{after}\n"))).unwrap();
        let name = after.split(' ').next().unwrap();
        let resume = &["train", "--resume", "run", "--steps", "5"][..];
        let commands = [resume, &["generate", "run", "--tokens", "2"], &["eval", "run"]];
        for args in &commands[..if i < model.len() { 3 } else { 1 }] {
            let line = fails(at, args);
            let said = ["config.toml was changed", name, "put it back"];
            assert!(said.iter().all(|words| line.contains(words)) && !line.contains("damaged"), "{args:?}: {line}");
        }
    }
    // all of them at once
    fs::write(&config, good.replace("n_layer = 1", "n_layer = 2").replace("lr = 0.002", "lr = 0.001")).unwrap();
    let line = fails(at, &["train", "--resume", "run"]);
    assert!(line.contains("model.n_layer = 2, and was = 1; train.lr = 0.001, and was = 0.002"), "{line}");
    fs::write(&config, good.replace("\nsteps = 4\n", "\nsteps = 6\n")).unwrap();
    ok(at, &["train", "--resume", "run"]);
    ok(at, &["train", "--resume", "run", "--steps", "8"]);
}

/// Takes away what files of before did not have.
fn age(file: &Path) {
    let (mut header, data) = header(file);
    let meta = header["__metadata__"].as_object_mut().unwrap();
    for key in ["config", "model", "tokenizer_crc32", "crc32_of"] {
        meta.remove(key);
    }
    meta["crc32"] = format!("{:08x}", crc32fast::hash(&data)).into();
    let mut text = header.to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    fs::write(file, [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &data].concat()).unwrap();
}

#[test]
fn another_tokenizer_is_refused_and_a_run_of_before_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    train(at, &path, &["--steps", "4", "--out", "run", "--no-tune"]);
    let tokenizer = at.join("run/tokenizer.json");
    let good = fs::read_to_string(&tokenizer).unwrap();
    let mut smaller: serde_json::Value = serde_json::from_str(&good).unwrap();
    smaller["chars"].as_array_mut().unwrap().pop();
    let resume = ["train", "--resume", "run", "--steps", "6"];
    let export = ["export", "run", "--to", "hf", "--out", "out", "--last"];
    fs::write(&tokenizer, smaller.to_string()).unwrap();
    for args in [&resume[..], &["generate", "run"], &["eval", "run"], &export] {
        let line = fails(at, args);
        assert!(line.contains("tokenizer.json is not the tokenizer that the run was begun with"), "{args:?}: {line}");
    }
    fs::write(&tokenizer, good).unwrap();
    states(&at.join("run")).iter().for_each(|state| age(state));
    age(&at.join("run/model.safetensors"));
    ok(at, &["generate", "run", "--tokens", "2"]);
    let said = warned(at, &resume);
    assert!(!said.contains("warning"), "{said}");
}
