//! Commands whose standard output can't be written.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use crate::cli::{Folder, bytes, command, ok};

/// The exit code and standard error of a command whose standard output is a full disk.
fn full(at: &Path, args: &[&str]) -> (Option<i32>, String) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command().args(args).current_dir(at).stdout(full).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn output_lost_on_a_full_disk_is_an_error_in_every_command() {
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "2", "--no-tune", "--out", "run"]));
    for args in [
        &["eval", "run", "--json"][..],
        &["eval", "run"],
        &["generate", "run", "--tokens", "3"],
        &["tokenize", &at.text, "--tokenizer", "char", "--out", "set", "--json"],
        &["devices", "--json"],
        &["devices"],
        &["plan", "--limits", "webgpu"],
        &["export", "run", "--to", "hf", "--out", "hf"],
    ] {
        let (code, err) = full(at, args);
        let lines: Vec<&str> = err.lines().filter(|l| l.starts_with("error: ")).collect();
        assert!(code == Some(1) && lines.len() == 1, "{args:?}: {code:?} {err}");
        let said = ["error: standard output: ", "No space left", "send it elsewhere"];
        assert!(said.iter().all(|words| lines[0].contains(words)), "{args:?}: {err}");
    }
}

#[test]
fn training_continues_without_standard_output_and_reports_it() {
    let at = &Folder::with_text();
    let args = at.train(&["--steps", "6", "--no-tune"]);
    ok(at, &[&args[..], &["--out", "whole"]].concat());
    for (run, more) in [("json", &["--json"][..]), ("human", &[])] {
        let (code, err) = full(at, &[&args[..], &["--out", run], more].concat());
        assert_eq!(code, Some(1), "{err}");
        for begin in ["warning: standard output: ", "error: standard output: "] {
            assert_eq!(err.lines().filter(|l| l.starts_with(begin)).count(), 1, "{err}");
        }
        assert!(bytes(&at.join(run)) == bytes(&at.join("whole")), "{run}");
    }
    // the reader closes the pipe
    let mut child = command();
    child.args([&args[..], &["--out", "pipe", "--json"]].concat()).current_dir(at);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !err.contains("standard output"), "{err}");
    assert!(bytes(&at.join("pipe")) == bytes(&at.join("whole")));
}

/// As if both went to a file on a full disk.
#[test]
fn training_continues_without_standard_output_and_standard_error() {
    let at = &Folder::with_text();
    let args = at.train(&["--steps", "6", "--no-tune"]);
    ok(at, &[&args[..], &["--out", "whole"]].concat());
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let run = |args: &[&str]| {
        let status = command().args(args).current_dir(at).stdout(full()).stderr(full()).status();
        status.unwrap().code()
    };
    assert_eq!(run(&[&args[..], &["--out", "silent"]].concat()), Some(1));
    assert_eq!(bytes(&at.join("silent")), bytes(&at.join("whole")));
    assert_eq!(run(&["generate", "whole", "--tokens", "3"]), Some(1));
}
