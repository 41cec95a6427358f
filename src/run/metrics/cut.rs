//! Cuts `metrics.jsonl` back to a checkpoint on resume.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::run::RunDir;
use crate::run::checkpoint::{Left, Progress};
use crate::run::dir::{METRICS, set_aside};
use crate::units::count;

/// Longer lines aren't tril's. Units: bytes.
const MAX_LINE: u64 = 1 << 20;

impl RunDir {
    /// Drops the lines of `metrics.jsonl` after a checkpoint, those of work that remains after it, and damaged ones, so
    /// that a resumed run writes each line once. Returns a warning about lost lines.
    pub fn truncate_metrics(&self, progress: &Progress) -> Option<String> {
        cut(self, progress)
    }
}

/// Drops the lines after a checkpoint's step and those of work that remains after it, so that a resumed run writes each
/// line once, and unreadable ones. Returns a warning about lost lines. A file that loses lines is kept
/// under another name.
fn cut(dir: &RunDir, progress: &Progress) -> Option<String> {
    let path = dir.path(METRICS);
    let mut lines = Lines { step: progress.step, left: progress.left, ..Lines::default() };
    let read = read(&path, &mut lines);
    let mut faults = vec![];
    if let Err(reason) = &read {
        faults.push(reason.clone());
    }
    let n_repeated = lines.drop_repeated();
    if lines.n_damaged > 0 {
        faults.push(format!("{} after step {} can't be read", count(lines.n_damaged, "line"), lines.damaged_after));
    }
    if n_repeated > 0 {
        faults.push(format!("{} repeated by later ones", count(n_repeated, "line")));
    }
    let moved = (!faults.is_empty() && path.symlink_metadata().is_ok()).then(|| set_aside(dir, METRICS));
    let missing = lines.missing_steps();
    if !missing.is_empty() {
        faults.push(format!("the losses of {missing} are lost"));
    }
    // the evaluation interval may have changed during the run, but these steps were certainly evaluated
    let evaluated: BTreeSet<u64> = [progress.best, progress.last].into_iter().flatten().map(|(_, step)| step).collect();
    faults.extend(
        evaluated
            .into_iter()
            .filter(|&step| lines.lacks_evaluation(step))
            .map(|step| format!("the evaluation of step {step} is lost")),
    );
    match moved {
        Some(Ok(name)) => faults.push(format!("the old file is kept as {name}")),
        Some(Err(error)) => faults.push(format!("the old file can't be renamed ({error})")),
        None => {}
    }
    if let Err(error) = dir.write(METRICS, &lines.kept.concat()) {
        faults.push(error.to_string());
    }
    (!faults.is_empty()).then(|| format!("{METRICS}: {}", faults.join("; ")))
}

#[derive(Debug, Default)]
struct Lines {
    step: u64,
    left: Left,
    kept: Vec<Vec<u8>>,
    /// The step and kind of each line.
    keys: Vec<(u64, Kind)>,
    n_damaged: u64,
    /// The last step before the first damaged line.
    damaged_after: u64,
    last: u64,
}

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Step,
    Evaluation,
    Sample,
    Other,
}

impl Lines {
    fn take(&mut self, line: &[u8], is_whole: bool) {
        if is_whole && line.trim_ascii().is_empty() {
            return;
        }
        let parsed = if is_whole { serde_json::from_slice::<Value>(line).ok() } else { None };
        let step = parsed.as_ref().and_then(|value| value.get("step")?.as_u64());
        let (Some(value), Some(step)) = (parsed, step) else {
            // lines after a later step will be computed and written again
            if self.last <= self.step {
                if self.n_damaged == 0 {
                    self.damaged_after = self.last;
                }
                self.n_damaged += 1;
            }
            return;
        };
        self.last = step;
        if step > self.step {
            return;
        }
        let kinds = [("loss", Kind::Step), ("val_loss", Kind::Evaluation), ("sample", Kind::Sample)];
        let kind = kinds.iter().find(|(key, _)| value.get(key).is_some()).map_or(Kind::Other, |&(_, kind)| kind);
        let comes_again = match kind {
            Kind::Evaluation => self.left.evaluation,
            Kind::Sample => self.left.is_any(),
            Kind::Step | Kind::Other => false,
        };
        if step == self.step && comes_again {
            return;
        }
        self.keys.push((step, kind));
        self.kept.push([line.trim_ascii_end(), b"\n"].concat());
    }

    /// Drops lines that are repeated by a later one of the same step and kind.
    fn drop_repeated(&mut self) -> u64 {
        let (mut seen, mut is_kept) = (HashSet::new(), vec![true; self.keys.len()]);
        for (i, key) in self.keys.iter().enumerate().rev() {
            is_kept[i] = key.1 == Kind::Other || seen.insert(*key);
        }
        let before = self.kept.len();
        let mut is_kept = is_kept.iter();
        self.kept.retain(|_| *is_kept.next().unwrap_or(&true));
        (before - self.kept.len()) as u64
    }

    /// Whether the evaluation of a step has no line, and won't be repeated.
    fn lacks_evaluation(&self, step: u64) -> bool {
        let is_past = step < self.step || step == self.step && !self.left.evaluation;
        is_past && !self.keys.contains(&(step, Kind::Evaluation))
    }

    /// The steps up to the checkpoint without a line; empty if there are none.
    fn missing_steps(&self) -> String {
        const MAX_RANGES: usize = 3;
        let there = self.keys.iter().filter(|key| key.1 == Kind::Step).map(|key| key.0);
        let mut there: Vec<u64> = there.chain([0, self.step + 1]).collect();
        there.sort_unstable();
        let gaps = there.windows(2).filter(|pair| pair[1] > pair[0] + 1).map(|pair| (pair[0] + 1, pair[1] - 1));
        let gaps: Vec<_> = gaps.collect();
        let mut ranges: Vec<String> = gaps.iter().take(MAX_RANGES).map(|&(first, last)| range(first, last)).collect();
        if let Some((first, _)) = gaps.get(MAX_RANGES) {
            ranges.push(format!("others from step {first} on"));
        }
        ranges.join(", ")
    }
}

fn range(first: u64, last: u64) -> String {
    if first == last { format!("step {first}") } else { format!("steps {first} to {last}") }
}

/// Reads all lines that can be read.
fn read(path: &Path, lines: &mut Lines) -> Result<(), String> {
    let failed = |error: io::Error| format!("it can't be read ({error})");
    match fs::metadata(path) {
        Ok(kind) if kind.is_file() => {}
        // reading a pipe would wait for a writer
        Ok(_) => return Err("it is not a file".into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    }
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = vec![];
    loop {
        line.clear();
        file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < MAX_LINE;
        if !is_whole {
            file.skip_until(b'\n').map_err(failed)?;
        }
        lines.take(&line, is_whole);
    }
}
