//! Standard output, whose faults are remembered: a command goes on without it, and doesn't end well.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use std::sync::OnceLock;

use super::phases;
use super::wrap::{for_stderr, for_stdout};

/// Prints a line. What can't be printed ends no command, since a training run is worth more than its lines; see
/// [`stdout::fault`](fault).
macro_rules! outln {
    ($($arg:tt)*) => {
        $crate::cli::stdout::line(format_args!($($arg)*))
    };
}

/// Prints a line on standard error. Where even that fails, nobody is left to tell, and a run goes on.
macro_rules! errln {
    ($($arg:tt)*) => {
        $crate::cli::stdout::error_line(&format!($($arg)*))
    };
}

/// Why standard output could not be written, the first time.
static FAULT: OnceLock<String> = OnceLock::new();
/// Set where a fault is to be told at once.
static TELLS: OnceLock<()> = OnceLock::new();

/// Has a fault be told as soon as it is met, for commands that go on for long.
pub(super) fn tell_at_once() {
    let _ = TELLS.set(());
}

pub(super) fn line(text: Arguments<'_>) {
    let text = text.to_string();
    let write = || {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", for_stdout(&text))?;
        out.flush()
    };
    let Err(error) = phases::around(write) else { return };
    // whoever reads has seen enough
    if error.kind() == io::ErrorKind::BrokenPipe {
        return;
    }
    let is_first = FAULT.set(error.to_string()).is_ok();
    if is_first && TELLS.get().is_some() {
        errln!("warning: standard output: {error}; training goes on, and lines are lost");
    }
}

pub(super) fn error_line(text: &str) {
    let _ = phases::around(|| writeln!(io::stderr(), "{}", for_stderr(text)));
}

/// What is wrong with standard output, where a line was lost.
pub(super) fn fault() -> Option<String> {
    FAULT.get().map(in_words)
}

/// What is wrong with standard output.
pub(super) fn in_words(error: &impl Display) -> String {
    format!("standard output: {error}; not all of it was written, send it elsewhere")
}
