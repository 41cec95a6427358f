use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exec::Timings;
use crate::graph::Phase;
use crate::plan::Plan;

/// A timed training step.
#[derive(Debug, Clone, Copy)]
pub struct TimedStep<'a> {
    /// The plan that ran.
    pub plan: &'a Plan,
    /// Times of each dispatch, of one or several steps.
    pub timings: &'a Timings,
    /// Seconds of a step whose dispatches weren't timed.
    pub step_s: f64,
}

/// The cost of training on a device, op by op: a time per dispatch and a time per unit of work. It gives an estimate of
/// the time of any plan's step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    ops: BTreeMap<String, Rate>,
    /// The rate of all ops together, for ops that weren't measured.
    all: Rate,
}

/// Costs in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Rate {
    per_dispatch: f64,
    per_work: f64,
}

/// The totals of an op in a step.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    n: f64,
    work: f64,
    seconds: f64,
}

impl Rates {
    /// Derives the rates from a small step and a larger one.
    pub fn of(small: TimedStep<'_>, large: TimedStep<'_>) -> Self {
        let (of_small, of_large) = (sums(small), sums(large));
        let all = [&of_small, &of_large].map(|sums| sums.values().copied().fold(Sum::default(), Sum::plus));
        let names = of_small.keys().chain(of_large.keys());
        let of = |sums: &BTreeMap<String, Sum>, name: &str| sums.get(name).copied().unwrap_or_default();
        let ops = names.map(|name| (name.clone(), Rate::fit(of(&of_small, name), of(&of_large, name)))).collect();
        Self { ops, all: Rate::fit(all[0], all[1]) }
    }

    /// Estimated seconds for a step of `micro_batches` of a plan.
    pub fn step_s(&self, plan: &Plan, micro_batches: u64) -> f64 {
        let seconds = plan.steps.iter().map(|step| {
            let rate = self.ops.get(step.op).unwrap_or(&self.all);
            let times = if step.phase == Phase::MicroBatch { micro_batches as f64 } else { 1.0 };
            (rate.per_dispatch + rate.per_work * step.cost.work() as f64) * times
        });
        seconds.sum()
    }
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        Self { n: self.n + other.n, work: self.work + other.work, seconds: self.seconds + other.seconds }
    }
}

impl Rate {
    /// The pair that explains both sums. If none does, as times are never exact, the work alone explains the larger
    /// sum.
    fn fit(small: Sum, large: Sum) -> Self {
        let det = small.n * large.work - large.n * small.work;
        let per_dispatch = (small.seconds * large.work - large.seconds * small.work) / det;
        let per_work = (small.n * large.seconds - large.n * small.seconds) / det;
        if per_dispatch.is_finite() && per_dispatch >= 0.0 && per_work.is_finite() && per_work >= 0.0 {
            return Self { per_dispatch, per_work };
        }
        let only = if large.n > 0.0 { large } else { small };
        if only.work > 0.0 {
            return Self { per_dispatch: 0.0, per_work: only.seconds / only.work };
        }
        Self { per_dispatch: only.seconds / only.n.max(1.0), per_work: 0.0 }
    }
}

/// Sums by op, which add up to the time of the step. Uses the shortest time of each dispatch, since other load only
/// adds to it.
fn sums(timed: TimedStep<'_>) -> BTreeMap<String, Sum> {
    let mut shortest: BTreeMap<usize, u64> = BTreeMap::new();
    for dispatch in &timed.timings.dispatches {
        shortest.entry(dispatch.step).and_modify(|ns| *ns = dispatch.ns.min(*ns)).or_insert(dispatch.ns);
    }
    // the rest of a step's time is divided among its dispatches
    let around = timed.step_s / shortest.values().sum::<u64>().max(1) as f64;
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for (index, ns) in shortest {
        let step = &timed.plan.steps[index];
        let one = Sum { n: 1.0, work: step.cost.work() as f64, seconds: ns as f64 * around };
        let sum = sums.entry(step.op.to_string()).or_default();
        *sum = sum.plus(one);
    }
    sums
}
