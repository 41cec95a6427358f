//! The tokenizer of a model that comes in.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::{DataError, Tokenizer, TokenizerSpec};
use crate::interop::InteropError;
use crate::interop::error::unreadable;
use crate::model::ModelConfig;
use crate::units::count;

/// How a run says that its tokenizer is a file of its own.
const FILE: &str = "tokenizer.json";
/// Ids of GPT-2's encoding.
const GPT2_SIZE: u64 = 50_257;

/// The tokenizer that was asked for, or the one that lies beside a model, or GPT-2's own for a model of its size; and where it
/// is from.
pub(super) fn find(
    folder: &Path,
    path: &Path,
    model: &ModelConfig,
    asked: Option<&TokenizerSpec>,
) -> Result<(Tokenizer, String), InteropError> {
    let vocab_size = model.vocab_size;
    let none = |reason: String| InteropError::NoTokenizer { path: path.display().to_string(), reason, vocab_size };
    let [json, vocab, merges] = [FILE, "vocab.json", "merges.txt"].map(|name| folder.join(name));
    let (tokenizer, from) = match asked {
        Some(TokenizerSpec::Gpt2) => (Tokenizer::gpt2(), "GPT-2".into()),
        Some(TokenizerSpec::Byte) => (Tokenizer::bytes(), "bytes".into()),
        Some(TokenizerSpec::File(path)) => read(path, vocab_size)?,
        Some(other) => {
            return Err(none(format!(
                "--tokenizer {other} is learned from a text, and the model has learned with its own"
            )));
        }
        None if json.exists() => read(&json, vocab_size)?,
        None if vocab.exists() && merges.exists() => {
            let tokenizer = Tokenizer::from_vocab_and_merges(&text(&vocab)?, &text(&merges)?);
            (tokenizer.map_err(|e| at(&vocab, vocab_size, e))?, format!("{} and merges.txt", vocab.display()))
        }
        None if model.vocab_size == GPT2_SIZE => (Tokenizer::gpt2(), "GPT-2, by the size of the vocabulary".into()),
        None => {
            return Err(none(format!(
                "there is no {FILE} beside the model, and its vocabulary of {} is not GPT-2's",
                model.vocab_size
            )));
        }
    };
    let (n, v) = (tokenizer.vocab_size() as u64, model.vocab_size);
    if n > v {
        return Err(none(format!("the tokenizer ({from}) has {}, and the model {v}", count(n, "id"))));
    }
    Ok((tokenizer.recognised(), from))
}

fn text(path: &PathBuf) -> Result<String, InteropError> {
    fs::read_to_string(path).map_err(unreadable(path))
}

fn read(path: &PathBuf, vocab_size: u64) -> Result<(Tokenizer, String), InteropError> {
    let tokenizer = Tokenizer::from_json(&text(path)?).map_err(|e| at(path, vocab_size, e))?;
    Ok((tokenizer, path.display().to_string()))
}

fn at(path: &Path, vocab_size: u64, error: DataError) -> InteropError {
    let reason = match error {
        DataError::BadTokenizer { reason } => format!("not a tokenizer.json ({reason})"),
        other => other.to_string(),
    };
    InteropError::NoTokenizer { path: path.display().to_string(), reason, vocab_size }
}

/// How a run's settings name a tokenizer that came with a model: without a path, so that they don't tell where it was.
pub(super) fn spec(tokenizer: &Tokenizer) -> TokenizerSpec {
    [(Tokenizer::gpt2(), TokenizerSpec::Gpt2), (Tokenizer::bytes(), TokenizerSpec::Byte)]
        .into_iter()
        .find_map(|(other, spec)| (other == *tokenizer).then_some(spec))
        .unwrap_or(TokenizerSpec::File(FILE.into()))
}
