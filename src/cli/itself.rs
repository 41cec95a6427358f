//! Starts this program again, the way this process was started.

use std::ffi::OsString;
use std::process::Command;

/// This program without arguments; `None` if the system doesn't know its path.
pub(super) fn itself() -> Option<Command> {
    let program = std::env::current_exe().ok()?;
    let words = command_line();
    // for a process started through a dynamic loader (`ld.so --library-path DIR tril ...`), the system reports the
    // loader
    let n_before = words.len().saturating_sub(std::env::args_os().len());
    let mut command = Command::new(program);
    if n_before > 0 {
        command.args(&words[1..=n_before]);
    }
    Some(command)
}

/// All words of the command line, including a loader's; empty on systems without /proc.
#[cfg(unix)]
fn command_line() -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words = bytes.strip_suffix(&[0]).unwrap_or_default().split(|&byte| byte == 0);
    words.map(|word| OsString::from_vec(word.to_vec())).filter(|_| !bytes.is_empty()).collect()
}

#[cfg(not(unix))]
fn command_line() -> Vec<OsString> {
    vec![]
}
