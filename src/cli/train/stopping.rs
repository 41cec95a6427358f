//! How training responds to Ctrl-C, SIGTERM and SIGHUP.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock::Clock;
use crate::cli::phases::in_words;
use crate::cli::signals::{self, Answer, Stop};
use crate::files::shell::quoted;
use crate::train::{Doing, Event};

/// State shared by training and the thread that receives signals.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// Set when training is to stop.
    pub flag: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether this process has completed a step; before that there is nothing to save.
    has_stepped: bool,
    /// The run's directory, if the run is resumed.
    resumed: Option<PathBuf>,
    doing: Option<Doing>,
    clock: Clock,
    /// How often Ctrl-C was pressed.
    n_asked: u32,
}

impl Stopping {
    /// Starts answering signals.
    pub fn begin(resumed: Option<PathBuf>) -> Arc<Self> {
        let stopping = Arc::new(Self::default());
        stopping.restart(resumed);
        let answering = stopping.clone();
        signals::answer(move |by| answering.answer(by));
        stopping
    }

    /// Starts over from the run on the disk.
    pub fn restart(&self, resumed: Option<PathBuf>) {
        self.with(|state| *state = State { resumed, n_asked: state.n_asked, ..State::default() });
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records an event of training and returns the times measured so far.
    pub fn saw(&self, event: &Event) -> Clock {
        self.with(|state| {
            match event {
                Event::Doing(doing) => {
                    state.doing = Some(*doing);
                    state.clock.doing(*doing, Instant::now());
                }
                Event::Step { .. } => {
                    state.has_stepped = true;
                    state.clock.step(Instant::now());
                }
                _ => {}
            }
            state.clock.clone()
        })
    }

    fn answer(&self, by: Stop) -> Answer {
        self.with(|state| {
            if !state.has_stepped {
                return Answer::End(state.before_first());
            }
            self.flag.store(true, Ordering::Relaxed);
            state.n_asked += 1;
            let is_again = state.n_asked > 1;
            match by {
                Stop::User if is_again => Answer::End("stopped at once, without saving".into()),
                Stop::System if is_again => Answer::Nothing,
                Stop::User => {
                    Answer::Finish(format!("{}; press Ctrl-C again to stop at once, without saving", state.finishing()))
                }
                Stop::System => Answer::Finish(format!("received a stop signal: {}", state.finishing())),
            }
        })
    }
}

impl State {
    fn before_first(&self) -> String {
        match &self.resumed {
            None => "stopped before the first step; no run was kept".into(),
            Some(root) => {
                let root = quoted(root);
                format!("stopped before another step was done; resume with: tril train --resume {root}")
            }
        }
    }

    /// Describes what is finished before training stops.
    fn finishing(&self) -> String {
        match self.doing {
            Some(Doing::Evaluating { .. }) => "leaving the evaluation, which a resume repeats, and saving".into(),
            Some(Doing::Sampling) => "leaving the sample, which a resume repeats, and saving".into(),
            Some(Doing::Saving) => "stopping as soon as the run is saved".into(),
            _ => {
                const WORTH_SAYING: Duration = Duration::from_secs(2);
                match self.clock.left_of_step(Instant::now()).filter(|&left| left >= WORTH_SAYING) {
                    Some(left) => {
                        format!("finishing the current step, about {} more, and saving", in_words(left))
                    }
                    None => "finishing the current step, and saving".into(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::StepResult;

    fn step(step: u64) -> Event {
        let (loss, grad_norm, n_nonfinite) = (1.0, 1.0, 0.0);
        let result =
            StepResult { step, loss, grad_norm, finite: true, applied: true, n_nonfinite, n_skipped: 0, n_target: 1 };
        Event::Step { result, lr: 1.0, tokens_per_s: 1.0, mfu: 1.0 }
    }

    fn stopping(resumed: Option<PathBuf>) -> Stopping {
        let stopping = Stopping::default();
        stopping.restart(resumed);
        stopping
    }

    #[test]
    fn before_the_first_step_any_signal_ends_the_process() {
        for by in [Stop::User, Stop::System] {
            let new = stopping(None);
            new.saw(&Event::Doing(Doing::Evaluating { done: 1, of: 3 }));
            let words = "stopped before the first step; no run was kept";
            assert_eq!(new.answer(by), Answer::End(words.into()));
            assert!(!new.flag.load(Ordering::Relaxed));
            let Answer::End(words) = stopping(Some("a run".into())).answer(by) else { panic!("it continues") };
            assert!(words.ends_with("tril train --resume 'a run'"), "{words}");
        }
    }

    #[test]
    fn after_the_first_step_a_signal_saves_and_only_a_second_ctrl_c_ends_at_once() {
        let run = stopping(None);
        run.saw(&step(1));
        assert!(matches!(run.answer(Stop::System), Answer::Finish(_)) && run.flag.load(Ordering::Relaxed));
        assert_eq!(run.answer(Stop::System), Answer::Nothing);
        assert!(matches!(run.answer(Stop::User), Answer::End(_)));
        // after a lost device: the steps since the checkpoint are gone
        run.restart(Some("run".into()));
        assert!(matches!(run.answer(Stop::System), Answer::End(_)));
    }

    #[test]
    fn what_is_finished_is_named() {
        for (doing, words) in [
            (Doing::Stepping, "the current step"),
            (Doing::Evaluating { done: 1, of: 2 }, "leaving the evaluation"),
            (Doing::Sampling, "leaving the sample"),
            (Doing::Saving, "is saved"),
        ] {
            let run = stopping(None);
            run.saw(&step(1));
            run.saw(&Event::Doing(doing));
            let Answer::Finish(said) = run.answer(Stop::User) else { panic!("{doing:?}") };
            assert!(said.contains(words) && said.contains("Ctrl-C again"), "{said}");
        }
    }
}
