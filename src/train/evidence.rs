//! Evidence of a step with a non-finite loss or gradients: enough to locate the cause, and to replay the step.

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

/// The folder of a run with its evidence, a folder for each step.
pub const FOLDER: &str = "nonfinite";
/// The maximum number of steps that a run keeps evidence of.
const MAX_STEPS: usize = 5;
const REPORT: &str = "report.json";

/// The first output that isn't finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The index of its micro-batch.
    pub micro_batch: usize,
    /// The op's place in the model, such as `h.3.ln_1`; with a leading `d` in the backward pass.
    pub label: String,
    /// The op.
    pub op: String,
    /// The tensor that it wrote.
    pub tensor: String,
    /// The number of elements that aren't finite.
    pub count: u64,
    /// The number of elements.
    pub of: u64,
    /// The largest magnitude of the finite elements.
    pub largest_finite: f32,
}

/// The evidence of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The step, counted from 1.
    pub step: u64,
    /// The step whose parameters were used for this: the step itself uses those after `step - 1`. Later steps are
    /// already in flight when one turns out not to be finite, and may have changed them; a replay uses the original
    /// ones.
    pub params_after: u64,
    /// The first non-finite output in execution order; `None` if everything was finite this time.
    pub first: Option<Origin>,
    /// The norm of each layer's gradients; `None` if it isn't finite.
    pub gradient_norms: Vec<(String, Option<f64>)>,
    /// The command that replays the step.
    pub replay: String,
    /// CRC-32 of the batch files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checksums: BTreeMap<String, String>,
    /// CRC-32 of the report without this field; empty in older reports.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub crc32: String,
}

/// The batches needed to replay a step.
pub(super) struct Batches {
    /// The step's micro-batches.
    pub own: Vec<Batch>,
    /// Those of each step between the checkpoint and it; empty if they are too many to keep.
    pub before: Vec<Vec<Batch>>,
}

impl Evidence {
    /// Examines a step of an idle session: runs forward and backward again, node by node, with the
    /// step's dropout. Parameters and optimizer state stay unchanged.
    ///
    /// # Errors
    ///
    /// A batch that doesn't fit, or a device error.
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
                    // scratch may hold remains of other ops
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

    /// Reads the evidence in a folder.
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
            return Err(batches::damaged(folder, REPORT, "it was changed: its checksum does not match".into()));
        }
        Ok(read)
    }

    fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|e| panic!("evidence has a JSON form: {e}")) + "\n"
    }

    /// Saves the evidence in a run's directory with the batches and the checkpoint needed for a replay, next to any
    /// evidence of the same step with another batch, which exists after a rollback.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub(super) fn keep(mut self, dir: &RunDir, batches: &Batches, from: u64) -> Result<Option<PathBuf>, RunDirError> {
        let all = dir.path(FOLDER);
        if fs::read_dir(&all).is_ok_and(|entries| entries.count() >= MAX_STEPS) {
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
        // as a hard link if the file system has them
        let (state, copy) = (checkpoint::folder(dir, from).join(checkpoint::STATE), path.join(checkpoint::STATE));
        let _ = fs::remove_file(&copy);
        fs::hard_link(&state, &copy).or_else(|_| fs::copy(&state, &copy).map(|_| ())).map_err(io_error(&copy))?;
        self.crc32 = batches::checksum(&self.to_json());
        // written last, so that its presence means completeness
        write(REPORT, &self.to_json())?;
        Ok(Some(path))
    }

    /// The folder of its step, numbered if that already has other evidence.
    fn free_folder(&self, all: &Path) -> PathBuf {
        let first = all.join(format!("step-{:08}", self.step));
        let more = (2u32..).map(|n| all.join(format!("step-{:08}-{n}", self.step)));
        let is_free = |path: &PathBuf| Self::read(path).map_or(true, |other| other.checksums == self.checksums);
        std::iter::once(first.clone()).chain(more).find(is_free).unwrap_or(first)
    }
}

/// Gradient norms by layer, in the order of the model: `wte`, `h.0`, ... .
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
                "examined with the parameters after step {after}; the step itself used those after step {own}"
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
