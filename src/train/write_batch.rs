//! Checks and uploads each micro-batch.

use std::borrow::Cow;

use super::SessionError;
use crate::data::Batch;
use crate::exec::{ExecError, Program};
use crate::model::GptInputs;
use crate::ops::{document_places, document_spans, sorted_positions};
use crate::reference::IGNORE;
use crate::tensor::TensorId;

/// Fails on an id outside the vocabulary.
pub(super) fn check_ids(batch: &Batch, vocab_size: u64) -> Result<(), SessionError> {
    let bad = |what, ids: &[u32], ignore| {
        let found = ids.iter().position(|&id| u64::from(id) >= vocab_size && !(ignore && id == IGNORE));
        found.map(|index| SessionError::Token { what, id: ids[index], index, vocab_size })
    };
    bad("token", &batch.tokens, false).or_else(|| bad("target", &batch.targets, true)).map_or(Ok(()), Err)
}

/// Fails on documents that a graph doesn't support, or that aren't contiguous.
pub(super) fn check_documents(batch: &Batch, inputs: &GptInputs) -> Result<(), SessionError> {
    if batch.firsts.is_empty() {
        return Ok(());
    }
    if inputs.spans.is_none() {
        return Err(SessionError::NoMask);
    }
    let expected = (batch.b as u64, batch.t as u64);
    if batch.firsts.len() != batch.b * batch.t {
        return Err(SessionError::BatchShape { expected, got: (1, batch.firsts.len()) });
    }
    let begins_or_goes_on = |index: usize, first: u32| {
        let column = index % batch.t;
        first as usize == column || column > 0 && first == batch.firsts[index - 1]
    };
    let wrong = batch.firsts.iter().enumerate().find(|&(index, &first)| !begins_or_goes_on(index, first));
    wrong.map_or(Ok(()), |(index, &first)| Err(SessionError::First { first, index }))
}

/// The first position of each position's document: of its row, if the batch has no documents.
fn firsts(batch: &Batch) -> Cow<'_, [u32]> {
    if batch.firsts.is_empty() { Cow::Owned(vec![0; batch.tokens.len()]) } else { Cow::Borrowed(&batch.firsts) }
}

/// The integer inputs of a batch, as far as a graph uses them: tokens, documents, sorted indices of both, and targets.
pub(crate) fn batch_words<'a>(inputs: &GptInputs, batch: &'a Batch) -> Vec<(TensorId, Cow<'a, [u32]>)> {
    let sorted_places = || sorted_positions(&document_places(&firsts(batch), batch.t));
    let of = |input: Option<TensorId>, words: &dyn Fn() -> Cow<'a, [u32]>| input.map(|input| (input, words()));
    let words = [
        of(Some(inputs.tokens), &|| Cow::Borrowed(&batch.tokens)),
        of(inputs.spans, &|| Cow::Owned(document_spans(&firsts(batch), batch.t))),
        of(inputs.sorted, &|| Cow::Owned(sorted_positions(&batch.tokens))),
        of(inputs.sorted_places, &|| Cow::Owned(sorted_places())),
        of(inputs.targets, &|| Cow::Borrowed(&batch.targets)),
    ];
    words.into_iter().flatten().collect()
}

/// The factor of each target's loss in a step of `n_target` real ones; 0 if there are none.
pub(crate) fn loss_scale(n_target: u64) -> f64 {
    if n_target == 0 { 0.0 } else { 1.0 / n_target as f64 }
}

/// Writes a batch's words, and the loss scale.
pub(super) fn write_batch(
    program: &Program,
    inputs: &GptInputs,
    batch: &Batch,
    n_target: u64,
) -> Result<(), ExecError> {
    for (input, words) in batch_words(inputs, batch) {
        program.write_u32(input, &words)?;
    }
    match inputs.loss_scale {
        Some(scale) => program.write(scale, &[loss_scale(n_target) as f32]),
        None => Ok(()),
    }
}
