use super::SessionError;
use super::inputs::{check_documents, check_ids, write_batch};
use super::session_config::check_batch;
use crate::data::Batch;
use crate::exec::{Program, Readback};
use crate::graph::Phase;
use crate::model::{Gpt, GptInputs, Keep, Memory, ModelConfig, Purpose, Rows};
use crate::plan::Plan;

/// Teacher-forced loss over many batches, without dropout, with the parameters of a session.
#[derive(Debug)]
pub struct Evaluator {
    program: Program,
    inputs: GptInputs,
    ring: Readback,
    shape: (u64, u64),
    vocab_size: u64,
}

impl Evaluator {
    /// An evaluator for batches of these rows that shares the parameters of `source`; of `memory` it takes the
    /// rows of logits held at a time.
    ///
    /// # Errors
    ///
    /// A plan that doesn't fit, or a failure of the device.
    pub fn new(source: &Program, model: &ModelConfig, rows: Rows, memory: Memory) -> Result<Self, SessionError> {
        model.validate()?;
        check_batch(model, rows.b, rows.t)?;
        let gpt = Gpt::build(model, Purpose::Loss, rows, Keep::default(), memory)?;
        let (inputs, loss) = (gpt.inputs, gpt.loss);
        let program = Program::sharing(source, Plan::new(gpt.graph, source.gpu().caps(), &source.gpu().choice())?)?;
        let ring = Readback::new(&program, &loss.into_iter().collect::<Vec<_>>(), 3)?;
        Ok(Self { program, inputs, ring, shape: (rows.b, rows.t), vocab_size: model.vocab_size })
    }

    /// Mean loss in nats over all real targets, and how many there were; the loss is 0 when there are none.
    ///
    /// # Errors
    ///
    /// A batch that doesn't fit, or a failure of the device.
    pub fn loss(&mut self, batches: impl Iterator<Item = Batch>) -> Result<(f64, u64), SessionError> {
        let (mut sum, mut n_target) = (0.0, 0);
        // the tag carries a batch's number of targets: its mean loss times that is its sum
        let mut add = |(n, values): (u64, Vec<f32>)| sum += n as f64 * f64::from(values[0]);
        for batch in batches {
            if (batch.b as u64, batch.t as u64) != self.shape {
                return Err(SessionError::BatchShape { expected: self.shape, got: (batch.b, batch.t) });
            }
            check_ids(&batch, self.vocab_size)?;
            check_documents(&batch, &self.inputs)?;
            let n = batch.n_targets();
            n_target += n;
            self.program.begin_step();
            write_batch(&self.program, &self.inputs, &batch, n)?;
            self.ring.run(&self.program, Phase::MicroBatch, n)?.into_iter().for_each(&mut add);
        }
        while let Some(arrived) = self.ring.wait(&self.program)? {
            add(arrived);
        }
        Ok((if n_target == 0 { 0.0 } else { sum / n_target as f64 }, n_target))
    }
}
