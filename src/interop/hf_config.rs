//! `config.json` of a GPT-2 in Hugging Face's format.
//!
//! Source: `GPT2Config` of huggingface/transformers, whose defaults apply to missing keys.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::InteropError;

/// The settings of a model that tril can run.
#[derive(Debug, Clone, PartialEq)]
pub struct HfConfig {
    /// Transformer blocks.
    pub n_layer: u64,
    /// Attention heads.
    pub n_head: u64,
    /// Channels.
    pub n_embd: u64,
    /// Positions, tril's block size.
    pub n_positions: u64,
    /// Rows of the token embedding.
    pub vocab_size: u64,
    /// Whether the output projection shares the token embedding.
    pub tied: bool,
    /// Dropout of embedding, attention and residual, if it is the same for all three.
    pub dropout: Option<f32>,
}

#[derive(Deserialize)]
#[serde(default)]
struct File {
    model_type: String,
    #[serde(alias = "num_hidden_layers")]
    n_layer: u64,
    #[serde(alias = "num_attention_heads")]
    n_head: u64,
    #[serde(alias = "hidden_size")]
    n_embd: u64,
    #[serde(alias = "max_position_embeddings")]
    n_positions: u64,
    vocab_size: u64,
    n_inner: Option<u64>,
    activation_function: String,
    layer_norm_epsilon: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
    is_encoder_decoder: bool,
    tie_word_embeddings: bool,
    resid_pdrop: f64,
    embd_pdrop: f64,
    attn_pdrop: f64,
    quantization_config: Option<Value>,
    auto_map: Option<Value>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            model_type: MODEL_TYPE.into(),
            n_layer: 12,
            n_head: 12,
            n_embd: 768,
            n_positions: 1024,
            vocab_size: 50_257,
            n_inner: None,
            activation_function: GELUS[0].into(),
            layer_norm_epsilon: EPS,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            is_encoder_decoder: false,
            tie_word_embeddings: true,
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            quantization_config: None,
            auto_map: None,
        }
    }
}

const MODEL_TYPE: &str = "gpt2";
const EPS: f64 = 1e-5;
/// Keys of which every such file has at least one.
const SIZES: [&str; 6] = ["model_type", "n_layer", "num_hidden_layers", "n_embd", "hidden_size", "vocab_size"];
/// The names of GELU's tanh form in transformers.
const GELUS: [&str; 4] = ["gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast"];

/// Parses the file's content.
///
/// # Errors
///
/// [`InteropError::Unsupported`] with the first setting that tril's models don't support;
/// [`InteropError::Damaged`] if this isn't such a file.
pub fn parse(path: &Path, json: &[u8]) -> Result<HfConfig, InteropError> {
    let damaged = |reason: String| InteropError::Damaged { path: path.display().to_string(), reason };
    let keys: BTreeMap<String, IgnoredAny> = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    if !SIZES.iter().any(|key| keys.contains_key(*key)) {
        let keys: Vec<_> = keys.into_keys().take(3).collect();
        return Err(damaged(format!("it has no size of a model (n_layer, n_embd, ...), only {keys:?}")));
    }
    let file: File = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    let settings = [
        ("model_type", quoted(&file.model_type), file.model_type == MODEL_TYPE, quoted(MODEL_TYPE)),
        ("auto_map", "custom code".into(), file.auto_map.is_none(), "none".into()),
        ("quantization_config", "a quantization".into(), file.quantization_config.is_none(), "none".into()),
        (
            "activation_function",
            quoted(&file.activation_function),
            GELUS.contains(&file.activation_function.as_str()),
            format!("{} (the tanh form of GELU)", GELUS.map(quoted).join(" or ")),
        ),
        (
            "layer_norm_epsilon",
            file.layer_norm_epsilon.to_string(),
            (file.layer_norm_epsilon - EPS).abs() <= EPS * 1e-6,
            "1e-5".into(),
        ),
        (
            "n_inner",
            file.n_inner.unwrap_or(0).to_string(),
            file.n_inner.is_none_or(|n| Some(n) == file.n_embd.checked_mul(4)),
            "null or 4 n_embd".into(),
        ),
        flag("scale_attn_weights", file.scale_attn_weights, true),
        flag("scale_attn_by_inverse_layer_idx", file.scale_attn_by_inverse_layer_idx, false),
        flag("add_cross_attention", file.add_cross_attention, false),
        flag("is_encoder_decoder", file.is_encoder_decoder, false),
    ];
    if let Some((key, value, _, supported)) = settings.into_iter().find(|(_, _, fits, _)| !fits) {
        return Err(InteropError::Unsupported { path: path.display().to_string(), key: key.into(), value, supported });
    }
    let is_one = file.resid_pdrop == file.embd_pdrop && file.embd_pdrop == file.attn_pdrop;
    Ok(HfConfig {
        n_layer: file.n_layer,
        n_head: file.n_head,
        n_embd: file.n_embd,
        n_positions: file.n_positions,
        vocab_size: file.vocab_size,
        tied: file.tie_word_embeddings,
        dropout: is_one.then_some(file.resid_pdrop as f32),
    })
}

type Setting = (&'static str, String, bool, String);

fn flag(key: &'static str, value: bool, supported: bool) -> Setting {
    (key, value.to_string(), value == supported, supported.to_string())
}

fn quoted(text: impl AsRef<str>) -> String {
    format!("{:?}", text.as_ref())
}
