//! Writes a folder for Hugging Face's transformers.
//!
//! Source: `GPT2Config` and the files that `save_pretrained` of transformers 5 writes.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use super::model::Model;
use super::out_file::OutFile;
use crate::files::tensor_file::Writer;
use crate::interop::InteropError;
use crate::model::ModelConfig;

pub(super) const CONFIG: &str = "config.json";
pub(super) const GENERATION: &str = "generation_config.json";
pub(super) const MODEL: &str = "model.safetensors";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// `config.json`. `null` values are written out, because the defaults are GPT-2's ids.
#[derive(Serialize)]
struct Config {
    activation_function: &'static str,
    architectures: [&'static str; 1],
    attn_pdrop: f32,
    bos_token_id: Option<u32>,
    dtype: &'static str,
    embd_pdrop: f32,
    eos_token_id: Option<u32>,
    initializer_range: f32,
    layer_norm_epsilon: f64,
    model_type: &'static str,
    n_ctx: u64,
    n_embd: u64,
    n_head: u64,
    n_inner: Option<u64>,
    n_layer: u64,
    n_positions: u64,
    pad_token_id: Option<u32>,
    reorder_and_upcast_attn: bool,
    resid_pdrop: f32,
    scale_attn_by_inverse_layer_idx: bool,
    scale_attn_weights: bool,
    tie_word_embeddings: bool,
    use_cache: bool,
    vocab_size: u64,
}

/// `generation_config.json`. The other two files limit positions: a `max_length` here would make transformers warn
/// about every `max_new_tokens`.
#[derive(Serialize)]
struct Generation {
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token_id: Option<u32>,
}

#[derive(Serialize)]
struct TokenizerConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token: Option<String>,
    clean_up_tokenization_spaces: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token: Option<String>,
    model_max_length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token: Option<String>,
    tokenizer_class: &'static str,
}

/// Writes the folder's files.
pub(super) fn write(model: &mut Model, folder: &Path) -> Result<(), InteropError> {
    let c = &model.config;
    let (bos, eos, pad) = (model.tokenizer.begin_of_text(), model.tokenizer.end_of_text(), model.tokenizer.pad_id());
    let config = Config {
        activation_function: "gelu_new",
        architectures: ["GPT2LMHeadModel"],
        attn_pdrop: c.dropout,
        bos_token_id: bos,
        dtype: "float32",
        embd_pdrop: c.dropout,
        eos_token_id: eos,
        initializer_range: 0.02,
        layer_norm_epsilon: ModelConfig::EPS,
        model_type: "gpt2",
        n_ctx: c.block_size,
        n_embd: c.n_embd,
        n_head: c.n_head,
        n_inner: None,
        n_layer: c.n_layer,
        n_positions: c.block_size,
        pad_token_id: pad,
        reorder_and_upcast_attn: false,
        resid_pdrop: c.dropout,
        scale_attn_by_inverse_layer_idx: false,
        scale_attn_weights: true,
        tie_word_embeddings: c.tied,
        use_cache: true,
        vocab_size: c.vocab_size,
    };
    let name = |id: Option<u32>| id.and_then(|id| model.tokenizer.special_name(id));
    let tokenizer_config = TokenizerConfig {
        bos_token: name(bos),
        clean_up_tokenization_spaces: false,
        eos_token: name(eos),
        model_max_length: c.block_size,
        pad_token: name(pad),
        tokenizer_class: "PreTrainedTokenizerFast",
    };
    write_json(folder, CONFIG, &config)?;
    let generation = Generation { bos_token_id: bos, eos_token_id: eos, pad_token_id: pad };
    write_json(folder, GENERATION, &generation)?;
    write_json(folder, TOKENIZER_CONFIG, &tokenizer_config)?;
    let mut file = OutFile::create(folder, TOKENIZER)?;
    file.bytes(model.tokenizer.to_exported_json().as_bytes())?;
    file.finish()?;

    let params = model.params();
    let prefixed = |name: &str| match name {
        "lm_head.weight" => name.to_string(),
        _ => format!("transformer.{name}"),
    };
    let entries = params.iter().map(|param| (prefixed(&param.name), param.shape.dims().to_vec())).collect();
    let meta = HashMap::from([("format".to_string(), "pt".to_string())]);
    let mut file = Writer::create(&folder.join(MODEL), &entries, meta)?;
    for param in &params {
        file.write(&model.tensor(param)?)?;
    }
    Ok(file.finish()?)
}

fn write_json(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), InteropError> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_else(|e| panic!("{name} has a JSON form: {e}"));
    text.push('\n');
    let mut file = OutFile::create(folder, name)?;
    file.bytes(text.as_bytes())?;
    Ok(file.finish()?)
}
