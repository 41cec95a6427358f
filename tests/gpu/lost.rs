//! Runs whose settings or tokenizer are lost, or whose files are replaced by other things.

use std::fs;
use std::path::Path;

use crate::cli::{Folder, bytes, fails, ok, tril};

/// The standard error of a command that must succeed.
fn warned(at: &Path, args: &[&str]) -> String {
    let output = tril(at, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {err}");
    err
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            assert!(fs::copy(entry.path(), target).is_ok())
        }
    }
}

/// What replaces a file.
#[derive(Clone, Copy, Debug)]
enum Instead {
    Nothing,
    Folder,
    Text(&'static str),
}

fn put(instead: Instead, path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap()
    } else {
        drop(fs::remove_file(path))
    }
    match instead {
        Instead::Nothing => {}
        Instead::Folder => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inside"), "something").unwrap();
        }
        Instead::Text(text) => fs::write(path, text).unwrap(),
    }
}

const ALL: [Instead; 4] = [Instead::Nothing, Instead::Folder, Instead::Text(""), Instead::Text("{ \"half of")];
const STEPS: &[&str] = &["--steps", "8", "--checkpoint-every", "4", "--no-tune"];

#[test]
fn settings_and_tokenizer_are_taken_from_a_checkpoint() {
    let at = Folder::with_text();
    ok(&at, &at.train(&[STEPS, &["--out", "base"]].concat()));
    let (base, run) = (at.join("base"), at.join("run"));
    ok(&at, &["train", "--resume", "base"]);
    let whole = bytes(&base);
    for name in ["config.toml", "tokenizer.json"] {
        for instead in ALL {
            let _ = fs::remove_dir_all(&run);
            copy(&base, &run);
            put(instead, &run.join(name));
            // commands that only read the run write nothing there
            let said = warned(&at, &["generate", "run", "--tokens", "2"]);
            let is_said = said.contains(&format!("warning: {name} is ")) && said.contains("run rewrites the file");
            assert!(is_said && said.contains("00000008"), "{name} {instead:?}: {said}");
            let said = warned(&at, &["train", "--resume", "run"]);
            assert!(said.contains(&format!("warning: {name} is ")), "{name} {instead:?}: {said}");
            let is_kept = !matches!(instead, Instead::Nothing);
            assert_eq!(said.contains("the old one is kept as"), is_kept, "{name} {instead:?}: {said}");
            assert!(bytes(&run) == whole, "{name} {instead:?}");
            assert_eq!(fs::read(run.join(name)).unwrap(), fs::read(base.join(name)).unwrap(), "{name} {instead:?}");
            assert!(!warned(&at, &["train", "--resume", "run"]).contains("warning"), "{name} {instead:?}");
        }
    }
    // both at once, for another run
    for name in ["config.toml", "tokenizer.json"] {
        put(Instead::Nothing, &run.join(name));
    }
    assert!(ok(&at, &["import", "run", "--out", "again"]).contains("config.toml is missing"));
}

#[test]
fn files_that_no_checkpoint_has_are_reported_and_nothing_is_lost() {
    let at = Folder::with_text();
    ok(&at, &at.train(&[STEPS, &["--out", "run"]].concat()));
    let run = at.join("run");
    let file = |name: &str| run.join(name);
    let kept = ["config.toml", "tokenizer.json"].map(|name| fs::read(file(name)).unwrap());
    let copies = ["4", "8"].map(|step| file(&format!("checkpoints/0000000{step}/tokenizer.json")));
    // a copy of another tokenizer doesn't count
    fs::write(&copies[1], "{}").unwrap();
    put(Instead::Nothing, &file("tokenizer.json"));
    assert!(
        warned(&at, &["generate", "run", "--tokens", "1"]).contains("using run/checkpoints/00000004/tokenizer.json")
    );
    copies.iter().for_each(|copy| fs::remove_file(copy).unwrap());
    let line = fails(&at, &["train", "--resume", "run"]);
    assert!(line.contains("tokenizer.json is missing, and no checkpoint has a copy of it; restore the file"), "{line}");
    fs::write(file("tokenizer.json"), &kept[1]).unwrap();
    put(Instead::Folder, &file("config.toml"));
    crate::cli::states(&run).iter().for_each(|state| fs::write(state, "x").unwrap());
    let line = fails(&at, &["train", "--resume", "run"]);
    assert!(line.contains("config.toml is a folder, and no undamaged checkpoint has the settings"), "{line}");
    put(Instead::Nothing, &file("config.toml"));
    fs::write(file("config.toml"), &kept[0]).unwrap();
    let line = fails(&at, &["train", "--resume", "run"]);
    assert!(line.contains("all damaged") && line.contains("tril import run --out NEW"), "{line}");
    ok(&at, &["import", "run", "--out", "new"]);
    // bytes are always the same tokenizer
    ok(&at, &at.train(&[STEPS, &["--tokenizer", "byte", "--mode", "documents", "--out", "bytes"]].concat()));
    for name in ["tokenizer.json", "checkpoints/00000004/tokenizer.json", "checkpoints/00000008/tokenizer.json"] {
        fs::remove_file(at.join("bytes").join(name)).unwrap();
    }
    let said = warned(&at, &["train", "--resume", "bytes"]);
    assert!(said.contains("tokenizer.json is missing; using that of --tokenizer byte"), "{said}");
}

#[test]
fn a_missing_file_or_a_folder_instead_of_one_is_reported_and_the_run_continues() {
    let at = Folder::with_text();
    ok(&at, &at.train(&[STEPS, &["--out", "base"]].concat()));
    let (base, run) = (at.join("base"), at.join("run"));
    let cases = [
        ("model.safetensors", Instead::Folder, "model.safetensors is damaged (it is a folder)"),
        ("model.safetensors", Instead::Text(""), "model.safetensors is damaged (it is empty)"),
        ("metrics.jsonl", Instead::Folder, "metrics.jsonl: it is not a file; the losses of steps 1 to 8 are lost"),
        ("metrics.jsonl", Instead::Text(""), "metrics.jsonl: the losses of steps 1 to 8 are lost"),
        ("checkpoints/00000008/state.safetensors", Instead::Folder, "is damaged (it is a folder); skipped"),
        ("checkpoints/00000008/state.safetensors", Instead::Text(""), "is damaged (it is empty); skipped"),
        ("checkpoints/00000008/state.safetensors", Instead::Nothing, "(there is no state.safetensors in it); skipped"),
        ("checkpoints/00000008", Instead::Text("file"), "(there is no state.safetensors in it); skipped"),
        // the older one is deleted when the next is saved
        ("checkpoints/00000004", Instead::Text("file"), ""),
    ];
    for (name, instead, said) in cases {
        let _ = fs::remove_dir_all(&run);
        copy(&base, &run);
        put(instead, &run.join(name));
        let err = warned(&at, &["train", "--resume", "run", "--steps", "12"]);
        assert!(err.contains(said), "{name} {instead:?}: {err}");
        assert_eq!(err.contains("warning"), !said.is_empty(), "{name} {instead:?}: {err}");
        // losses stay lost
        let again = warned(&at, &["train", "--resume", "run"]);
        assert!(!again.contains("damaged") && !again.contains("not a file"), "{name} {instead:?}: {again}");
        ok(&at, &["generate", "run", "--tokens", "1"]);
    }
}
