//! Progress display: what a command is doing while it prints nothing else.
//!
//! On a terminal this is a line below everything else, redrawn ten times a second. Elsewhere a long phase gets a line
//! on standard error, and another one from time to time.

mod narrow;

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use terminal_size::terminal_size_of;

use self::narrow::{Narrow, ROOM};
use super::wrap::for_stderr;
use crate::gpu::{Compiling, Gpu};
use crate::units::human_bytes;

/// Interval between updates of the display.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Shorter phases aren't shown on a terminal, to avoid flicker.
const SHOWN_AFTER: Duration = Duration::from_millis(300);
/// Without a terminal, a phase that takes longer gets a line.
const LINE_AFTER: Duration = Duration::from_secs(2);
/// A step that takes longer is named like a phase.
const LONG_STEP: Duration = Duration::from_secs(3);
/// Interval between further lines of a phase.
const LINE_EVERY: Duration = Duration::from_secs(30);

static LINE: Mutex<Line> = Mutex::new(Line {
    shows: Shows::Nothing,
    bar: None,
    look: Look::Spinner,
    phase: None,
    training: None,
    has_thread: false,
});

/// The display's state.
struct Line {
    shows: Shows,
    bar: Option<ProgressBar>,
    /// The look of `bar`.
    look: Look,
    phase: Option<Phase>,
    training: Option<Training>,
    has_thread: bool,
}

/// How a command shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// Not at all, the initial state.
    Nothing,
    /// As a changing line on a terminal; without a terminal, as [`Shows::Lines`].
    Live,
    /// As lines, for phases that take long.
    Lines,
}

/// A part of a command that takes time.
struct Phase {
    name: String,
    since: Instant,
    amount: Option<Amount>,
    /// A part of the phase and its progress: compiling kernels, or running them for the first time.
    within: Option<(&'static str, Amount)>,
    next_line: Duration,
}

/// The progress of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    /// The amount done.
    pub done: u64,
    /// The total, if known.
    pub of: Option<u64>,
    /// The unit; empty for bytes.
    pub unit: &'static str,
}

/// The progress of training.
struct Training {
    step: u64,
    steps: u64,
    message: String,
    /// When `step` ended.
    since: Instant,
}

/// The symbol in front of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Bar,
    Spinner,
}

fn line() -> MutexGuard<'static, Line> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts showing phases.
pub(super) fn show(shows: Shows) {
    let mut line = line();
    let is_live = shows == Shows::Live && std::io::stderr().is_terminal();
    line.shows = if is_live { Shows::Live } else { Shows::Lines };
    if !line.has_thread {
        let look = || loop {
            std::thread::sleep(LOOK_EVERY);
            self::line().update();
        };
        // without a thread, no progress is shown
        line.has_thread = std::thread::Builder::new().name("phases".into()).spawn(look).is_ok();
    }
}

/// Begins a phase; ends the previous one.
pub(super) fn begin(name: impl Into<String>) {
    let mut line = line();
    line.phase = Some(Phase::new(name.into()));
    if line.training.is_none() {
        line.clear();
    }
}

/// Updates a phase's progress; begins the phase if it isn't the current one.
pub(super) fn doing(name: &str, amount: Amount) {
    let is_new = line().phase.as_ref().is_none_or(|phase| phase.name != name);
    if is_new {
        begin(name);
    }
    at(amount);
}

/// Updates the current phase's progress.
pub(super) fn at(amount: Amount) {
    if let Some(phase) = &mut line().phase {
        phase.at(amount);
    }
}

/// Lets phases show the progress of compiling a device's kernels.
pub(super) fn follow(gpu: &Gpu) {
    gpu.on_compiling(|progress| {
        let amount = |done, of, unit| Amount { done, of: Some(of), unit };
        let within = match progress {
            Compiling::Kernels { done, of } if done == of => None,
            Compiling::Kernels { done, of } => Some(("compiling", amount(done, of, "kernels"))),
            Compiling::FirstRun { compiles: true, done, of } if done == of => None,
            Compiling::FirstRun { compiles: true, done, of } => Some(("compiling", amount(done, of, "dispatches"))),
            Compiling::FirstRun { compiles: false, done, of } => Some(("running", amount(done, of, "dispatches"))),
        };
        if let Some(phase) = &mut line().phase {
            phase.within = within;
        }
    });
}

/// Ends the current phase.
pub(super) fn end() {
    let mut line = line();
    line.phase = None;
    if line.training.is_none() {
        line.clear();
    }
}

/// Shows the progress of training until [`end_training`]. Returns whether the display is live.
pub(super) fn training(step: u64, steps: u64, message: String) -> bool {
    let mut line = line();
    let is_new = line.training.is_none();
    line.training = Some(Training { step, steps, message, since: Instant::now() });
    if is_new {
        line.clear();
    }
    if line.shows == Shows::Live {
        line.draw();
    }
    line.shows == Shows::Live
}

/// Ends the phase and the display of training.
pub(super) fn end_training() {
    let mut line = line();
    (line.phase, line.training) = (None, None);
    line.clear();
}

/// Runs `write`, which prints something, with the progress line out of the way.
pub(super) fn around<T>(write: impl FnOnce() -> T) -> T {
    match &line().bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// What a command does after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Continues,
    Ends,
}

/// Prints a message at once, even if another thread holds the display's lock; for signal handlers.
pub(super) fn say_now(words: &str, then: Then) {
    const TRIES: u32 = 20;
    let say = || {
        // the terminal may be gone
        let _ = writeln!(std::io::stderr(), "{}", for_stderr(words));
    };
    for _ in 0..TRIES {
        match LINE.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_EVERY / 10),
            Ok(mut line) => return line.say(say, then),
            Err(TryLockError::Poisoned(line)) => return line.into_inner().say(say, then),
        }
    }
    say();
}

impl Line {
    fn say(&mut self, say: impl FnOnce(), then: Then) {
        // the terminal shows ^C at the cursor
        if self.bar.is_none() && std::io::stderr().is_terminal() {
            let _ = writeln!(std::io::stderr());
        }
        if then == Then::Ends {
            self.clear();
            self.shows = Shows::Nothing;
        }
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Shows the current state.
    fn update(&mut self) {
        match self.shows {
            Shows::Nothing => {}
            Shows::Live => self.draw(),
            Shows::Lines => {
                let Some(phase) = &mut self.phase else { return };
                let elapsed = phase.since.elapsed();
                if elapsed >= phase.next_line {
                    phase.next_line = elapsed + LINE_EVERY;
                    let _ = writeln!(std::io::stderr(), "{}", phase.describe(elapsed));
                }
            }
        }
    }

    fn draw(&mut self) {
        let phase = self.phase.as_ref().map(|phase| (phase, phase.since.elapsed()));
        let phase = phase.filter(|(_, elapsed)| *elapsed >= SHOWN_AFTER).map(|(p, elapsed)| p.describe(elapsed));
        let (look, text, used) = match (&self.training, phase) {
            (Some(training), phase) => training.describe(phase),
            (None, Some(phase)) => (Look::Spinner, phase, SPINNER),
            (None, None) => return,
        };
        if look != self.look {
            self.clear();
        }
        self.look = look;
        let bar = self.bar.get_or_insert_with(|| {
            let template = if look == Look::Bar { "{bar:16} {pos}/{len}  {msg}" } else { "{spinner} {msg}" };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let target = ProgressDrawTarget::term_like(Box::new(Narrow(Term::stderr())));
            ProgressBar::with_draw_target(Some(0), target).with_style(style)
        });
        if let Some(training) = &self.training {
            bar.set_length(training.steps);
            bar.set_position(training.step);
        }
        const USUAL_WIDTH: usize = 80;
        let width = terminal_size_of(std::io::stderr()).map_or(USUAL_WIDTH, |(width, _)| width.0.into());
        bar.set_message(shortened(&text, width.saturating_sub(used + ROOM)));
        bar.tick();
    }
}

/// Shortens a text to `width` columns. The middle is cut, as the last part is the time.
fn shortened(text: &str, width: usize) -> String {
    const GAP: &str = "...";
    let n = text.chars().count();
    let (head, last) = text.rsplit_once(", ").map_or((text, ""), |(head, _)| (head, &text[head.len()..]));
    let kept = last.chars().count() + GAP.len();
    if n <= width || last.is_empty() || kept > width {
        return text.chars().take(width).collect();
    }
    head.chars().take(width - kept).collect::<String>() + GAP + last
}

/// Columns of a spinner and of a bar, including the space after it.
const SPINNER: usize = 2;
const BAR: usize = 17;

impl Training {
    /// The symbol, the text, and the number of columns in front of the text.
    fn describe(&self, phase: Option<String>) -> (Look, String, usize) {
        let Self { step, steps, message, since } = self;
        let at = format!("{step}/{steps}  ");
        let in_step = since.elapsed();
        match phase {
            Some(phase) => (Look::Spinner, at + &phase, SPINNER),
            None if in_step >= LONG_STEP && step < steps => {
                (Look::Spinner, format!("{at}step {}: {}  {message}", step + 1, in_words(in_step)), SPINNER)
            }
            None => (Look::Bar, message.clone(), BAR + at.len()),
        }
    }
}

impl Phase {
    fn at(&mut self, amount: Amount) {
        // once the phase itself advances, it no longer waits for kernels
        self.within = self.within.take().filter(|_| self.amount.is_none_or(|before| before == amount));
        self.amount = Some(amount);
    }

    fn new(name: String) -> Self {
        Self { name, since: Instant::now(), amount: None, within: None, next_line: LINE_AFTER }
    }

    fn describe(&self, elapsed: Duration) -> String {
        let mut text = self.name.clone();
        let amount = self.amount.filter(|amount| amount.of != Some(amount.done));
        match (self.within, amount) {
            (Some((what, progress)), _) => text = format!("{text}: {what}, {progress}"),
            (None, Some(amount)) => text = format!("{text}: {amount}"),
            (None, None) => {}
        }
        if elapsed >= Duration::from_secs(1) {
            text = format!("{text}, {}", in_words(elapsed));
        }
        if let Some(left) = amount.filter(|_| self.within.is_none()).and_then(|amount| amount.left(elapsed)) {
            text = format!("{text}, about {} left", in_words(left));
        }
        text
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |n: u64| if self.unit.is_empty() { human_bytes(n) } else { n.to_string() };
        let gap = if self.unit.is_empty() { "" } else { " " };
        let unit = self.unit;
        match self.of {
            Some(of) => write!(f, "{} of {}{gap}{unit}", count(self.done.min(of)), count(of)),
            None => write!(f, "{}{gap}{unit}", count(self.done)),
        }
    }
}

impl Amount {
    /// The time left at the speed so far; `None` if it is too early to tell.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        const MIN_TIME: Duration = Duration::from_secs(2);
        const MIN_DONE: u64 = 2;
        let of = self.of.filter(|&of| self.done >= MIN_DONE && self.done < of && elapsed >= MIN_TIME)?;
        Some(elapsed.mul_f64((of - self.done) as f64 / self.done as f64))
    }
}

/// A duration in a convenient unit.
pub(super) fn in_words(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match time.as_secs_f64().round() as u64 {
        s if s < 2 * MINUTE => format!("{s} s"),
        s if s < 2 * HOUR => format!("{} min", s / MINUTE),
        s if s < 2 * DAY => format!("{} h {} min", s / HOUR, s % HOUR / MINUTE),
        s => format!("{} days", s / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(done: u64, of: Option<u64>, unit: &'static str, seconds: u64) -> String {
        let phase = Phase { amount: Some(Amount { done, of, unit }), ..Phase::new("reading".into()) };
        phase.describe(Duration::from_secs(seconds))
    }

    #[test]
    fn the_time_left_is_shown_only_once_it_can_be_estimated() {
        assert_eq!(described(0, Some(80), "windows", 0), "reading: 0 of 80 windows");
        assert_eq!(described(0, Some(80), "windows", 90), "reading: 0 of 80 windows, 90 s");
        assert_eq!(described(1, Some(80), "windows", 90), "reading: 1 of 80 windows, 90 s");
        assert_eq!(described(20, Some(80), "windows", 10), "reading: 20 of 80 windows, 10 s, about 30 s left");
        assert_eq!(described(80, Some(80), "windows", 10), "reading, 10 s");
        // a pipe has no known end
        assert_eq!(described(30 << 20, None, "", 10), "reading: 30.0 MiB, 10 s");
        assert_eq!(described(30 << 20, Some(60 << 20), "", 10), "reading: 30.0 MiB of 60.0 MiB, 10 s, about 10 s left");
    }

    #[test]
    fn a_phase_that_advances_no_longer_shows_compiling() {
        let windows = |done| Amount { done, of: Some(80), unit: "windows" };
        let mut phase = Phase::new("evaluating".into());
        phase.at(windows(0));
        phase.within = Some(("compiling", Amount { done: 3, of: Some(13), unit: "dispatches" }));
        phase.at(windows(0));
        assert_eq!(phase.describe(Duration::from_secs(5)), "evaluating: compiling, 3 of 13 dispatches, 5 s");
        phase.at(windows(20));
        assert_eq!(phase.describe(Duration::from_secs(5)), "evaluating: 20 of 80 windows, 5 s, about 15 s left");
    }

    #[test]
    fn a_first_run_shows_compiling_and_running_separately() {
        let described = |what| {
            let within = Some((what, Amount { done: 30, of: Some(80), unit: "dispatches" }));
            Phase { within, ..Phase::new("first step".into()) }.describe(Duration::from_secs(5))
        };
        assert_eq!(described("compiling"), "first step: compiling, 30 of 80 dispatches, 5 s");
        assert_eq!(described("running"), "first step: running, 30 of 80 dispatches, 5 s");
    }

    #[test]
    fn a_shortened_line_keeps_the_time() {
        let text = "0/2000  first step: compiling, 30 of 80 dispatches, 57 s";
        assert_eq!(shortened(text, 56), text);
        assert_eq!(shortened(text, 54), "0/2000  first step: compiling, 30 of 80 dispa..., 57 s");
        assert_eq!(shortened(text, 6), "0/2000");
        assert_eq!(shortened("a message", 4), "a me");
    }

    #[test]
    fn durations_have_convenient_units() {
        let shown = [0, 119, 120, 7199, 7200, 90_061, 172_800].map(|s| in_words(Duration::from_secs(s)));
        assert_eq!(shown, ["0 s", "119 s", "2 min", "119 min", "2 h 0 min", "25 h 1 min", "2 days"]);
    }
}
