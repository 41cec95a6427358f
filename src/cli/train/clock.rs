use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::train::Doing;

/// Number of intervals that the step time is averaged over: several results may arrive at once.
const MAX_INTERVALS: usize = 24;
/// Number of intervals needed for an estimate.
const MIN_INTERVALS: usize = 3;

/// Measures how long the parts of training take. The first step of a process compiles kernels, so it isn't counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// When the last result arrived, or steps continued after something else.
    from: Option<Instant>,
    has_stepped: bool,
    steps: VecDeque<Duration>,
    doing: Option<(Kind, Instant)>,
    /// The count and total time of each other kind.
    others: BTreeMap<Kind, (u32, Duration)>,
}

/// What takes time other than steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Evaluation,
    Sample,
    Save,
}

impl Clock {
    /// Records that something begins or continues.
    pub fn doing(&mut self, doing: Doing, now: Instant) {
        let kind = match doing {
            Doing::Evaluating { .. } => Some(Kind::Evaluation),
            Doing::Sampling => Some(Kind::Sample),
            Doing::Saving => Some(Kind::Save),
            Doing::Measuring | Doing::Stepping => None,
        };
        if kind == self.doing.map(|(kind, _)| kind) {
            return;
        }
        if let Some((done, since)) = self.doing.take() {
            let (n, time) = self.others.entry(done).or_default();
            *n += 1;
            *time += now - since;
        }
        self.doing = kind.map(|kind| (kind, now));
        self.from = (kind.is_none() && self.has_stepped).then_some(now);
    }

    /// Records that the result of a step has arrived.
    pub fn step(&mut self, now: Instant) {
        self.has_stepped = true;
        // results that arrive during something else belong to earlier steps
        if let Some(from) = self.from.replace(now) {
            self.steps.push_back(now - from);
        }
        if self.steps.len() > MAX_INTERVALS {
            self.steps.pop_front();
        }
    }

    /// The time of a step.
    pub fn step_time(&self) -> Option<Duration> {
        let n = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        (self.steps.len() >= MIN_INTERVALS).then(|| self.steps.iter().sum::<Duration>() / n)
    }

    /// The time left of the current step.
    pub fn left_of_step(&self, now: Instant) -> Option<Duration> {
        Some(self.step_time()?.saturating_sub(now - self.from?))
    }

    /// The time for `steps` steps and the given number of each other kind. The first evaluation is taken to need the
    /// time of `eval_steps` steps; any other kind never seen counts as nothing.
    pub fn left(&self, steps: u64, others: &[(Kind, u64)], eval_steps: f64) -> Option<Duration> {
        let step_time = self.step_time()?;
        let other = |(kind, n): &(Kind, u64)| {
            let each = match self.others.get(kind) {
                Some((seen, time)) => *time / *seen,
                None if *kind == Kind::Evaluation => step_time.mul_f64(eval_steps),
                None => Duration::ZERO,
            };
            each.mul_f64(*n as f64)
        };
        Some(step_time.mul_f64(steps as f64) + others.iter().map(other).sum::<Duration>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen {
        clock: Clock,
        now: Instant,
    }

    impl Seen {
        fn step(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.clock.step(self.now);
        }

        fn evaluate(&mut self, seconds: u64) {
            self.clock.doing(Doing::Evaluating { done: 0, of: 2 }, self.now);
            self.now += Duration::from_secs(seconds);
            self.clock.doing(Doing::Evaluating { done: 1, of: 2 }, self.now);
            self.clock.doing(Doing::Stepping, self.now);
        }
    }

    #[test]
    fn compiling_and_evaluations_do_not_count_as_steps_and_the_first_steps_give_no_estimate() {
        let mut seen = Seen { clock: Clock::default(), now: Instant::now() };
        seen.clock.doing(Doing::Measuring, seen.now);
        seen.clock.doing(Doing::Stepping, seen.now);
        assert_eq!(seen.clock.left(10, &[], 0.0), None);
        // kernels are compiled
        seen.step(101);
        seen.step(2);
        seen.step(2);
        assert_eq!((seen.clock.left(10, &[], 0.0), seen.clock.left_of_step(seen.now)), (None, None));
        seen.step(2);
        assert_eq!(seen.clock.left(10, &[(Kind::Evaluation, 3)], 5.0), Some(Duration::from_secs(20 + 30)));
        assert_eq!(seen.clock.left(10, &[(Kind::Save, 3)], 5.0), Some(Duration::from_secs(20)));
        seen.evaluate(30);
        seen.step(2);
        let (seconds, clock) = (Duration::from_secs, &seen.clock);
        assert_eq!(clock.left(10, &[(Kind::Evaluation, 3), (Kind::Save, 3)], 5.0), Some(seconds(20 + 90)));
        assert_eq!(clock.left_of_step(seen.now + Duration::from_millis(500)), Some(Duration::from_millis(1500)));
        assert_eq!(clock.left_of_step(seen.now + seconds(9)), Some(Duration::ZERO));
    }
}
