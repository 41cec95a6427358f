//! The small models of other programs in `assets/interop/models`, and what transformers computes with them.

use std::path::{Path, PathBuf};

use tril::data::TokenizerSpec;
use tril::interop::import::{ImportOptions, Imported, import};

use super::golden::Golden;

/// Name, path in the folder, and whether its tokenizer has to be named: bytes, then.
pub const MODELS: [(&str, &str, bool); 9] = [
    ("hf_f32", "hf_f32", false),
    ("hf_old_f16", "hf_old_f16", false),
    ("hf_bf16_sharded", "hf_bf16_sharded", false),
    ("hf_untied", "hf_untied", true),
    ("llmc_f32", "llmc_f32.bin", true),
    ("llmc_bf16", "llmc_bf16.bin", true),
    ("nanogpt", "nanogpt/out/ckpt.pt", false),
    ("torch_old", "torch_old", false),
    ("torch_views", "torch_views.pt", true),
];

/// Where the models are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/interop/models")
}

/// Tokens and logits by model.
pub fn logits() -> Golden {
    Golden::read(&folder().join("logits.safetensors"))
}

/// What a model needs to be told.
pub fn options(bytes: bool) -> ImportOptions {
    ImportOptions { tokenizer: bytes.then_some(TokenizerSpec::Byte), ..ImportOptions::default() }
}

/// Imports a model of this folder.
#[allow(dead_code, reason = "each test binary uses its own part of this")]
pub fn imported(path: &str, bytes: bool, run: &Path) -> Imported {
    import(&folder().join(path), run, &options(bytes)).unwrap_or_else(|e| panic!("{path}: {e}"))
}
