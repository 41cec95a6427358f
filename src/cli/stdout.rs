//! Standard output. A write error is recorded; the command carries on and exits non-zero.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use std::sync::OnceLock;

use super::phases;
use super::wrap::{for_stderr, for_stdout};

/// Prints a line. A failed print doesn't abort the command, since a training run is worth more than its output; see
/// [`stdout::write_error`](write_error).
macro_rules! outln {
    ($($arg:tt)*) => {
        $crate::cli::stdout::line(format_args!($($arg)*))
    };
}

/// Prints a line on standard error. If that fails, there is nowhere left to report it, and the command carries on.
macro_rules! errln {
    ($($arg:tt)*) => {
        $crate::cli::stdout::error_line(&format!($($arg)*))
    };
}

/// The first error of writing standard output.
static WRITE_ERROR: OnceLock<String> = OnceLock::new();
/// Set if write errors are reported immediately.
static REPORTS_AT_ONCE: OnceLock<()> = OnceLock::new();

/// Reports write errors immediately, for commands that run for long.
pub(super) fn report_at_once() {
    let _ = REPORTS_AT_ONCE.set(());
}

pub(super) fn line(text: Arguments<'_>) {
    let text = text.to_string();
    let write = || {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", for_stdout(&text))?;
        out.flush()
    };
    let Err(error) = phases::around(write) else { return };
    // the reader closed the pipe
    if error.kind() == io::ErrorKind::BrokenPipe {
        return;
    }
    let is_first = WRITE_ERROR.set(error.to_string()).is_ok();
    if is_first && REPORTS_AT_ONCE.get().is_some() {
        errln!("warning: standard output: {error}; training continues, but output is lost");
    }
}

pub(super) fn error_line(text: &str) {
    let _ = phases::around(|| writeln!(io::stderr(), "{}", for_stderr(text)));
}

/// The error message if output was lost.
pub(super) fn write_error() -> Option<String> {
    WRITE_ERROR.get().map(describe)
}

/// The error message for a write error of standard output.
pub(super) fn describe(error: &impl Display) -> String {
    format!("standard output: {error}; some output was lost, send it elsewhere")
}
