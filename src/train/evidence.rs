//! What is kept of a step whose loss or gradients weren't finite: enough to see where that began, and to do it again.

mod batches;
mod replay;

pub(super) use batches::MAX_BEFORE;
pub use replay::{Replayed, replay};

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Session, SessionError};
use crate::data::Batch;
use crate::files::io_error;
use crate::files::shell::quoted;
use crate::graph::Phase;
use crate::run::checkpoint;
use crate::run::{RunDir, RunDirError};
use crate::tensor::DType;

/// The folder of a run in which evidence is kept, a folder for each step.
pub const FOLDER: &str = "nonfinite";
/// A run keeps that of so many steps.
const MOST: usize = 5;
const REPORT: &str = "report.json";

/// The first output that isn't finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Which of the step's micro-batches.
    pub micro_batch: usize,
    /// The op's place in the model, such as `h.3.ln_1`; with `d` in front in the backward pass.
    pub label: String,
    /// The op.
    pub op: String,
    /// The tensor that it wrote.
    pub tensor: String,
    /// Elements that aren't finite.
    pub count: u64,
    /// Elements.
    pub of: u64,
    /// The largest magnitude among the others.
    pub largest_finite: f32,
}

/// What is known of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The step, counted from 1.
    pub step: u64,
    /// The step after which the parameters were as they were looked at: the step's own are those after `step - 1`. Steps are
    /// under way when one turns out not to be finite, and may have changed them; doing the step again has its own.
    pub params_after: u64,
    /// Where it began, in the order of execution; none where nothing but finite numbers was found this time.
    pub first: Option<Origin>,
    /// For each layer the norm of its gradients; none where that isn't finite.
    pub gradient_norms: Vec<(String, Option<f64>)>,
    /// What does the step again.
    pub replay: String,
    /// CRC-32 of the files of batches that were kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checksums: BTreeMap<String, String>,
    /// CRC-32 of the report without it; empty in reports of before there was one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub crc32: String,
}

/// The batches that it takes to do a step again.
pub(super) struct Batches {
    /// The step's micro-batches.
    pub own: Vec<Batch>,
    /// Those of each step between the checkpoint and it, or nothing where they are too many to keep.
    pub before: Vec<Vec<Batch>>,
}

impl Evidence {
    /// Looks at a step of a session under which nothing is under way: forward and backward again, node by node, with the
    /// step's dropout. Parameters and moments stay as they are.
    ///
    /// # Errors
    ///
    /// A batch that doesn't fit, or a failure of the device.
    pub fn gather(session: &Session, step: u64, batches: &[Batch]) -> Result<Self, SessionError> {
        let program = session.program();
        let graph = &program.plan().graph;
        let mut first = None;
        program.begin_step();
        for (micro_batch, batch) in batches.iter().enumerate() {
            session.write_batch_of(step, batches, micro_batch)?;
            debug_assert_eq!(batch.b as u64, session.config().batch_size);
            program.run_nodes(Phase::MicroBatch, |node| -> Result<ControlFlow<()>, SessionError> {
                let node = &graph.nodes[node];
                let inputs: Vec<_> = node.inputs.iter().map(|&input| graph.spec(input)).collect();
                let made = node.op.outputs(&inputs).unwrap_or_default();
                for (i, &output) in node.outputs.iter().enumerate() {
                    let spec = graph.spec(output);
                    // scratch may hold what others left there
                    let is_scratch = made.get(i).is_some_and(|out| out.scratch);
                    if first.is_some() || is_scratch || spec.dtype != DType::F32 {
                        continue;
                    }
                    let (mut count, mut largest) = (0, 0f32);
                    program.read_pieces(output, 0, spec.shape.numel(), |piece| -> Result<(), SessionError> {
                        for x in piece {
                            if x.is_finite() { largest = largest.max(x.abs()) } else { count += 1 }
                        }
                        Ok(())
                    })?;
                    if count > 0 {
                        first = Some(Origin {
                            micro_batch,
                            label: node.label.clone(),
                            op: node.op.name().into(),
                            tensor: spec.name.clone(),
                            count,
                            of: spec.shape.numel(),
                            largest_finite: largest,
                        });
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(Self {
            step,
            params_after: session.step_count(),
            first,
            gradient_norms: norms(session)?,
            replay: String::new(),
            checksums: BTreeMap::new(),
            crc32: String::new(),
        })
    }

    /// Reads what was kept in a folder.
    ///
    /// # Errors
    ///
    /// [`RunDirError::NoEvidence`].
    pub fn read(folder: &Path) -> Result<Self, RunDirError> {
        let text = fs::read_to_string(folder.join(REPORT));
        let text = text.map_err(|e| {
            let reason = match e.kind() {
                _ if !folder.exists() => "it does not exist".into(),
                io::ErrorKind::NotFound => format!("there is no {REPORT} in it"),
                io::ErrorKind::NotADirectory => "it is a file, not a folder".into(),
                _ => format!("{REPORT} can't be read: {e}"),
            };
            foreign(folder, reason)
        })?;
        let mut read: Self = serde_json::from_str(&text).map_err(|e| foreign(folder, format!("{REPORT}: {e}")))?;
        let expected = std::mem::take(&mut read.crc32);
        if !expected.is_empty() && expected != batches::checksum(&read.to_json()) {
            return Err(batches::damaged(folder, REPORT, "it was changed, by the checksum in it".into()));
        }
        Ok(read)
    }

    fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|e| panic!("evidence has a JSON form: {e}")) + "\n"
    }

    /// Keeps it in a run's directory with the batch and the checkpoint from which the step can be done again, beside what was
    /// kept of the same step with another batch, as there is after a rollback.
    ///
    /// # Errors
    ///
    /// The operating system's refusal.
    pub(super) fn keep(mut self, dir: &RunDir, batches: &Batches, from: u64) -> Result<Option<PathBuf>, RunDirError> {
        let all = dir.path(FOLDER);
        if fs::read_dir(&all).is_ok_and(|entries| entries.count() >= MOST) {
            return Ok(None);
        }
        let mut files = vec![(batches::OWN, batches::to_json(&batches.own))];
        if !batches.before.is_empty() {
            files.push((batches::BEFORE, batches::all_to_json(&batches.before)));
        }
        self.checksums = files.iter().map(|(name, text)| (name.to_string(), batches::checksum(text))).collect();
        let path = self.free_folder(&all);
        fs::create_dir_all(&path).map_err(io_error(&path))?;
        self.replay = format!("tril replay {}", quoted(&path));
        let write = |name: &str, text: &str| fs::write(path.join(name), text).map_err(io_error(&path.join(name)));
        for (name, text) in &files {
            write(name, text)?;
        }
        // a second name of the same file where the file system has that
        let (state, copy) = (checkpoint::folder(dir, from).join(checkpoint::STATE), path.join(checkpoint::STATE));
        let _ = fs::remove_file(&copy);
        fs::hard_link(&state, &copy).or_else(|_| fs::copy(&state, &copy).map(|_| ())).map_err(io_error(&copy))?;
        self.crc32 = batches::checksum(&self.to_json());
        // the last, so that with it all is there
        write(REPORT, &self.to_json())?;
        Ok(Some(path))
    }

    /// The folder of its step, with a number behind it where that has other evidence.
    fn free_folder(&self, all: &Path) -> PathBuf {
        let first = all.join(format!("step-{:08}", self.step));
        let more = (2u32..).map(|n| all.join(format!("step-{:08}-{n}", self.step)));
        let is_free = |path: &PathBuf| Self::read(path).map_or(true, |other| other.checksums == self.checksums);
        std::iter::once(first.clone()).chain(more).find(is_free).unwrap_or(first)
    }
}

/// Norms by layer, in the order of the model: `wte`, `h.0`, ... .
fn norms(session: &Session) -> Result<Vec<(String, Option<f64>)>, SessionError> {
    let mut norms: Vec<(String, f64)> = vec![];
    for name in session.param_names() {
        let layer = match name.split('.').collect::<Vec<_>>()[..] {
            ["h", i, ..] => format!("h.{i}"),
            [first, ..] => first.to_string(),
            [] => continue,
        };
        let square: f64 = session.gradient(&name)?.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        match norms.last_mut().filter(|(last, _)| *last == layer) {
            Some((_, sum)) => *sum += square,
            None => norms.push((layer, square)),
        }
    }
    Ok(norms.into_iter().map(|(layer, sum)| (layer, Some(sum.sqrt()).filter(|x| x.is_finite()))).collect())
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.first {
            None => writeln!(f, "step {}: everything is finite", self.step)?,
            Some(o) => writeln!(
                f,
                "step {}: the first output that is not finite is {} of {} at {}, in micro-batch {}: {} of {} elements; the largest of the others is {:e}",
                self.step, o.tensor, o.op, o.label, o.micro_batch, o.count, o.of, o.largest_finite
            )?,
        }
        let (after, own) = (self.params_after, self.step.saturating_sub(1));
        if after != own {
            writeln!(
                f,
                "seen with the parameters after step {after}; those of the step itself were the ones after step {own}"
            )?;
        }
        for (layer, norm) in &self.gradient_norms {
            let norm = norm.map_or("not finite".into(), |x| format!("{x:.3e}"));
            writeln!(f, "  gradient of {layer:<8} {norm}")?;
        }
        Ok(())
    }
}

fn foreign(path: &Path, reason: String) -> RunDirError {
    RunDirError::NoEvidence { path: path.display().to_string(), reason }
}
