use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::train::Doing;

/// Intervals over which the time of a step is taken: results may arrive several at once.
const MOST: usize = 24;
/// Intervals without which nothing is claimed.
const LEAST: usize = 3;

/// How long the parts of a training take, as they were seen to take. The first step of a process, which compiles kernels, tells
/// nothing of the others.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// When the last result arrived, or steps went on after something else.
    from: Option<Instant>,
    has_stepped: bool,
    steps: VecDeque<Duration>,
    doing: Option<(Kind, Instant)>,
    /// How often each of the others was done, and how long that took in all.
    others: BTreeMap<Kind, (u32, Duration)>,
}

/// What takes time besides steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Evaluation,
    Sample,
    Save,
}

impl Clock {
    /// Something has begun, or gone on.
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

    /// The result of a step has arrived.
    pub fn step(&mut self, now: Instant) {
        self.has_stepped = true;
        // results that arrive while something else is done are those of steps that were waited for
        if let Some(from) = self.from.replace(now) {
            self.steps.push_back(now - from);
        }
        if self.steps.len() > MOST {
            self.steps.pop_front();
        }
    }

    /// How long a step takes.
    pub fn step_time(&self) -> Option<Duration> {
        let n = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        (self.steps.len() >= LEAST).then(|| self.steps.iter().sum::<Duration>() / n)
    }

    /// How long the step under way still takes.
    pub fn left_of_step(&self, now: Instant) -> Option<Duration> {
        Some(self.step_time()?.saturating_sub(now - self.from?))
    }

    /// How long so many steps and others of each kind take. What was never seen counts as nothing.
    pub fn left(&self, steps: u64, others: &[(Kind, u64)]) -> Option<Duration> {
        let seen = |(kind, n): &(Kind, u64)| {
            let (seen, time) = self.others.get(kind).copied().unwrap_or_default();
            time.mul_f64(*n as f64 / f64::from(seen.max(1)))
        };
        Some(self.step_time()?.mul_f64(steps as f64) + others.iter().map(seen).sum::<Duration>())
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
    fn neither_compiling_nor_evaluations_count_as_steps_and_nothing_is_claimed_at_first() {
        let mut seen = Seen { clock: Clock::default(), now: Instant::now() };
        seen.clock.doing(Doing::Measuring, seen.now);
        seen.clock.doing(Doing::Stepping, seen.now);
        assert_eq!(seen.clock.left(10, &[]), None);
        // kernels are compiled
        seen.step(101);
        seen.step(2);
        seen.step(2);
        assert_eq!((seen.clock.left(10, &[]), seen.clock.left_of_step(seen.now)), (None, None));
        seen.step(2);
        assert_eq!(seen.clock.left(10, &[(Kind::Evaluation, 3)]), Some(Duration::from_secs(20)));
        seen.evaluate(30);
        seen.step(2);
        let (seconds, clock) = (Duration::from_secs, &seen.clock);
        assert_eq!(clock.left(10, &[(Kind::Evaluation, 3), (Kind::Save, 3)]), Some(seconds(20 + 90)));
        assert_eq!(clock.left_of_step(seen.now + Duration::from_millis(500)), Some(Duration::from_millis(1500)));
        assert_eq!(clock.left_of_step(seen.now + seconds(9)), Some(Duration::ZERO));
    }
}
