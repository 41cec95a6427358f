//! Signals, and child processes that they must end.

use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::phases::{self, Then};
use crate::files::unfinished;

/// Who wants the command to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ctrl-C. A second one exits immediately.
    User,
    /// SIGTERM or SIGHUP. A second one means nothing: `timeout` and shells whose terminal closes may send it twice.
    System,
}

/// What a command does about a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It continues until it can stop without losing anything, and prints this message.
    Finish(String),
    /// Nothing: it is already stopping.
    Nothing,
    /// The process ends now, with this message.
    End(String),
}

type Answers = Box<dyn FnMut(Stop) -> Answer + Send>;

static ANSWERS: Mutex<Option<Answers>> = Mutex::new(None);

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets what signals do from now on. Until this is called, any of them ends the process at once.
pub(super) fn answer(answers: impl FnMut(Stop) -> Answer + Send + 'static) {
    *lock(&ANSWERS) = Some(Box::new(answers));
}

/// Makes signals end the process at once with this message; for commands that have nothing to save.
pub(super) fn end_with(words: &'static str) {
    answer(move |_| Answer::End(words.into()));
}

/// Starts handling signals: they end the process or notify the command.
///
/// # Errors
///
/// If the operating system refuses the handler.
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

/// Starts handling signals: they end the process or notify the command.
///
/// # Errors
///
/// If the operating system refuses the handler.
#[cfg(not(unix))]
pub(super) fn watch() -> Result<(), ctrlc::Error> {
    const SIGINT: i32 = 2;
    ctrlc::set_handler(|| heed(Stop::User, SIGINT))
}

fn heed(by: Stop, signal: i32) {
    let answer = lock(&ANSWERS).as_mut().map_or_else(|| Answer::End("stopped".into()), |answers| answers(by));
    match answer {
        Answer::Nothing => {}
        Answer::Finish(words) => phases::say_now(&words, Then::Continues),
        Answer::End(words) => {
            // holding this, no other thread can begin or finish a file
            let _ending = unfinished::remove_all();
            if let Some(child) = lock(&CHILD).as_mut() {
                let _ = child.kill();
            }
            phases::say_now(&words, Then::Ends);
            exit(128 + signal);
        }
    }
}

/// Ends the process without running exit handlers, which may crash while other threads still use the device.
fn exit(code: i32) -> ! {
    #[cfg(unix)]
    signal_hook::low_level::exit(code);
    #[cfg(not(unix))]
    std::process::exit(code);
}

static CHILD: Mutex<Option<Child>> = Mutex::new(None);

/// Runs a child process, which is killed if a signal ends this one. `None` if it can't be started.
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

/// Whether the process was started to outlive its terminal, as by nohup. Without /proc, redirected output counts as a
/// sign of it.
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

/// Makes a write beyond the file size limit (`ulimit -f`) fail, like one to a full disk, instead of ending the process.
pub(super) fn survive_file_limits() {
    #[cfg(unix)]
    {
        // any handler prevents the end of the process; if it can't be registered, the default remains
        let seen = std::sync::Arc::default();
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen);
    }
}
