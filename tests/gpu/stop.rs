//! Ctrl-C and the signals that ask for the same: the step under way is finished, everything is saved, and the run goes on as if nothing had been.

use std::fs;
use std::io::{BufRead, BufReader};
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
    // no save between the first and the last: what is there after Ctrl-C was saved because of it
    let steps = ["--steps", "400", "--checkpoint-every", "0", "--eval-every", "400", "--json", "--no-tune"];
    let args = at.train(&steps);
    ok(at, &[&args[..], &["--out", "whole"]].concat());
    let begin = [&args[..], &["--out", "stopped"]].concat();
    let go_on = ["train", "--resume", "stopped", "--json"];
    for (i, lines) in [1, 2, 7, 30].into_iter().enumerate() {
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
fn ctrl_c_before_the_first_step_leaves_a_run_to_go_on_with() {
    if !cfg!(unix) {
        return;
    }
    let at = &Folder::with_text();
    let args = at.train(&["--steps", "5", "--no-tune", "--out", "run"]);
    let mut child = start(at, &args);
    // the lock is made with the directory, before the first checkpoint
    while !at.join("run/.lock").exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    interrupt(&child);
    assert!(child.wait().unwrap().success());
    ok(at, &["train", "--resume", "run"]);
    assert!(fs::read_to_string(at.join("run/metrics.jsonl")).unwrap().contains("\"step\":5"));
}

#[test]
fn what_ends_a_job_or_a_terminal_saves_however_often_it_is_sent_and_nohup_stays_in_force() {
    if !cfg!(unix) {
        return;
    }
    let at = &Folder::with_text();
    let steps = ["--steps", "4000", "--checkpoint-every", "0", "--eval-every", "4000", "--json", "--no-tune"];
    // where these tests were started by nohup, so is what they start
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
    // where hanging up is ignored from the start, it still is: only Linux tells
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
