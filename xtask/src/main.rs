//! The project's own commands, from a fresh clone on a machine with nothing but Rust: `cargo xtask demo`,
//! `cargo xtask test` and `cargo xtask pictures`. No dependencies, so that it builds in a second.

mod packages;
mod pictures;
mod run;
mod setup;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use run::{cargo, fail};

const USAGE: &str = "\
Commands of the tril project:

  cargo xtask demo              train on the embedded stories for a few minutes, then generate a sample
  cargo xtask test [ARGS...]    run all tests; ARGS go to cargo test, for example: --test gpu -- --nocapture
  cargo xtask pictures [RUN]    draw the README's loss curve; with a run directory, from that run's metrics

demo and test need a GPU or a software Vulkan device. On a Linux machine without any they install Mesa's software driver
with the system's package manager, printing each command before it runs. Where apt has backports configured, they take a
newer Mesa from there.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["demo"] => demo(),
        ["demo", extra, ..] => {
            fail(&format!("cargo xtask demo takes no arguments, got {extra}; see `tril train --help`"))
        }
        ["test", extra @ ..] => test(extra),
        ["pictures"] => pictures(None),
        ["pictures", run] => pictures(Some(Path::new(run))),
        ["pictures", _, extra, ..] => fail(&format!("cargo xtask pictures takes one run directory, got also {extra}")),
        [] | ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        [other, ..] => {
            eprintln!("error: unknown command {other}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn demo() -> ExitCode {
    if let Err(code) = setup::device() {
        return code;
    }
    let Some(out) = free_dir(|path| root().join(path).exists()) else {
        return fail("runs contains too many demos; remove some of them");
    };
    if let Err(code) = tril(&["train", "--out", &out]) {
        return code;
    }
    println!();
    if let Err(code) = tril(&["generate", &out, "--samples", "3", "--tokens", "250"]) {
        return code;
    }
    println!("\nMore samples:  cargo run --release -- generate {out} --samples 3 --seed 7");
    println!("Your own text: cargo run --release -- train my.txt");
    ExitCode::SUCCESS
}

fn test(extra: &[&str]) -> ExitCode {
    if let Err(code) = setup::device() {
        return code;
    }
    match cargo(&[&["test", "--release", "--workspace"], extra].concat()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn pictures(run: Option<&Path>) -> ExitCode {
    match pictures::draw(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&format!("the pictures can't be drawn: {e}")),
    }
}

/// Runs the release build of `tril`.
fn tril(args: &[&str]) -> Result<(), ExitCode> {
    cargo(&[&["run", "--release", "--quiet", "--bin", "tril", "--"], args].concat())
}

/// The first of `runs/demo`, `runs/demo-2`, ... that doesn't exist yet.
fn free_dir(exists: impl Fn(&str) -> bool) -> Option<String> {
    let later = (2..10_000).map(|i| format!("runs/demo-{i}"));
    std::iter::once("runs/demo".to_string()).chain(later).find(|path| !exists(path))
}

/// The repository's root, where every command runs, wherever it was called from.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::free_dir;

    #[test]
    fn a_demo_never_reuses_a_run() {
        let among = |there: &'static [&'static str]| move |path: &str| there.contains(&path);
        assert_eq!(free_dir(among(&[])).as_deref(), Some("runs/demo"));
        assert_eq!(free_dir(among(&["runs/demo"])).as_deref(), Some("runs/demo-2"));
        assert_eq!(free_dir(among(&["runs/demo", "runs/demo-2", "runs/demo-4"])).as_deref(), Some("runs/demo-3"));
        assert_eq!(free_dir(|_| true), None);
    }
}
