//! What the system asks of a process.

/// Who wants the command to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ctrl-C: whoever gives it twice means it.
    User,
    /// SIGTERM or SIGHUP. Some send it twice, such as `timeout`, and a shell whose terminal was closed; so that says no more.
    System,
}

/// What a command exits with where it is to stop at once: 128 and the number of SIGINT.
pub(super) const AT_ONCE: i32 = 130;

/// Calls a function whenever the command is to stop.
///
/// # Errors
///
/// The operating system's refusal.
#[cfg(unix)]
pub(super) fn on_stop(mut stop: impl FnMut(Stop) + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let hangup = (!ignores_hangup()).then_some(SIGHUP);
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))?;
    let wait = move || {
        for signal in signals.forever() {
            stop(if signal == SIGINT { Stop::User } else { Stop::System });
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// Calls a function whenever the command is to stop.
///
/// # Errors
///
/// The operating system's refusal.
#[cfg(not(unix))]
pub(super) fn on_stop(mut stop: impl FnMut(Stop) + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || stop(Stop::User))
}

/// Whether the process was started to outlive its terminal, as by nohup. Where the system has no file that tells, output that
/// goes elsewhere counts as a sign of it.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    use std::io::IsTerminal;
    let ignored = |status: String| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        // bit n - 1 is signal n
        Some(u64::from_str_radix(mask.trim(), 16).ok()? & 1 << (signal_hook::consts::SIGHUP - 1) != 0)
    };
    let known = std::fs::read_to_string("/proc/self/status").ok().and_then(ignored);
    known.unwrap_or_else(|| !std::io::stdout().is_terminal())
}

/// Has a write beyond the limit of a file's size (`ulimit -f`) fail, as one to a full disk does, instead of ending the process.
pub(super) fn survive_file_limits() {
    #[cfg(unix)]
    {
        // whatever is called in the place of the end; without it, things are as they were
        let seen = std::sync::Arc::default();
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen);
    }
}
