//! The command `tril export`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::export::{names, small};

fn tril(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tril")).args(args).current_dir(folder).output().unwrap()
}

#[test]
fn the_command_says_what_it_wrote() {
    let (temp, _) = small();
    let output = tril(&["export", "run", "--to", "llmc", "--out", "out"], temp.path());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "the best model of run is in out:");
    assert!(lines[1].contains("model.bin") && lines[2].contains("tokenizer.bin"), "{text}");

    let here = temp.path().join("here");
    fs::create_dir(&here).unwrap();
    let export = ["export", "../run", "--to", "gguf", "--out", "."];
    let output = tril(&export, &here);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("is in .:") && text.contains("model.gguf"), "{text}");
    assert_eq!(names(&here), ["model.gguf"]);
    assert_eq!(names(temp.path()), ["here", "out", "run"]);
    let again = tril(&export, &here);
    assert!(String::from_utf8_lossy(&again.stderr).contains("error: . is not an empty folder; give another --out"));

    let table: [(&[&str], &str); 4] = [
        (&["export", "nowhere", "--to", "hf", "--out", "x"], "nowhere does not exist; give the directory"),
        (&["export", "run", "--to", "hf", "--out", "out"], "out is not an empty folder"),
        (
            &["export", "run", "--to", "hf", "--out", "x", "--last"],
            "run holds no checkpoint; the best model, model.safetensors, is intact",
        ),
        (&["export", "run", "--to", "onnx", "--out", "x"], "possible values: hf, llmc, gguf"),
    ];
    for (args, reason) in table {
        let output = tril(args, temp.path());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(reason), "{text}");
        assert!(!PathBuf::from(temp.path()).join("x").exists());
    }
}
