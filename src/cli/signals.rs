//! What the system asks of a process.

use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::phases::{self, Then};
use crate::files::unfinished;

/// Who wants the command to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ctrl-C: whoever gives it twice means it.
    User,
    /// SIGTERM or SIGHUP. Some send it twice, such as `timeout`, and a shell whose terminal was closed; so that says no more.
    System,
}

/// What a command does about a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It goes on until it can stop without losing anything, and says so.
    Finish(String),
    /// It has answered before.
    Nothing,
    /// The process ends now, with these last words.
    End(String),
}

type Answers = Box<dyn FnMut(Stop) -> Answer + Send>;

static ANSWERS: Mutex<Option<Answers>> = Mutex::new(None);

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decides from now on what a signal does. Until this is called, any of them ends the process at once.
pub(super) fn answer(answers: impl FnMut(Stop) -> Answer + Send + 'static) {
    *lock(&ANSWERS) = Some(Box::new(answers));
}

/// What a signal does to a command that writes nothing, or nothing that it has begun is kept of.
pub(super) fn end_with(words: &'static str) {
    answer(move |_| Answer::End(words.into()));
}

/// Ends the process, or lets the command know, when a signal asks for it.
///
/// # Errors
///
/// The operating system's refusal.
#[cfg(unix)]
pub(super) fn watch() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let hangup = (!ignores_hangup()).then_some(SIGHUP);
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))?;
    let wait = move || {
        for signal in signals.forever() {
            heed(if signal == SIGINT { Stop::User } else { Stop::System }, signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// Ends the process, or lets the command know, when a signal asks for it.
///
/// # Errors
///
/// The operating system's refusal.
#[cfg(not(unix))]
pub(super) fn watch() -> Result<(), ctrlc::Error> {
    const SIGINT: i32 = 2;
    ctrlc::set_handler(|| heed(Stop::User, SIGINT))
}

fn heed(by: Stop, signal: i32) {
    let answer = lock(&ANSWERS).as_mut().map_or_else(|| Answer::End("stopped".into()), |answers| answers(by));
    match answer {
        Answer::Nothing => {}
        Answer::Finish(words) => phases::say_now(&words, Then::GoesOn),
        Answer::End(words) => {
            // nothing can be begun or finished any more
            let _ending = unfinished::remove_all();
            if let Some(child) = lock(&CHILD).as_mut() {
                let _ = child.kill();
            }
            phases::say_now(&words, Then::Ends);
            exit(128 + signal);
        }
    }
}

/// Ends the process as it is: what runs at an orderly exit may trip over threads that still use the device.
fn exit(code: i32) -> ! {
    #[cfg(unix)]
    signal_hook::low_level::exit(code);
    #[cfg(not(unix))]
    std::process::exit(code);
}

static CHILD: Mutex<Option<Child>> = Mutex::new(None);

/// Runs another process, which ends where this one is told to. `None` where it can't be started.
pub(super) fn run_child(command: &mut Command) -> Option<ExitStatus> {
    const LOOK_EVERY: Duration = Duration::from_millis(10);
    *lock(&CHILD) = Some(command.spawn().ok()?);
    loop {
        let status = lock(&CHILD).as_mut().and_then(|child| child.try_wait().transpose());
        if let Some(status) = status {
            *lock(&CHILD) = None;
            return status.ok();
        }
        std::thread::sleep(LOOK_EVERY);
    }
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
