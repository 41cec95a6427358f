//! Runs other programs: each is printed before it runs, and its exit code becomes ours.

use std::process::{Command, ExitCode, ExitStatus};

/// Runs cargo in the repository's root; the `Err` is its exit code.
pub fn cargo(args: &[&str]) -> Result<(), ExitCode> {
    show(&[&["cargo"], args].concat());
    match cargo_command(args).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(exit_code(status)),
        Err(e) => Err(fail(&format!("cargo can't be started: {e}"))),
    }
}

/// A command for the cargo that runs us, so that a toolchain chosen by `cargo +name` is kept.
pub fn cargo_command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(crate::root());
    // without it, the Vulkan loader warns on stderr over and over
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    }
    command
}

/// Prints a command before it runs.
pub fn show(words: &[&str]) {
    eprintln!("+ {}", words.join(" "));
}

/// Prints an error and returns the exit code for it.
pub fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

/// The exit code of a program; one ended by a signal has none and counts as a failure.
fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
