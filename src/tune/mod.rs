//! Tuning: measures, checks and remembers which kernel and variant is fastest for each shape of a model on this device.

mod cache;
mod device;
mod epilogue_check;
mod first_use;
mod freivalds;

pub use cache::{Cache, Entry, Measurement, cache_dir};
pub use device::OnDevice;
pub use first_use::{at_first_use, shapes_of};

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::exec::ExecError;
use crate::graph::Graph;
use crate::kernel::{self, Caps, Choice};
use crate::ops::{LowerCtx, Task};

/// A way to time the candidates of a task.
pub trait Measure {
    /// The device.
    fn caps(&self) -> &Caps;

    /// The device's choice for a task without tuning, as `kernel/variant`.
    fn usual(&self, task: &Task) -> String;

    /// Checks and times candidates; one that turns out not to support the task is left out.
    ///
    /// # Errors
    ///
    /// The device failed; a failing candidate is not an error.
    fn race(&mut self, task: &Task, candidates: &[String]) -> Result<Vec<Measurement>, ExecError>;
}

/// Which tasks to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those missing from the cache.
    Missing,
    /// All of them.
    All,
    /// None: use the cached results only.
    Cached,
}

/// The results of tuning.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The variants to use.
    pub choice: Choice,
    /// Every task in the cache now, with its candidates.
    pub entries: BTreeMap<String, Entry>,
    /// Total number of tasks.
    pub n_task: usize,
    /// Number of tasks measured now.
    pub n_measured: usize,
    /// How long that took.
    pub took: Duration,
}

/// Tasks by key, and how often a model has each.
pub type Shapes = BTreeMap<String, (Task, u64)>;

/// Lists the tunable tasks of a graph.
pub fn shapes(graph: &Graph, caps: &Caps) -> Shapes {
    let (choice, noted) = (Choice::default(), RefCell::default());
    let ctx = LowerCtx { caps, choice: &choice, noted: Some(&noted) };
    for node in &graph.nodes {
        node.op.lower(&graph.io(node), &ctx);
    }
    let mut shapes = Shapes::new();
    for task in noted.into_inner() {
        shapes.entry(task.to_string()).or_insert((task, 0)).1 += 1;
    }
    shapes
}

/// Measures the wanted tasks, adds them to the cache, and makes a choice from the cache. `on` receives each measured
/// task. Those with the most work come first, and none starts after `budget`: the rest uses the default choice until
/// another time.
///
/// # Errors
///
/// The device failed. A cache that can't be written is no error: it gives a warning.
pub fn tune(
    shapes: &Shapes,
    which: Which,
    budget: Duration,
    cache: &mut Cache,
    measure: &mut dyn Measure,
    mut on: impl FnMut(&str, &Entry),
) -> Result<Tuned, ExecError> {
    let started = Instant::now();
    let mut n_measured = 0;
    let mut by_work: Vec<_> = shapes.iter().collect();
    by_work.sort_by_key(|(_, (task, n))| Reverse(task.flops().saturating_mul(*n)));
    for (key, (task, _)) in by_work {
        if started.elapsed() >= budget {
            break;
        }
        let candidates = task.candidates(measure.caps());
        let checksum = checksum(&candidates);
        let is_wanted = match which {
            Which::Missing => !cache.has(key, &checksum),
            Which::All => true,
            Which::Cached => false,
        };
        if !is_wanted {
            continue;
        }
        let usual = measure.usual(task);
        let mut laps = measure.race(task, &candidates)?;
        let mut best = pick(&laps, &usual);
        if let Some(other) = best.clone().filter(|best| *best != usual) {
            // other load on the machine may have slowed the usual one
            for again in measure.race(task, &[usual.clone(), other])? {
                let Some(lap) = laps.iter_mut().find(|lap| lap.candidate == again.candidate) else { continue };
                lap.ms = lap.ms.zip(again.ms).map(|(a, b)| a.min(b));
                lap.failed = lap.failed.take().or(again.failed);
            }
            best = pick(&laps, &usual);
        }
        let entry = Entry { checksum, usual, pick: best, gflop: task.flops() as f64 / 1e9, laps };
        on(key, &entry);
        // written at once, so that ending this process costs at most one measurement
        cache.add(BTreeMap::from([(key.clone(), entry)]), which);
        n_measured += 1;
    }
    let known = |(key, (task, _)): (&String, &(Task, u64))| {
        let checksum = checksum(&task.candidates(measure.caps()));
        cache.get(key, &checksum).map(|entry| (key.clone(), entry.clone()))
    };
    let entries: BTreeMap<String, Entry> = shapes.iter().filter_map(known).collect();
    let picks = entries.iter().filter_map(|(key, entry)| Some((key.clone(), entry.pick.clone()?)));
    let choice = Choice::of_tuned(picks.collect());
    Ok(Tuned { choice, entries, n_task: shapes.len(), n_measured, took: started.elapsed() })
}

/// The fastest candidate that passed its check. The usual one stays if it passed, unless the fastest one's gain exceeds
/// chance and makes up for compiling it within a thousand runs. `None` if none passed.
fn pick(laps: &[Measurement], usual: &str) -> Option<String> {
    const CHANCE: f64 = 0.97;
    const RUNS: f64 = 1000.0;
    let passed = || laps.iter().filter_map(|lap| Some((lap, lap.ms.filter(|_| lap.failed.is_none())?)));
    let (best, best_ms) = passed().min_by(|a, b| a.1.total_cmp(&b.1))?;
    if let Some((usual, ms)) = passed().find(|(lap, _)| lap.candidate == usual)
        && (best_ms > ms * CHANCE || (ms - best_ms) * RUNS < best.compile_ms - usual.compile_ms)
    {
        return Some(usual.candidate.clone());
    }
    Some(best.candidate.clone())
}

/// A checksum that changes with every kernel and variant of a candidate, and with the measuring method.
fn checksum(candidates: &[String]) -> String {
    /// Increase it when measuring or picking changes.
    const METHOD: &str = "1";
    let mut hash = crc32fast::Hasher::new();
    hash.update(METHOD.as_bytes());
    for candidate in candidates {
        hash.update(candidate.as_bytes());
        let (kernel, variant) = candidate.split_once('/').unwrap_or((candidate, ""));
        let found = kernel::ALL.iter().find(|k| k.name == kernel);
        if let Some((kernel, variant)) = found.and_then(|k| Some((k, k.variant(variant)?))) {
            hash.update(kernel.source.as_bytes());
            hash.update(format!("{:?}", variant.settings).as_bytes());
        }
    }
    format!("{:08x}", hash.finalize())
}
