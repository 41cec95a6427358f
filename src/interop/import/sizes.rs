//! Derives the model from its files.

use std::collections::HashSet;
use std::path::Path;

use super::super::hf_config::{self, HfConfig};
use super::super::mistaken;
use super::super::tensors::Tensors;
use super::{InteropError, not_a_model, refuse_other_heads};
use crate::model::{ModelConfig, Positions};
use crate::units::count;

const WTE: &str = "wte.weight";
const HEAD: &str = "lm_head.weight";

/// Derives the model of some tensors, checking that all are there and of its shapes: from `config.json`, if there is
/// one.
pub(super) fn of(
    tensors: &mut Tensors,
    (path, config): (&Path, Option<&Path>),
    n_head: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<ModelConfig, InteropError> {
    // most models tie the two, and then a file may have the tensor under either name
    let has_wte = tensors.has(WTE);
    let config = match config {
        Some(path) => Some((path, hf_config::parse(path, &mistaken::read_small(path)?)?)),
        None => None,
    };
    if config.as_ref().is_none_or(|(_, config)| config.tied) {
        tensors.alias(WTE, HEAD);
    }
    let model = match config {
        Some((path, config)) => configured(tensors, (path, &config), n_head, notes)?,
        None => derived(tensors, path, n_head, notes)?,
    };
    check(path, tensors, &model)?;
    if model.param_shapes().iter().any(|(name, _)| tensors.is_rounded(name)) {
        notes.push("its F64 weights were rounded to F32".into());
    }
    if !has_wte && model.tied {
        notes.push("the token embedding is stored as lm_head.weight, the output projection it is tied to".into());
    }
    if tensors.by_output {
        notes.push(
            "its matrices are stored like nanoGPT's; if it uses the exact GELU, like nanoGPT, logits differ a \
             little: tril's is the tanh form, GPT-2's"
                .into(),
        );
    }
    Ok(model)
}

/// Whether there are biases in linear layers or norms.
fn has_bias(tensors: &Tensors) -> bool {
    tensors.names().any(|name| name.ends_with(".bias") && !is_buffer(name))
}

/// Derives the model from a `config.json`.
fn configured(
    tensors: &Tensors,
    (path, config): (&Path, &HfConfig),
    n_head: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<ModelConfig, InteropError> {
    refuse_other_heads(path, n_head, config.n_head)?;
    let model = ModelConfig {
        n_layer: config.n_layer,
        n_head: config.n_head,
        n_embd: config.n_embd,
        block_size: config.n_positions,
        vocab_size: config.vocab_size,
        bias: has_bias(tensors),
        tied: true,
        positions: Positions::Learned,
        dropout: config.dropout.unwrap_or(0.0),
    };
    if config.dropout.is_none() {
        notes.push("dropout is 0: resid_pdrop, embd_pdrop and attn_pdrop differ, but tril has one for all; set it with train --dropout".into());
    }
    model.validate().map_err(|e| not_a_model(path, format!("{e}")))?;
    let dims = [model.vocab_size, model.n_embd];
    let tied = match (config.tied, tensors.has(HEAD)) {
        (true, false) => true,
        (false, true) => false,
        (false, false) => {
            return Err(tensors
                .wrong(HEAD, "is missing, though tie_word_embeddings is false; download the complete model again"));
        }
        (true, true) => {
            tensors.check(WTE, &dims)?;
            if !tensors.equal(HEAD, WTE, &dims)? {
                return Err(tensors.wrong(HEAD, "differs from wte.weight, though config.json ties them; set tie_word_embeddings to false there to keep it"));
            }
            true
        }
    };
    Ok(ModelConfig { tied, ..model })
}

/// Derives the model from the tensors themselves, and the settings next to them.
fn derived(
    tensors: &Tensors,
    path: &Path,
    n_head: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<ModelConfig, InteropError> {
    let size = |name: &str| match tensors.shape(name)?[..] {
        [rows, columns] => Ok((rows, columns)),
        ref other => Err(tensors.wrong(name, format!("has the shape {other:?}, but must have two dimensions"))),
    };
    let settings = tensors.settings.clone().unwrap_or_default();
    let said = tensors.n_head.or_else(|| settings.sizes.get("n_head").copied());
    if let Some(said) = said {
        refuse_other_heads(path, n_head, said)?;
    }
    let ((vocab_size, n_embd), (block_size, _)) = (size(WTE)?, size("wpe.weight")?);
    let layer = |name: &str| name.strip_prefix("h.")?.split_once('.')?.0.parse::<u64>().ok();
    let n_layer = tensors.names().filter_map(layer).max().map_or(0, |last| last.saturating_add(1));
    let model = ModelConfig {
        n_layer,
        n_head: said.or(n_head).ok_or_else(|| InteropError::NoHeads { path: path.display().to_string() })?,
        n_embd,
        block_size,
        vocab_size,
        bias: has_bias(tensors),
        tied: true,
        positions: Positions::Learned,
        dropout: settings.dropout.unwrap_or(0.0),
    };
    model.validate().map_err(|e| not_a_model(path, format!("{e}")))?;
    let sizes = [("n_layer", n_layer), ("n_embd", n_embd), ("block_size", block_size), ("vocab_size", vocab_size)];
    for (name, there) in sizes {
        if let Some(said) = settings.sizes.get(name).filter(|&&said| said != there) {
            let reason = format!("its settings say {name} = {said}, but its tensors {there}; save both from one model");
            return Err(not_a_model(path, reason));
        }
    }
    let tied = !tensors.has(HEAD) || tensors.equal(HEAD, WTE, &[vocab_size, n_embd])?;
    if !tied {
        notes.push("the output projection, lm_head.weight, is not the token embedding: the model is untied".into());
    }
    Ok(ModelConfig { tied, ..model })
}

/// The causal mask and its fill value, which old files store with the weights.
fn is_buffer(name: &str) -> bool {
    let kind = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')).map_or("", |(_, kind)| kind);
    kind == "attn.bias" || kind == "attn.masked_bias"
}

/// Fails on tensors that are missing, have another shape, or don't belong to the model.
fn check(path: &Path, tensors: &Tensors, model: &ModelConfig) -> Result<(), InteropError> {
    let params = model.param_shapes();
    let missing: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).filter(|name| !tensors.has(name)).collect();
    let are_biases = missing.iter().all(|name| name.ends_with(".bias"));
    match missing[..] {
        [] => {}
        [first, ref more @ ..] if are_biases => {
            let more = match more.len() {
                0 => String::new(),
                n => format!(", and so are {n} more, from {} on", tensors.name_there(more[0])),
            };
            let reason =
                format!("is missing{more}: a model has all biases or none; add zeros for these, or leave out all");
            return Err(tensors.wrong(first, reason));
        }
        [first, ..] => return Err(tensors.missing(first)),
    }
    params.iter().try_for_each(|(name, dims)| tensors.check(name, dims))?;
    let known: HashSet<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
    let is_known = |name: &str| known.contains(name) || is_buffer(name) || name == HEAD && model.tied;
    match tensors.names().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(tensors.wrong(
            name,
            format!(
                "does not belong to a GPT-2 with {}; {} must hold exactly that model",
                count(model.n_layer, "layer"),
                path.display()
            ),
        )),
    }
}
