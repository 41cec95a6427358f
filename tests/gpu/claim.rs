//! Several commands that use the same directory at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cli::{Folder, bytes, command, fails, ok, states};

fn start(at: &Folder, args: &[&str]) -> Child {
    let mut command = command();
    command.args(args).current_dir(at).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The exit code, standard output and standard error.
fn end(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn runs_that_begin_at_once_get_a_name_each_and_killed_ones_take_nothing_with_them() {
    let at = &Folder::with_text();
    let args = at.train(&["--steps", "6", "--checkpoint-every", "2", "--eval-every", "3", "--no-tune", "--json"]);
    ok(at, &[&args[..], &["--out", "alone"]].concat());
    let alone = bytes(&at.join("alone"));
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..2 {
        let mut children: Vec<_> = (0..6).map(|_| start(at, &args)).collect();
        for child in children.iter_mut().step_by(3) {
            sleep(Duration::from_millis(rng.random_range(0..150)));
            child.kill().unwrap();
        }
        let ends: Vec<_> = children.into_iter().map(end).collect();
        let names = ends.iter().enumerate().filter(|(i, _)| i % 3 > 0).map(|(_, (code, out, err))| {
            assert_eq!(*code, Some(0), "{err}");
            let header: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
            header["run"].as_str().unwrap().to_string()
        });
        let names: BTreeSet<String> = names.collect();
        assert_eq!(names.len(), 4, "{names:?}");
        for name in names {
            assert!(bytes(&at.join(&name)) == alone, "{name}");
            ok(at, &["generate", &name, "--tokens", "3"]);
        }
    }
    // a killed run either can be resumed or leaves its name to the next command
    for run in fs::read_dir(at.join("runs")).unwrap() {
        let run = run.unwrap().path();
        let name = run.display().to_string();
        let is_whole = |state: &std::path::PathBuf| !state.to_string_lossy().contains(".part");
        if run.join("checkpoints").is_dir() && states(&run).iter().any(is_whole) {
            ok(at, &["train", "--resume", &name]);
        } else {
            ok(at, &[&args[..], &["--out", &name]].concat());
        }
        assert!(bytes(&run) == alone, "{name}");
    }
}

#[test]
fn of_several_commands_with_the_same_out_one_gets_it_and_the_others_fail() {
    let at = &Folder::with_text();
    let args = at.train(&["--steps", "3", "--schedule", "constant", "--no-tune", "--out", "run"]);
    let ends: Vec<_> = (0..5).map(|_| start(at, &args)).collect::<Vec<_>>().into_iter().map(end).collect();
    let (won, lost): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(code, ..)| *code == Some(0));
    assert_eq!(won.len(), 1, "{lost:?}");
    for (code, _, err) in lost {
        assert!(code == Some(1) && err.lines().count() == 1 && err.contains("choose another --out"), "{err}");
    }
    assert_eq!(states(&at.join("run")).len(), 2);

    let resume = ["train", "--resume", "run", "--steps", "40", "--json"];
    let ends: Vec<_> = (0..4).map(|_| start(at, &resume)).collect::<Vec<_>>().into_iter().map(end).collect();
    assert!(ends.iter().any(|(code, ..)| *code == Some(0)), "{ends:?}");
    for (code, _, err) in ends.iter().filter(|(code, ..)| *code != Some(0)) {
        assert!(*code == Some(1) && err.lines().count() == 1 && err.contains("another process"), "{err}");
    }
    ok(at, &at.train(&["--steps", "40", "--schedule", "constant", "--no-tune", "--out", "alone"]));
    let [of_run, alone] = ["run", "alone"].map(|run| bytes(&at.join(run)));
    assert!(of_run[1..3] == alone[1..3]);
}

/// The files of a folder, without those that a killed process may leave.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = all.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    named.filter(|(name, _)| !name.starts_with('.')).map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

#[test]
fn a_place_written_by_several_commands_at_once_has_one_complete_result() {
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "2", "--no-tune", "--out", "run"]));
    let lines: String = (0..100_000).map(|i| format!("line {i} says {}\n", i * 7 % 1009)).collect();
    fs::write(at.join("long.txt"), lines).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // the last file of each to get its name
    for (args, last) in [
        (&["tokenize", "long.txt", "--tokenizer", "byte", "--out"][..], "train.bin"),
        (&["export", "run", "--to", "hf", "--out"], "model.safetensors"),
        (&["export", "run", "--to", "llmc", "--out"], "model.bin"),
        (&["export", "run", "--to", "gguf", "--out"], "model.gguf"),
        (&["kernels", "--limits", "lavapipe", "--emit"], "manifest.json"),
    ] {
        let _ = fs::remove_dir_all(at.join("alone"));
        let to = |out| [args, &[out]].concat();
        ok(at, &to("alone"));
        let alone = files(&at.join("alone"));
        for _ in 0..4 {
            let mut children: Vec<_> = (0..6).map(|_| start(at, &to("new/out"))).collect();
            for child in children.iter_mut().step_by(3) {
                sleep(Duration::from_millis(rng.random_range(0..60)));
                child.kill().unwrap();
            }
            let ends: Vec<_> = children.into_iter().map(end).collect();
            let (mut n_won, mut n_killed) = (0, 0);
            for (code, _, err) in &ends {
                match code {
                    Some(0) => n_won += 1,
                    None => n_killed += 1,
                    _ => {
                        let is_known = ["by another tril", "already exists", "not an empty", "not empty"];
                        let line = err.lines().find(|line| line.starts_with("error: ")).unwrap_or("");
                        assert!(
                            *code == Some(1) && is_known.iter().any(|words| line.contains(words)),
                            "{args:?}: {err}"
                        );
                    }
                }
            }
            assert!(n_won <= 1 && (n_won == 1 || n_killed > 0), "{args:?}: {ends:?}");
            // if the writer was killed, nobody has it, and the next one gets it
            if n_won == 0 && !at.join("new/out").join(last).exists() {
                ok(at, &to("new/out"));
            }
            assert!(files(&at.join("new/out")) == alone, "{args:?}");
            fs::remove_dir_all(at.join("new")).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn an_unwritable_directory_is_found_before_the_text_is_read() {
    let at = &Folder::with_text();
    fs::write(at.join("file"), "").unwrap();
    // nobody writes to this pipe, so reading it would never end
    assert!(std::process::Command::new("mkfifo").arg(at.join("pipe")).status().unwrap().success());
    for out in ["file", "file/run", "/proc/run", "/dev/null/run"] {
        let line = fails(at, &["train", "pipe", "--out", out]);
        assert!(line.contains(&format!("can't write a run to {out}: ")) && line.contains("another --out"), "{line}");
    }
    // a bad text leaves nothing behind either
    fs::write(at.join("bad.txt"), [0xff; 99]).unwrap();
    fails(at, &["train", "bad.txt"]);
    fails(at, &["train", "bad.txt", "--out", "a/b/c"]);
    assert!(!at.join("runs").exists() && !at.join("a").exists());
}
