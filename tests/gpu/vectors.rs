//! The width of llvmpipe's vectors, measured once on a CPU that offers a choice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::cli;

/// The command without the harness's setting of the vector width.
fn tril(cache: &Path, args: &str) -> Command {
    let mut command = cli::command();
    command.env_remove("LP_NATIVE_VECTOR_WIDTH").env("TRIL_CACHE_DIR", cache).args(args.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The standard output, and the results of measurements on standard error.
fn said(output: &Output) -> (String, Vec<String>) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out.into_owned(), err.lines().filter(|line| line.contains("as measured")).map(str::to_string).collect())
}

fn measured(cache: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(cache).map(|entries| entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>());
    let is_one = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
    files.unwrap_or_default().into_iter().filter(is_one).collect()
}

#[test]
fn vectors_are_measured_once_however_many_begin_and_a_cache_decides() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let devices = || said(&tril(&cache, "devices").output().unwrap());
    let (before, _) = devices();
    if std::env::var_os("LP_NATIVE_VECTOR_WIDTH").is_some() || !before.contains("512 bits are possible") {
        // not llvmpipe, or a CPU without such vectors
        return;
    }
    assert!(measured(&cache).is_empty(), "a list of devices measures nothing");
    let begun: Vec<_> = (0..3).map(|_| tril(&cache, "doctor --quick").spawn().unwrap()).collect();
    let ended: Vec<_> = begun.into_iter().map(|child| said(&child.wait_with_output().unwrap())).collect();
    let lines: Vec<&String> = ended.iter().flat_map(|(_, lines)| lines).collect();
    assert_eq!(lines.len(), 1, "{ended:?}");
    let [file] = &measured(&cache)[..] else { panic!("{:?}", measured(&cache)) };
    assert!(devices().0.contains("as measured"));

    // the cache decides the width, whatever was measured
    let text = fs::read_to_string(file).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    for width in [512, 256] {
        let mut kept = kept.clone();
        kept["width"] = width.into();
        fs::write(file, kept.to_string()).unwrap();
        let (out, lines) = said(&tril(&cache, "doctor --quick").output().unwrap());
        assert!(out.contains(&format!("{width} bits")) && out.contains("pass") && lines.is_empty(), "{out} {lines:?}");
    }
    // the user's setting overrides a measurement
    let mut wide = kept.clone();
    wide["width"] = 512.into();
    fs::write(file, wide.to_string()).unwrap();
    let (out, _) = said(&tril(&cache, "doctor --quick").env("LP_NATIVE_VECTOR_WIDTH", "256").output().unwrap());
    assert!(out.contains("256 bits"), "{out}");
}

#[test]
fn without_a_place_to_keep_it_nothing_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken");
    fs::write(&taken, "a file, not a folder").unwrap();
    let (out, lines) = said(&tril(&taken, "doctor --quick").output().unwrap());
    assert!(out.contains("pass") && lines.is_empty(), "{out} {lines:?}");
}
