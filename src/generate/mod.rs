//! Generates text with a model, token by token.

mod decoder;
mod free_run;
mod loaded;
mod logits;
mod sampler;

pub use decoder::Decoder;
pub use free_run::{FreeRun, free_run};
pub use loaded::LoadedModel;
pub use logits::logits;
pub use sampler::{Sampler, SamplerConfig};

use std::collections::BTreeMap;

use crate::exec::{ExecError, Program};
use crate::graph::Phase;
use crate::model::{BatchShape, Gpt, GptInputs, Memory, ModelConfig, Purpose, ReadBack};
use crate::plan::Plan;
use crate::tensor::TensorId;

/// Computes next-token logits for several rows at once with the parameters of another program, without a cache: slow,
/// and the reference for testing [`Decoder`].
///
/// Each new token runs the model over the whole context again, in a graph of the smallest length (a power of two, or
/// the block size) that holds it. Beyond the block size the window slides: only the last `block_size` tokens are seen,
/// at positions counted from the window's start.
#[derive(Debug)]
pub struct Generator {
    config: ModelConfig,
    n_row: usize,
    /// Programs by context length.
    programs: BTreeMap<u64, (Program, GptInputs, TensorId)>,
}

/// The shortest graph that is worth compiling.
const MIN_CONTEXT: u64 = 16;

impl Generator {
    /// Creates a generator of `n_row` rows.
    pub fn new(config: &ModelConfig, n_row: usize) -> Self {
        Self { config: config.clone(), n_row: n_row.max(1), programs: BTreeMap::new() }
    }

    /// The rows of one call.
    pub fn n_row(&self) -> usize {
        self.n_row
    }

    /// Computes the logits (V) of the token after each context, with the current parameters of `source`.
    ///
    /// # Errors
    ///
    /// A device error, or a plan that doesn't fit.
    ///
    /// # Panics
    ///
    /// If a context is empty, or there are more contexts than rows.
    pub fn next_logits(&mut self, source: &Program, contexts: &[&[u32]]) -> Result<Vec<Vec<f32>>, ExecError> {
        assert!(
            contexts.len() <= self.n_row && contexts.iter().all(|c| !c.is_empty()),
            "one to {} contexts",
            self.n_row
        );
        let block = usize::try_from(self.config.block_size).unwrap_or(usize::MAX);
        let windows: Vec<&[u32]> = contexts.iter().map(|c| &c[c.len().saturating_sub(block)..]).collect();
        let longest = windows.iter().map(|w| w.len()).max().unwrap_or(1) as u64;
        let t = longest.next_power_of_two().max(MIN_CONTEXT).min(self.config.block_size);
        let n_row = self.n_row;
        let vocab_size = self.config.vocab_size;
        if let Some(&id) = windows.iter().flat_map(|w| w.iter()).find(|&&id| u64::from(id) >= vocab_size) {
            return Err(ExecError::Token { id, vocab_size });
        }
        if !self.programs.get(&t).is_some_and(|(program, _, _)| program.shares_params(source)) {
            let gpt = Gpt::build(
                &self.config,
                Purpose::Next,
                BatchShape::new(n_row as u64, t),
                ReadBack::default(),
                Memory::default(),
            )?;
            let logits = gpt.logits.ok_or_else(|| ExecError::NotKept("logits".into()))?;
            let inputs = gpt.inputs;
            let plan = Plan::new(gpt.graph, source.gpu().caps(), &source.plan().choice)?;
            self.programs.insert(t, (Program::sharing(source, plan)?, inputs, logits));
        }
        let (program, inputs, logits) = &self.programs[&t];
        let t = t as usize;
        let mut tokens = vec![0; n_row * t];
        let mut rows = vec![0; n_row];
        for (row, window) in windows.iter().enumerate() {
            // what follows the last token is never seen: the mask is causal
            tokens[row * t..row * t + window.len()].copy_from_slice(window);
            rows[row] = u32::try_from(row * t + window.len() - 1).unwrap_or(u32::MAX);
        }
        program.write_u32(inputs.tokens, &tokens)?;
        if let Some(input) = inputs.rows {
            program.write_u32(input, &rows)?;
        }
        program.run(Phase::MicroBatch)?;
        let vocab = self.config.vocab_size as usize;
        Ok(program.read(*logits)?.chunks(vocab).take(contexts.len()).map(<[f32]>::to_vec).collect())
    }
}
