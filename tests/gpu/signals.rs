//! Ctrl-C, SIGTERM and SIGHUP. Before the first step they end the process; after it, the current step is finished,
//! everything is saved, and a resume continues as if nothing had happened.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cli::{Folder, bytes, command, ok, states};

fn start(at: &Path, args: &[&str]) -> Child {
    command().args(args).current_dir(at).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn interrupt(child: &Child) {
    signal(child, "-INT");
}

#[test]
fn ctrl_c_at_any_moment_loses_nothing() {
    // signals are Unix's
    if !cfg!(unix) {
        return;
    }
    let at = &Folder::with_text();
    // no save between the first and the last: a checkpoint after Ctrl-C was saved because of it
    let steps = ["--steps", "400", "--checkpoint-every", "0", "--eval-every", "400", "--json", "--no-tune"];
    let args = at.train(&steps);
    ok(at, &[&args[..], &["--out", "whole"]].concat());
    let begin = [&args[..], &["--out", "stopped"]].concat();
    let go_on = ["train", "--resume", "stopped", "--json"];
    for (i, lines) in [2, 3, 7, 30].into_iter().enumerate() {
        let mut child = start(at, if i == 0 { &begin } else { &go_on });
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert_eq!(said.by_ref().take(lines).count(), lines);
        interrupt(&child);
        let last = said.last().unwrap();
        assert!(child.wait().unwrap().success() && last.contains(r#""done":false"#), "{last}");
        let step = serde_json::from_str::<serde_json::Value>(&last).unwrap()["step"].as_u64().unwrap();
        let state = states(&at.join("stopped")).pop().unwrap();
        assert!(state.display().to_string().contains(&format!("{step:08}")), "{}", state.display());
    }
    ok(at, &go_on);
    assert!(bytes(&at.join("stopped")) == bytes(&at.join("whole")));
}

#[test]
fn ctrl_c_near_the_first_step_leaves_no_run_or_one_that_resumes() {
    if !cfg!(unix) {
        return;
    }
    let at = &Folder::with_text();
    let args = at.train(&["--steps", "100000", "--no-tune", "--out", "run", "--json"]);
    for file in ["run/.lock", "run/config.toml", "run/checkpoints/00000000"] {
        let mut child = start(at, &args);
        while !at.join(file).exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        interrupt(&child);
        match child.wait().unwrap().code() {
            Some(130) => assert!(!at.join("run").exists(), "{file}"),
            Some(0) => {
                fs::rename(at.join("run"), at.join("stepped")).unwrap();
                assert!(!states(&at.join("stepped")).is_empty(), "{file}");
                ok(at, &["eval", "stepped"]);
                fs::remove_dir_all(at.join("stepped")).unwrap();
            }
            code => panic!("{file}: {code:?}"),
        }
    }
}

/// Starts a command that reads an endless pipe, sends it a signal as soon as it names its phase, and returns its
/// standard error.
fn stopped_while_reading(at: &Path, args: &[&str], sent: &str, code: i32) -> String {
    const PHASES: [&str; 3] = ["reading", "learning", "encoding"];
    let pipe = at.join("endless.txt");
    let _ = fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = start(at, args);
    let mut text = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    text.write_all(b"some text, and no end of it\n").unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let first = said.by_ref().find(|line| PHASES.iter().any(|phase| line.contains(phase))).unwrap();
    signal(&child, sent);
    let rest: Vec<String> = said.collect();
    let output = child.wait_with_output().unwrap();
    drop(text);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(code), ""), "{args:?}");
    assert!(rest.len() == 1 && rest[0].starts_with("stopped"), "{args:?}: {rest:?}");
    format!("{first}\n{}", rest[0])
}

#[test]
fn a_command_that_reads_an_endless_pipe_names_its_phase_and_stops_at_the_first_signal() {
    if !cfg!(unix) {
        return;
    }
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "2", "--no-tune", "--out", "run"]));
    let before = bytes(&at.join("run"));
    for (sent, code) in [("-INT", 130), ("-TERM", 143)] {
        let said = stopped_while_reading(at, &["train", "endless.txt", "--out", "new", "--json"], sent, code);
        assert!(said.contains("reading endless.txt") && said.contains("before the first step"), "{said}");
        assert!(!at.join("new").exists());
    }
    let tokenize = ["tokenize", "endless.txt", "--out", "far/away", "--tokenizer", "byte"];
    for tokenizer in ["char", "bpe:300", "byte", "gpt2"] {
        let args = [&tokenize[..4], &["--tokenizer", tokenizer]].concat();
        stopped_while_reading(at, &args, "-TERM", 143);
        assert!(!at.join("far").exists(), "{tokenizer}");
    }
    stopped_while_reading(at, &["eval", "run", "endless.txt"], "-INT", 130);
    let said = stopped_while_reading(at, &["train", "endless.txt", "--resume", "run"], "-TERM", 143);
    assert!(said.contains("stopped before another step was done; resume with: tril train --resume run"), "{said}");
    assert!(bytes(&at.join("run")) == before);
}

/// What a terminal of 60 columns shows after `written` was printed to it.
fn screen(written: &str) -> Vec<String> {
    const WIDTH: usize = 60;
    let (mut rows, mut row, mut col) = (vec![vec![]], 0, 0);
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => col = 0,
            '\n' => row += 1,
            '\x1b' => {
                let code: String = chars.by_ref().skip(1).take_while(|c| c.is_ascii_digit()).collect();
                // all other sequences sent here erase the line
                assert!(code == "2" || code.is_empty() || code == "0", "{code}");
                rows[row].clear();
            }
            c => {
                if col == WIDTH {
                    (row, col) = (row + 1, 0);
                }
                rows.resize(rows.len().max(row + 1), vec![]);
                let len = rows[row].len().max(col + 1);
                rows[row].resize(len, ' ');
                rows[row][col] = c;
                col += 1;
            }
        }
        rows.resize(rows.len().max(row + 1), vec![]);
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_string()).collect()
}

#[test]
fn the_progress_line_is_erased_from_the_terminal() {
    // script(1) of util-linux gives a command a terminal
    if !cfg!(target_os = "linux") {
        return;
    }
    let at = &Folder::with_text();
    let pipe = at.join("endless.txt");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let tril = command();
    let line = format!("stty rows 24 cols 60; exec '{}' tokenize endless.txt --out set", tril.get_program().display());
    let mut script = Command::new("script");
    let envs = tril.get_envs().filter_map(|(key, value)| Some((key, value?)));
    let script = script.envs(envs).args(["-qefc", &line, "/dev/null"]).current_dir(at);
    let Ok(mut child) = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        eprintln!("skipped: script(1) is not installed");
        return;
    };
    let mut text = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    text.write_all(b"some text, and no end of it\n").unwrap();
    let mut out = child.stdout.take().unwrap();
    let (mut said, mut bytes) = (String::new(), [0; 4096]);
    let mut is_asked = false;
    loop {
        let n = std::io::Read::read(&mut out, &mut bytes).unwrap();
        if n == 0 {
            break;
        }
        said.push_str(&String::from_utf8_lossy(&bytes[..n]));
        if said.contains("reading the text") && !is_asked {
            // Ctrl-C
            child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
            is_asked = true;
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
    let shown: Vec<String> = screen(&said).into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(shown, ["stopped; no data set was written"], "{said:?}");
}

#[test]
fn sigterm_and_sighup_save_however_often_they_are_sent_and_nohup_is_respected() {
    if !cfg!(unix) {
        return;
    }
    let at = &Folder::with_text();
    let steps = ["--steps", "4000", "--checkpoint-every", "0", "--eval-every", "4000", "--json", "--no-tune"];
    // under nohup, the children of these tests ignore SIGHUP too
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let hangs_up = ignored.is_some_and(|mask| mask & 1 == 0);
    for (sent, times) in [("-TERM", 2), ("-HUP", 2)].into_iter().take(1 + usize::from(hangs_up)) {
        let mut child = start(at, &at.train(&[&["--out", sent.trim_start_matches('-')][..], &steps].concat()));
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert_eq!(said.by_ref().take(5).count(), 5);
        for _ in 0..times {
            signal(&child, sent);
        }
        let last = said.last().unwrap();
        assert!(child.wait().unwrap().success() && last.contains(r#""done":false"#), "{sent}: {last}");
        let step = serde_json::from_str::<serde_json::Value>(&last).unwrap()["step"].as_u64().unwrap();
        let state = states(&at.join(sent.trim_start_matches('-'))).pop().unwrap();
        assert!(step > 0 && state.display().to_string().contains(&format!("{step:08}")), "{}", state.display());
    }
    // a SIGHUP that is ignored at the start stays ignored; only Linux reports that
    if cfg!(target_os = "linux") {
        let tril = command();
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap '' HUP; exec "$@""#, "sh"]).arg(tril.get_program()).args(tril.get_args());
        shell.args(at.train(&["--out", "nohup", "--steps", "40", "--json", "--no-tune"]));
        shell.envs(tril.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir(at).stdout(Stdio::piped());
        let mut child = shell.stderr(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert_eq!(said.by_ref().take(5).count(), 5);
        signal(&child, "-HUP");
        let last = said.last().unwrap();
        assert!(child.wait().unwrap().success() && last.contains(r#""done":true"#), "{last}");
    }
}

#[test]
fn commands_that_only_compute_end_at_the_first_signal() {
    if !cfg!(unix) {
        return;
    }
    let at = &Folder::with_text();
    ok(at, &at.train(&["--steps", "2", "--no-tune", "--out", "run"]));
    let before = bytes(&at.join("run"));
    let cases = [
        &["generate", "run", "--tokens", "100000000"][..],
        &["tune", "--vocab-size", "50257", "--preset", "gpt2", "--force"],
        &["bench", "--presets", "gpt2", "--no-tune", "--seconds", "1000"],
    ];
    for args in cases {
        for (sent, code) in [("-INT", 130), ("-TERM", 143)] {
            let mut child = start(at, args);
            // any output, on either stream, shows that it has begun
            let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            let (tell, told) = std::sync::mpsc::channel();
            let readers = [Box::new(out) as Box<dyn Read + Send>, Box::new(err)].map(|stream| {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    let lines = BufReader::new(stream).lines().map_while(Result::ok);
                    lines.inspect(|_| tell.send(()).unwrap_or_default()).last()
                })
            });
            told.recv().unwrap();
            signal(&child, sent);
            assert_eq!(child.wait().unwrap().code(), Some(code), "{args:?}");
            let [_, last] = readers.map(|reader| reader.join().unwrap());
            assert_eq!(last.as_deref(), Some("stopped"), "{args:?}");
        }
    }
    assert!(bytes(&at.join("run")) == before);
}
