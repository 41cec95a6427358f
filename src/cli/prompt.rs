//! Encodes a prompt.

use std::error::Error;

use super::misuse::misuse;
use crate::data::Tokenizer;

/// Encodes a prompt, and warns if the tokenizer doesn't know some of it.
///
/// # Errors
///
/// A usage error: a character outside the vocabulary.
pub(super) fn encode(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>, Box<dyn Error>> {
    let ids = tokenizer.encode(prompt).map_err(|error| misuse(format!("--prompt: {error}")))?;
    let unknown = tokenizer.unknown_id().filter(|id| ids.contains(id)).and_then(|id| tokenizer.name_of(id));
    if let Some(name) = unknown {
        errln!("warning: the tokenizer doesn't know all of the prompt; the model sees {name} instead");
    }
    Ok(ids)
}
