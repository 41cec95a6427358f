use std::time::{Duration, Instant};

use super::SessionError;
use super::session_config::check_batch;
use super::write_batch::{check_documents, check_ids, write_batch};
use crate::data::Batch;
use crate::exec::{Program, Readback};
use crate::graph::Phase;
use crate::model::{BatchShape, Gpt, GptInputs, Memory, ModelConfig, Purpose, ReadBack};
use crate::plan::Plan;

/// If a batch takes longer, the next one is not begun before it is done.
const LONG: Duration = Duration::from_millis(500);

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
    /// Creates an evaluator for batches of these rows that shares the parameters of `source`; `memory` sets the
    /// rows of logits held at a time.
    ///
    /// # Errors
    ///
    /// A plan that doesn't fit, or a device error.
    pub fn new(source: &Program, model: &ModelConfig, rows: BatchShape, memory: Memory) -> Result<Self, SessionError> {
        model.validate()?;
        check_batch(model, rows.b, rows.t)?;
        let gpt = Gpt::build(model, Purpose::Loss, rows, ReadBack::default(), memory)?;
        let (inputs, loss) = (gpt.inputs, gpt.loss);
        let program = Program::sharing(source, Plan::new(gpt.graph, source.gpu().caps(), &source.plan().choice)?)?;
        let ring = Readback::new(&program, &loss.into_iter().collect::<Vec<_>>(), 3)?;
        Ok(Self { program, inputs, ring, shape: (rows.b, rows.t), vocab_size: model.vocab_size })
    }

    /// Computes the mean loss in nats over all real targets, and their number; the loss is 0 when there are none.
    ///
    /// # Errors
    ///
    /// A batch that doesn't fit, or a device error.
    pub fn loss(&mut self, batches: impl Iterator<Item = Batch>) -> Result<(f64, u64), SessionError> {
        let whole = self.loss_while(batches, &mut |_| true)?;
        Ok(whole.unwrap_or_default())
    }

    /// The same, but calls `goes_on` before each batch with the number of batches begun; `false` ends the evaluation
    /// with `None`. If a batch takes long, the next one isn't begun before it is done, so that a stop never waits for
    /// several.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::loss`].
    pub fn loss_while(
        &mut self,
        batches: impl Iterator<Item = Batch>,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<(f64, u64)>, SessionError> {
        let (mut sum, mut n_target) = (0.0, 0);
        // the tag is a batch's number of targets; times its mean loss, it gives the sum
        let mut add = |(n, values): (u64, Vec<f32>)| sum += n as f64 * f64::from(values[0]);
        let mut is_left = false;
        let mut begun = Instant::now();
        for (batch, i) in batches.zip(0u64..) {
            if begun.elapsed() >= LONG {
                while let Some(arrived) = self.ring.wait(&self.program)? {
                    add(arrived);
                }
            }
            if !goes_on(i) {
                is_left = true;
                break;
            }
            begun = Instant::now();
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
        Ok((!is_left).then(|| (if n_target == 0 { 0.0 } else { sum / n_target as f64 }, n_target)))
    }
}
