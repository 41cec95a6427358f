//! Runs that are killed, run out of disk space, lose their device, or diverge.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cli::{SMALL, bytes, command, fails, ok, states, text, train, tril};

fn code(output: &Output) -> (Option<i32>, String) {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code(), err)
}

fn start(at: &Path, args: &[&str]) -> Child {
    let mut command = command();
    command.args(args).current_dir(at).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn killed_at_any_moment_fifty_times_over_a_run_ends_in_the_same_bytes() {
    const KILLS: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let steps = ["--steps", "600", "--checkpoint-every", "3", "--eval-every", "7", "--json", "--no-tune"];
    let args = [&["train", &path][..], SMALL, &steps].concat();
    ok(at, &[&args[..], &["--out", "whole"]].concat());
    let begin = [&args[..], &["--out", "killed"]].concat();
    let go_on = ["train", "--resume", "killed", "--json"];
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut unborn = 0;
    for kill in 0..KILLS {
        let is_born = at.join("killed/checkpoints").is_dir() && !states(&at.join("killed")).is_empty();
        unborn += usize::from(!is_born);
        let mut child = start(at, if is_born { &go_on } else { &begin });
        // some lives end while starting, most after some lines, and those at any moment of a step or a save
        if kill % 4 > 0 {
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let n = rng.random_range(1..16usize);
            assert!(lines.map_while(Result::ok).take(n).count() == n, "kill {kill}: the run ended too soon");
        } else {
            sleep(Duration::from_millis(rng.random_range(0..400)));
        }
        sleep(Duration::from_micros(rng.random_range(0..12_000)));
        assert!(child.try_wait().unwrap().is_none(), "kill {kill}: the run ended too soon");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(unborn > 0);
    ok(at, &go_on);
    for ((name, killed), (_, whole)) in bytes(&at.join("killed")).into_iter().zip(bytes(&at.join("whole"))) {
        let at = killed.iter().zip(&whole).position(|(a, b)| a != b);
        let around = |bytes: &[u8]| {
            at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..]).chars().take(400).collect::<String>())
        };
        let (n_killed, n_whole) = (killed.len(), whole.len());
        assert!(
            killed == whole,
            "{name} differs at {at:?} of {n_killed} and {n_whole} bytes: {:?} instead of {:?}",
            around(&killed),
            around(&whole)
        );
    }
    let metrics = fs::read_to_string(at.join("killed/metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let trained: Vec<u64> = lines.filter(|l| l.get("loss").is_some()).map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(trained, (1..=600).collect::<Vec<_>>());
}

#[test]
fn the_checkpoint_before_a_damaged_one_is_used_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let steps = ["--steps", "12", "--checkpoint-every", "4", "--keep", "3", "--no-tune"];
    train(at, &path, &[&steps[..], &["--out", "whole"]].concat());
    train(at, &path, &[&steps[..], &["--out", "run"]].concat());
    let whole = bytes(&at.join("whole"));
    let [four, eight, twelve] = states(&at.join("run")).try_into().unwrap();
    let good = fs::read(&twelve).unwrap();
    // any byte counts: of the length, the header's progress, a tensor
    let header = String::from_utf8_lossy(&good).find("\\\"tokens\\\":").unwrap() + 11;
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bad in
        [vec![], good[..good.len() - 5].to_vec(), flip(2), flip(header), flip(good.len() / 2), flip(good.len() - 1)]
    {
        fs::write(&twelve, bad).unwrap();
        let output = tril(at, &["train", "--resume", "run"]);
        let (code, err) = code(&output);
        assert_eq!(code, Some(0), "{err}");
        let said = err.lines().find(|l| l.contains("00000012")).unwrap();
        assert!(said.starts_with("warning: ") && said.contains("is damaged") && said.contains("skipped"), "{said}");
        assert!(bytes(&at.join("run")) == whole);
    }
    for state in [&four, &eight, &twelve] {
        fs::write(state, "x").unwrap();
    }
    let line = fails(at, &["train", "--resume", "run"]);
    for word in ["3 checkpoints, all damaged", "00000004", "00000008", "00000012", "model.safetensors, is intact"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    fs::write(at.join("run/model.safetensors"), "x").unwrap();
    assert!(!fails(at, &["train", "--resume", "run"]).contains("intact"));
    // without any checkpoint, there is one thing to do
    fs::remove_dir_all(at.join("run/checkpoints")).unwrap();
    let line = fails(at, &["train", "--resume", "run"]);
    assert!(line.contains("holds no checkpoint") && line.contains("--out") && !line.contains("give the"), "{line}");
    // the same without the best model: it isn't a run that was stopped at once
    fs::remove_file(at.join("run/model.safetensors")).unwrap();
    let line = fails(at, &["train", "--resume", "run"]);
    assert!(
        line.contains("was trained") && line.contains("checkpoints and model.safetensors are both missing"),
        "{line}"
    );
    let line = fails(at, &[&["train", &path][..], SMALL, &["--out", "run"]].concat());
    assert!(line.contains("already holds a run"), "{line}");
}

#[test]
fn a_disk_that_is_full_stops_no_training_and_takes_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let often = ["--checkpoint-every", "10", "--eval-every", "40", "--no-tune"];
    let args = [&["train", &path][..], SMALL, &often].concat();
    ok(at, &[&args[..], &["--steps", "40", "--out", "whole"]].concat());

    // a checkpoint can't be written while a file stands where its folder belongs; then it can again
    let mut child = start(at, &[&args[..], &["--out", "run", "--steps", "400", "--json"]].concat());
    let (folder, aside) = (at.join("run/checkpoints"), at.join("aside"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(r#""saved":true"#)));
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "").unwrap();
    let failed = lines.find(|line| line.contains(r#""saved":false"#)).unwrap();
    assert!(failed.contains("reason"), "{failed}");
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    assert!(lines.any(|line| line.contains(r#""done":true"#)));
    assert!(child.wait().unwrap().success());
    assert!(states(&at.join("run")).last().unwrap().to_string_lossy().contains("00000400"));

    // no file may be longer than 8 KiB: no run is started, and nothing is left behind
    if cfg!(unix) {
        let limited = |line: &str| {
            let tril = command();
            let words: Vec<_> = tril.get_args().map(|a| format!("'{}'", a.to_string_lossy())).collect();
            let script =
                format!("ulimit -f 16; exec '{}' {} {line}", tril.get_program().to_string_lossy(), words.join(" "));
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &script]).envs(tril.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir(at);
            code(&shell.output().unwrap())
        };
        let (code, err) = limited(&[&args[..], &["--steps", "40", "--out", "small"]].concat().join(" "));
        assert!(code == Some(1) && err.contains("could not be saved") && err.contains("repeat the command"), "{err}");
        assert!(!at.join("small").exists());
        // a run continues to its end, reports that it isn't saved, and keeps its earlier files
        let before = states(&at.join("whole"));
        let (code, err) = limited("train --resume whole --steps 50");
        assert!(code == Some(1) && err.contains("the last state could not be saved"), "{err}");
        assert_eq!(states(&at.join("whole")), before);
        ok(at, &["train", "--resume", "whole", "--steps", "50"]);
    }
}

#[test]
fn unwritable_folders_are_found_before_training() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    fs::write(at.join("file"), "").unwrap();
    for out in ["file", "file/run", "/proc/run"] {
        let output = tril(at, &[&["train", &path][..], SMALL, &["--steps", "1", "--no-tune", "--out", out]].concat());
        let (code, err) = code(&output);
        assert_eq!(code, Some(1), "{out}: {err}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("step 1"), "{out}");
    }
}

#[test]
fn a_lost_device_has_its_exit_code_and_auto_resume_continues() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let args = [&["train", &path][..], SMALL, &["--steps", "40", "--checkpoint-every", "10", "--no-tune"]].concat();
    ok(at, &[&args[..], &["--out", "whole"]].concat());
    let lost = |more: &[&str]| {
        code(&command().args([&args[..], more].concat()).current_dir(at).env("TRIL_FAULT", "lost@17").output().unwrap())
    };
    let (code, err) = lost(&["--out", "lost"]);
    assert!(code == Some(4) && err.contains("was lost") && err.contains("--resume"), "{err}");
    assert!(states(&at.join("lost")).last().unwrap().to_string_lossy().contains("00000010"));
    ok(at, &["train", "--resume", "lost"]);
    let (code, err) = lost(&["--out", "auto", "--auto-resume"]);
    assert!(code == Some(0) && err.contains("was lost"), "{err}");
    for run in ["lost", "auto"] {
        assert!(bytes(&at.join(run)) == bytes(&at.join("whole")), "{run}");
    }
}

#[test]
fn training_that_diverges_does_not_end_well() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let huge = ["--lr", "1e36", "--min-lr", "1e36", "--clip", "0", "--no-tune", "--checkpoint-every", "1"];
    let run = |name: &str, more: &[&str]| {
        let args = [&["train", &path][..], SMALL, &huge, &["--out", name], more].concat();
        code(&tril(at, &args))
    };
    for (name, more) in [
        ("skip", &["--steps", "60"][..]),
        ("stop", &["--steps", "60", "--on-nonfinite", "stop"]),
        ("rollback", &["--steps", "60", "--on-nonfinite", "rollback"]),
        // ends before twenty in a row
        ("short", &["--steps", "6"]),
    ] {
        let (code, err) = run(name, more);
        assert_eq!(code, Some(3), "{name}: {err}");
        assert!(err.contains("diverged") && err.contains(&format!("tril import {name} --out NEW")), "{name}: {err}");
        let metrics = fs::read_to_string(at.join(name).join("metrics.jsonl")).unwrap();
        let is_bad = |line: &&str| line.contains("nonfinite_gradients");
        let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].to_string();
        let steps: Vec<String> = metrics.lines().filter(is_bad).map(step).collect();
        let named = match &steps[..] {
            [first, .., last] if name == "skip" || name == "short" => format!("steps {first} to {last} produced"),
            [first, ..] => format!(" {first} "),
            [] => panic!("{name}: {metrics}"),
        };
        assert!(err.lines().last().unwrap().contains(&named), "{name}: {named}: {err}");
        assert!(at.join(name).join("nonfinite").read_dir().unwrap().count() > 0, "{name}");
        for file in [states(&at.join(name)).pop().unwrap(), at.join(name).join("model.safetensors")] {
            let bytes = fs::read(&file).unwrap();
            let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let values = bytes[data..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            assert!(values.into_iter().all(f32::is_finite), "{}", file.display());
        }
    }
    // a run that ended like this is not done, however often it is resumed
    let said = |text: &str| text.lines().rfind(|line| line.starts_with("error: ")).map(str::to_string);
    let (_, first) = run("again", &["--steps", "6"]);
    for _ in 0..2 {
        let (again, err) = code(&tril(at, &["train", "--resume", "again"]));
        assert_eq!((again, said(&err)), (Some(3), said(&first)));
    }
    // also if it resumes in the midst of them
    let (again, err) = code(&tril(at, &["train", "--resume", "again", "--steps", "9"]));
    let first = said(&first).unwrap();
    let start = first[..first.find(" to ").unwrap() + 4].to_string();
    assert!(again == Some(3) && said(&err).unwrap().starts_with(&format!("{start}9 produced")), "{first}: {err}");
    // an evaluation after non-finite steps gives no best model
    let huge = &huge[..huge.len() - 2];
    let behind = ["--steps", "6", "--eval-every", "5", "--checkpoint-every", "0", "--out", "behind"];
    assert_eq!(code(&tril(at, &[&["train", &path][..], SMALL, huge, &behind].concat())).0, Some(3));
    let header = fs::read(at.join("behind/model.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&header).contains(r#""step":"0""#));
}

#[test]
fn a_moved_run_resumes_and_so_does_one_whose_text_has_moved() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    text(at);
    let args =
        |out, steps| [&["train", "text.txt"][..], SMALL, &["--no-tune", "--out", out, "--steps", steps]].concat();
    for run in ["whole", "near", "far"] {
        ok(at, &args(run, "4"));
    }
    ok(at, &["train", "--resume", "whole", "--steps", "8"]);
    let inside = at.join("near");
    ok(&inside, &["train", "--resume", ".", "--steps", "8"]);
    fs::create_dir(at.join("moved")).unwrap();
    fs::rename(at.join("text.txt"), at.join("moved/other.txt")).unwrap();
    let line = fails(at, &["train", "--resume", "far", "--steps", "8"]);
    assert!(line.contains("does not exist") && line.contains("text.txt"), "{line}");
    assert!(line.contains("tril train --resume far NEWPATH") && !line.contains("embedded"), "{line}");
    let line = fails(at, &["eval", "far"]);
    assert!(line.contains("tril train --resume far NEWPATH"), "{line}");
    // another text is not remembered
    fs::write(at.join("another.txt"), "another text\n".repeat(99)).unwrap();
    let before = fs::read_to_string(at.join("far/config.toml")).unwrap();
    let line = fails(at, &["train", "--resume", "far", "another.txt", "--steps", "8"]);
    assert!(line.contains("the text has changed"), "{line}");
    assert_eq!(fs::read_to_string(at.join("far/config.toml")).unwrap(), before);
    // its own text is, from then on
    ok(at, &["train", "--resume", "far", "moved/other.txt", "--steps", "8"]);
    ok(at, &["train", "--resume", "far"]);
    ok(at, &["eval", "far"]);
    for run in ["near", "far"] {
        for ((name, got), (_, whole)) in bytes(&at.join(run)).into_iter().zip(bytes(&at.join("whole"))) {
            let whole = if (run, name.as_str()) == ("far", "config") {
                String::from_utf8(whole).unwrap().replace("/text.txt", "/moved/other.txt").into_bytes()
            } else {
                whole
            };
            assert!(got == whole, "{run}: {name}");
        }
    }
    fs::write(at.join("moved/other.txt"), "another text\n".repeat(99)).unwrap();
    let line = fails(at, &["train", "--resume", "far", "moved/other.txt", "--steps", "9"]);
    assert!(line.contains("the text has changed"), "{line}");
}

#[test]
fn odd_sizes_train_and_generate() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("abc.txt"), "abcab".repeat(99)).unwrap();
    for (i, sizes) in
        [["5", "1", "3"], ["3", "3", "1"], ["21", "7", "2"], ["130", "1", "9"], ["12", "4", "17"]].iter().enumerate()
    {
        let [n_embd, n_head, block] = sizes;
        let out = format!("run{i}");
        let model =
            ["--n-layer", "1", "--n-embd", n_embd, "--n-head", n_head, "--block-size", block, "--batch-size", "3"];
        let rest = ["--steps", "2", "--sample-every", "1", "--eval-windows", "4", "--no-tune", "--out", &out];
        ok(at, &[&["train", "abc.txt"][..], &model, &rest].concat());
        let said = ok(at, &["generate", &out, "--tokens", "40", "--prompt", "ab", "--samples", "2"]);
        assert!(said.chars().filter(|c| "abc".contains(*c)).count() >= 80, "{said}");
    }
}
