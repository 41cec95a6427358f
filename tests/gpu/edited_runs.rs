//! Runs whose files were changed: a missing model, edited settings, another tokenizer.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::cli::{SMALL, command, fails, ok, states, text, train, tril};

/// The standard error of a command that must succeed.
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

fn step(run: &Path) -> String {
    header(&run.join("model.safetensors")).0["__metadata__"]["step"].as_str().unwrap().into()
}

#[test]
fn a_best_model_that_could_not_be_saved_is_saved_by_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let often = ["--steps", "600", "--checkpoint-every", "50", "--eval-every", "50", "--no-tune", "--json"];
    let args = [&["train", &path, "--out", "run"][..], SMALL, &often].concat();
    let mut child = command();
    child.args(args).current_dir(at).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(r#""step":1,"#)));
    let obstacle = at.join("run/model.safetensors.part");
    fs::create_dir(&obstacle).unwrap();
    assert!(lines.any(|line| line.contains(r#""saved":false"#)));
    for _ in lines {}
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("continue with --resume"), "{said}");
    assert_eq!(step(&at.join("run")), "0");
    // while it is in the way, the command doesn't succeed either
    assert!(fails(at, &["train", "--resume", "run"]).contains("could not be saved"));
    fs::remove_dir(obstacle).unwrap();
    let said = warned(at, &["train", "--resume", "run"]);
    assert!(said.contains("saved the weights of step 600") && said.contains("validation loss"), "{said}");
    assert_eq!(step(&at.join("run")), "600");
    assert!(!warned(at, &["train", "--resume", "run"]).contains("warning"));
    ok(at, &["generate", "run", "--tokens", "3"]);
}

#[test]
fn a_damaged_or_missing_model_is_rebuilt_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    train(at, &path, &["--steps", "10", "--out", "run", "--no-tune"]);
    let model = at.join("run/model.safetensors");
    let good = fs::read(&model).unwrap();
    let flip = |i: usize| {
        let mut bytes = good.clone();
        bytes[i] ^= 1;
        Some(bytes)
    };
    let tokenizer = String::from_utf8_lossy(&good).find("tokenizer_crc32").unwrap() + 18;
    for (bad, what) in [
        (None, "is missing"),
        (flip(good.len() - 1), "is damaged"),
        (flip(tokenizer), "is damaged"),
        (Some(vec![]), "is damaged"),
    ] {
        match &bad {
            Some(bytes) => fs::write(&model, bytes).unwrap(),
            None => fs::remove_file(&model).unwrap(),
        }
        let out = at.join("out").display().to_string();
        for args in [&["generate", "run"][..], &["eval", "run"], &["export", "run", "--to", "hf", "--out", &out]] {
            let line = fails(at, args);
            let said = [what, "the checkpoint of step 10 is intact", "--resume run", "use the checkpoint with --last"];
            assert!(said.iter().all(|words| line.contains(words)) && !line.contains("not a run"), "{args:?}: {line}");
        }
        let said = warned(at, &["train", "--resume", "run", "--steps", "10"]);
        assert!(said.contains(what) && said.contains("saved the weights of step 10"), "{said}");
        ok(at, &["generate", "run", "--tokens", "3"]);
        assert!(!warned(at, &["train", "--resume", "run"]).contains("warning"));
    }
    fs::remove_file(&model).unwrap();
    states(&at.join("run")).iter().for_each(|state| fs::write(state, "x").unwrap());
    let line = fails(at, &["generate", "run"]);
    assert!(line.contains("no checkpoint is intact"), "{line}");
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
    ];
    for (i, (before, after)) in model.into_iter().chain(training).enumerate() {
        assert!(good.contains(before), "{before}");
        fs::write(&config, good.replace(&format!("\n{before}\n"), &format!("\n{after}\n"))).unwrap();
        let name = after.split(' ').next().unwrap();
        let resume = &["train", "--resume", "run", "--steps", "5"][..];
        let commands = [resume, &["generate", "run", "--tokens", "2"], &["eval", "run"]];
        for args in &commands[..if i < model.len() { 3 } else { 1 }] {
            let line = fails(at, args);
            let said = ["config.toml was changed", name, "restore it"];
            assert!(said.iter().all(|words| line.contains(words)) && !line.contains("damaged"), "{args:?}: {line}");
        }
    }
    // an evaluation is on text that the run wasn't trained on
    fs::write(&config, good.replace("val_fraction = 0.1", "val_fraction = 0.9")).unwrap();
    let line = fails(at, &["eval", "run"]);
    assert!(line.contains("data.val_fraction = 0.9, and was = 0.1"), "{line}");
    // all of them at once
    fs::write(&config, good.replace("n_layer = 1", "n_layer = 2").replace("lr = 0.002", "lr = 0.001")).unwrap();
    let line = fails(at, &["train", "--resume", "run"]);
    assert!(line.contains("model.n_layer = 2, and was = 1; train.lr = 0.001, and was = 0.002"), "{line}");
    fs::write(&config, good.replace("\nsteps = 4\n", "\nsteps = 6\n")).unwrap();
    ok(at, &["train", "--resume", "run"]);
    ok(at, &["train", "--resume", "run", "--steps", "8"]);
}

/// Removes what files of older versions did not have.
fn age(file: &Path) {
    let (mut header, data) = header(file);
    let meta = header["__metadata__"].as_object_mut().unwrap();
    for key in ["config", "model", "tokenizer_crc32", "crc32_of", "step"] {
        meta.remove(key);
    }
    meta["crc32"] = format!("{:08x}", crc32fast::hash(&data)).into();
    if let Some(progress) = meta.get_mut("progress") {
        let mut fields: serde_json::Value = serde_json::from_str(progress.as_str().unwrap()).unwrap();
        for key in ["last", "model", "model_loss", "in_a_row", "imported"] {
            assert!(fields.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
        *progress = fields.to_string().into();
    }
    let mut text = header.to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    fs::write(file, [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &data].concat()).unwrap();
}

#[test]
fn another_tokenizer_is_refused_and_a_run_of_an_older_version_resumes() {
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
        assert!(line.contains("tokenizer.json is not the tokenizer that the run was started with"), "{args:?}: {line}");
    }
    fs::write(&tokenizer, good).unwrap();
    states(&at.join("run")).iter().for_each(|state| age(state));
    age(&at.join("run/model.safetensors"));
    ok(at, &["generate", "run", "--tokens", "2"]);
    let said = warned(at, &resume);
    assert!(!said.contains("warning"), "{said}");
    assert!(step(&at.join("run")).parse::<u64>().unwrap() > 0);
}
