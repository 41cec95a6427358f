//! Which kernel and variant is the fastest for each shape of a model on this device: measured once, checked, remembered.

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

/// How long the candidates of a task take, however that is found out.
pub trait Measure {
    /// The device.
    fn caps(&self) -> &Caps;

    /// What the device takes for a task without any tuning, as `kernel/variant`.
    fn usual(&self, task: &Task) -> String;

    /// Checks and times candidates; one that turns out not to be made for the task is left out.
    ///
    /// # Errors
    ///
    /// A failure of the device, not of a candidate.
    fn race(&mut self, task: &Task, candidates: &[String]) -> Result<Vec<Measurement>, ExecError>;
}

/// Which tasks to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that the cache lacks.
    Missing,
    /// All of them.
    All,
    /// None: what the cache has must do.
    Cached,
}

/// What tuning found.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The variants to use.
    pub choice: Choice,
    /// Every task that the cache has now, with its candidates.
    pub entries: BTreeMap<String, Entry>,
    /// Tasks in all.
    pub n_task: usize,
    /// Tasks measured now.
    pub n_measured: usize,
    /// How long that took.
    pub took: Duration,
}

/// Tasks by their keys, and how often a model has each.
pub type Shapes = BTreeMap<String, (Task, u64)>;

/// The tasks of a graph that can be tuned.
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

/// Measures what is to be measured, remembers it in the cache, and makes a choice of what the cache has then. `on` sees
/// each task that was measured. Those with the most work come first, and none is begun after `budget`: the rest goes by rule
/// until it is measured another time.
///
/// # Errors
///
/// A failure of the device. A cache that can't be written is no error: it has a warning then.
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
            // the usual one may have met with something else on the machine
            for again in measure.race(task, &[usual.clone(), other])? {
                let Some(lap) = laps.iter_mut().find(|lap| lap.candidate == again.candidate) else { continue };
                lap.ms = lap.ms.zip(again.ms).map(|(a, b)| a.min(b));
                lap.failed = lap.failed.take().or(again.failed);
            }
            best = pick(&laps, &usual);
        }
        let entry = Entry { checksum, usual, pick: best, gflop: task.flops() as f64 / 1e9, laps };
        on(key, &entry);
        // at once, so that what ends this process costs no more than one of them
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

/// The fastest of those that passed their check. The usual one stays where it passed and none is faster by more than
/// chance, or by so little that a thousand runs don't make up for compiling it. `None` where none passed.
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

/// Changes with every kernel and variant that a candidate is made of, and with how they are measured.
fn checksum(candidates: &[String]) -> String {
    /// Raise it when measuring or picking changes.
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
