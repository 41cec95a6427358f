use crate::exec::{ExecError, Program};
use crate::graph::Phase;
use crate::model::{BatchShape, Gpt, Memory, ModelConfig, Purpose, ReadBack};
use crate::plan::Plan;
use crate::reference::IGNORE;

/// Computes the logits (T, V) after each of some tokens, with the parameters of another program; T is at most the block
/// size.
///
/// # Errors
///
/// A token outside the vocabulary, a plan that doesn't fit, or a device error.
///
/// # Panics
///
/// If there are no tokens, or more than fit the block.
pub fn logits(source: &Program, config: &ModelConfig, tokens: &[u32]) -> Result<Vec<f32>, ExecError> {
    let (t, vocab_size) = (tokens.len() as u64, config.vocab_size);
    assert!(t > 0 && t <= config.block_size, "1 to {} tokens", config.block_size);
    if let Some(&id) = tokens.iter().find(|&&id| u64::from(id) >= vocab_size) {
        return Err(ExecError::Token { id, vocab_size });
    }
    let keep = ReadBack { logits: true, attention: false };
    let gpt = Gpt::build(config, Purpose::Loss, BatchShape::new(1, t), keep, Memory::default())?;
    let (inputs, logits) = (gpt.inputs, gpt.logits.ok_or_else(|| ExecError::NotKept("logits".into()))?);
    let plan = Plan::new(gpt.graph, source.gpu().caps(), &source.plan().choice)?;
    let program = Program::sharing(source, plan)?;
    program.write_u32(inputs.tokens, tokens)?;
    // the loss is computed as well, over no targets
    if let Some(targets) = inputs.targets {
        program.write_u32(targets, &vec![IGNORE; tokens.len()])?;
    }
    program.run(Phase::MicroBatch)?;
    program.read(logits)
}
