//! The batches saved with the evidence of a step.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::data::Batch;
use crate::run::{RunConfig, RunDirError};
use crate::train::write_batch::check_ids;
use crate::units::count;

/// The step's own micro-batches.
pub(super) const OWN: &str = "batches.json";
/// Those of the steps between the checkpoint and it, if they are few.
pub(super) const BEFORE: &str = "before.json";
/// The maximum number of tokens saved of earlier steps: some 10 MB of JSON.
pub(in crate::train) const MAX_BEFORE: u64 = 1 << 20;

/// A micro-batch in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    b: usize,
    t: usize,
    tokens: Vec<u32>,
    targets: Vec<u32>,
    firsts: Vec<u32>,
}

impl From<&Batch> for Kept {
    fn from(batch: &Batch) -> Self {
        let Batch { b, t, tokens, targets, firsts } = batch.clone();
        Self { b, t, tokens, targets, firsts }
    }
}

/// Serializes a step's micro-batches.
pub(super) fn to_json(batches: &[Batch]) -> String {
    json(&batches.iter().map(Kept::from).collect::<Vec<_>>())
}

/// Serializes those of several steps.
pub(super) fn all_to_json(steps: &[Vec<Batch>]) -> String {
    json(&steps.iter().map(|step| step.iter().map(Kept::from).collect()).collect::<Vec<Vec<_>>>())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| panic!("batches have a JSON form: {e}"))
}

/// The checksum of a file's contents.
pub(super) fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

impl Evidence {
    /// Reads the micro-batches of the step itself from a folder of a run with these settings.
    ///
    /// # Errors
    ///
    /// A file that is missing, was changed, or doesn't fit the run.
    pub fn batches(&self, folder: &Path, config: &RunConfig) -> Result<Vec<Batch>, RunDirError> {
        let step: Vec<Kept> = self.file(folder, OWN)?;
        checked(step, config).map_err(|reason| damaged(folder, OWN, reason))
    }

    /// Reads the micro-batches of the `n` steps between the checkpoint and it; `None` if they weren't saved.
    ///
    /// # Errors
    ///
    /// As [`Evidence::batches`].
    pub fn batches_before(
        &self,
        folder: &Path,
        n: u64,
        config: &RunConfig,
    ) -> Result<Option<Vec<Vec<Batch>>>, RunDirError> {
        if !self.checksums.contains_key(BEFORE) {
            return Ok((n == 0).then(Vec::new));
        }
        let steps: Vec<Vec<Kept>> = self.file(folder, BEFORE)?;
        if steps.len() as u64 != n {
            return Err(damaged(folder, BEFORE, format!("it has {}, not {n}", count(steps.len(), "step"))));
        }
        let steps: Result<Vec<_>, _> = steps.into_iter().map(|step| checked(step, config)).collect();
        steps.map(Some).map_err(|reason| damaged(folder, BEFORE, reason))
    }

    fn file<T: DeserializeOwned>(&self, folder: &Path, name: &str) -> Result<T, RunDirError> {
        let text = fs::read_to_string(folder.join(name)).map_err(|e| damaged(folder, name, e.to_string()))?;
        match self.checksums.get(name) {
            Some(expected) if *expected != checksum(&text) => Err(damaged(
                folder,
                name,
                "it was changed or truncated: the checksum in report.json does not match".into(),
            )),
            _ => serde_json::from_str(&text).map_err(|e| damaged(folder, name, e.to_string())),
        }
    }
}

/// Checks that the micro-batches fit the run.
fn checked(step: Vec<Kept>, config: &RunConfig) -> Result<Vec<Batch>, String> {
    let train = &config.train;
    if step.len() as u64 != train.grad_accum {
        return Err(format!(
            "a step in it has {}, but the run's have {}",
            count(step.len(), "micro-batch"),
            train.grad_accum
        ));
    }
    let one = |Kept { b, t, tokens, targets, firsts }: Kept| {
        let (rows, row) = (train.batch_size, config.row_size());
        let n = b.checked_mul(t).filter(|_| (b as u64, t as u64) == (rows, row));
        let is_whole = |ids: &[u32]| n == Some(ids.len());
        if !(is_whole(&tokens) && is_whole(&targets) && (firsts.is_empty() || is_whole(&firsts))) {
            return Err(format!("a batch in it does not have {} of {row}, as the run's do", count(rows, "row")));
        }
        if firsts.iter().enumerate().any(|(at, &first)| first as usize > at % t) {
            return Err("a document in it begins after its own token".into());
        }
        let batch = Batch { tokens, targets, firsts, b, t };
        check_ids(&batch, config.model.vocab_size).map_err(|e| e.to_string())?;
        Ok(batch)
    };
    step.into_iter().map(one).collect()
}

pub(super) fn damaged(folder: &Path, name: &str, reason: String) -> RunDirError {
    RunDirError::DamagedEvidence { path: folder.join(name).display().to_string(), reason }
}
