//! Finds the tokenizer of an imported model.

use std::path::{Component, Path, PathBuf};

use crate::data::tokens::tokenizer_of_meta;
use crate::data::{DataError, Tokenizer, TokenizerSpec};
use crate::interop::InteropError;
use crate::interop::mistaken::{read_small, read_text};
use crate::model::ModelConfig;
use crate::units::count;

/// The name of a run's own tokenizer file in its settings.
const FILE: &str = "tokenizer.json";
/// The tokenizer file of nanoGPT's data sets.
const META: &str = "meta.pkl";
/// The size of GPT-2's vocabulary.
const GPT2_SIZE: u64 = 50_257;
/// The same padded to a multiple of 64, as nanoGPT does.
const GPT2_PADDED: u64 = 50_304;

/// Where a tokenizer may be found.
pub(super) struct Beside<'a> {
    /// The folder of the model.
    pub folder: &'a Path,
    /// The model.
    pub path: &'a Path,
    /// The nanoGPT data set that the model was trained on, if recorded.
    pub dataset: Option<&'a str>,
}

impl Beside<'_> {
    /// The `meta.pkl` of nanoGPT's data set, relative to the model's place in nanoGPT's folder.
    fn meta(&self) -> Option<PathBuf> {
        let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
        let dataset = self.dataset.map(Path::new).filter(|name| name.components().all(is_name))?;
        let place = |root: &Path| root.join("data").join(dataset).join(META);
        let roots = [self.folder.join(".."), self.folder.into()];
        roots.iter().map(|root| place(root)).chain([self.folder.join(META)]).find(|meta| meta.is_file())
    }
}

/// Finds the requested tokenizer, or the one next to a model, or GPT-2's own for a model of its size; also returns its
/// origin.
pub(super) fn find(
    beside: &Beside<'_>,
    model: &ModelConfig,
    asked: Option<&TokenizerSpec>,
) -> Result<(Tokenizer, String), InteropError> {
    let vocab_size = model.vocab_size;
    let none =
        |reason: String| InteropError::NoTokenizer { path: beside.path.display().to_string(), reason, vocab_size };
    let [json, vocab, merges] = [FILE, "vocab.json", "merges.txt"].map(|name| beside.folder.join(name));
    let (tokenizer, from) = match (asked, beside.meta()) {
        (Some(TokenizerSpec::Gpt2), _) => (Tokenizer::gpt2(), "GPT-2".into()),
        (Some(TokenizerSpec::Byte), _) => (Tokenizer::bytes(), "bytes".into()),
        (Some(TokenizerSpec::File(path)), _) => read(path, vocab_size)?,
        (Some(other), _) => {
            return Err(none(format!(
                "--tokenizer {other} is learned from a text, but the model already has its own tokenizer"
            )));
        }
        (None, _) if json.exists() => read(&json, vocab_size)?,
        (None, _) if vocab.exists() && merges.exists() => {
            let tokenizer = Tokenizer::from_vocab_and_merges(&read_text(&vocab)?, &read_text(&merges)?);
            (tokenizer.map_err(|e| at(&vocab, vocab_size, e))?, format!("{} and merges.txt", vocab.display()))
        }
        (None, Some(meta)) => read(&meta, vocab_size)?,
        (None, None) if vocab_size == GPT2_SIZE || beside.dataset.is_some() && vocab_size == GPT2_PADDED => {
            (Tokenizer::gpt2(), "GPT-2, by the size of the vocabulary".into())
        }
        (None, None) => return Err(none(nowhere(beside, vocab_size))),
    };
    let (n, v) = (tokenizer.vocab_size() as u64, vocab_size);
    if n > v {
        return Err(none(format!("the tokenizer ({from}) has {}, but the model has {v}", count(n, "id"))));
    }
    Ok((tokenizer.recognised(), from))
}

fn nowhere(beside: &Beside<'_>, vocab_size: u64) -> String {
    match beside.dataset {
        Some(dataset) => format!(
            "nanoGPT keeps a tokenizer with the data: for a vocabulary of {vocab_size} it is data/{dataset}/{META}, which is \
             not there"
        ),
        None => format!("there is no {FILE} next to the model, and its vocabulary of {vocab_size} is not GPT-2's"),
    }
}

fn read(path: &Path, vocab_size: u64) -> Result<(Tokenizer, String), InteropError> {
    if path.extension().is_some_and(|e| e == "pkl") {
        let reason = |reason| InteropError::NoTokenizer { path: path.display().to_string(), reason, vocab_size };
        return Ok((tokenizer_of_meta(&read_small(path)?).map_err(reason)?, path.display().to_string()));
    }
    let tokenizer = Tokenizer::from_json(&read_text(path)?).map_err(|e| at(path, vocab_size, e))?;
    Ok((tokenizer, path.display().to_string()))
}

fn at(path: &Path, vocab_size: u64, error: DataError) -> InteropError {
    let reason = match error {
        DataError::BadTokenizer { reason } => format!("not a tokenizer.json ({reason})"),
        other => other.to_string(),
    };
    InteropError::NoTokenizer { path: path.display().to_string(), reason, vocab_size }
}

/// The spec of a tokenizer that came with a model: without a path, so that settings don't reveal where it was.
pub(super) fn spec(tokenizer: &Tokenizer) -> TokenizerSpec {
    [(Tokenizer::gpt2(), TokenizerSpec::Gpt2), (Tokenizer::bytes(), TokenizerSpec::Byte)]
        .into_iter()
        .find_map(|(other, spec)| (other == *tokenizer).then_some(spec))
        .unwrap_or(TokenizerSpec::File(FILE.into()))
}
