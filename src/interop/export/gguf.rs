//! `model.gguf` for llama.cpp, with f32 weights.
//!
//! Source: llama.cpp's `gguf.h`, the tensor names and keys of its architecture `gpt2`, and its reader of vocabularies.

use std::path::Path;

use super::model::{Model, elems};
use super::out_file::OutFile;
use crate::data::tokenizer::{ByteLevel, ListedToken, TokenKind};
use crate::interop::InteropError;
use crate::model::{ModelConfig, Positions};
use crate::tensor::{Layout, ParamSpec};

pub(super) const MODEL: &str = "model.gguf";

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
/// The alignment of the data and of each tensor in it.
const ALIGNMENT: u64 = 32;
/// The type number of f32, also for files that have no other type.
const F32: u32 = 0;

/// The name of the end-of-text token if a tokenizer has none.
const END: &str = "<|endoftext|>";

/// GPT-2's names of a layer's tensors, and llama.cpp's.
const LAYER: [(&str, &str); 6] = [
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];

/// Checks that the format can represent the model.
pub(super) fn check(model: &Model) -> Result<(), InteropError> {
    let refuse = |reason, instead| Err(InteropError::Inexpressible { format: "GGUF", reason, instead });
    if model.config.positions == Positions::Sinusoidal {
        let reason = "its positions are sinusoidal, but llama.cpp's gpt2 has learned ones".into();
        return refuse(reason, "use --to hf, which writes them as a table, or train with --positions learned");
    }
    match model.tokenizer.byte_level() {
        Err(reason) => refuse(reason, "use --to hf, or train with --tokenizer byte, gpt2 or bpe:SIZE"),
        Ok(_) => Ok(()),
    }
}

/// Writes the folder's file.
pub(super) fn write(model: &mut Model, folder: &Path) -> Result<(), InteropError> {
    let reason = |reason| InteropError::Inexpressible { format: "GGUF", reason, instead: "use --to hf" };
    let mut vocabulary = model.tokenizer.byte_level().map_err(reason)?;
    // other programs' models may pad their vocabulary
    for id in vocabulary.tokens.len() as u64..model.config.vocab_size {
        vocabulary.tokens.push(ListedToken::unused(id));
    }
    // without an end-of-text token, llama.cpp would take token 11 for it and stop there
    let has_end = model.tokenizer.end_of_text().is_some();
    if !has_end {
        vocabulary.tokens.push(ListedToken { text: END.into(), kind: TokenKind::Special });
    }
    let n_vocab = vocabulary.tokens.len() as u64;

    let mut head = Head::default();
    describe(&mut head, model, &vocabulary);
    let params = model.params();
    let widened = |param: &ParamSpec| match (&param.name[..], param.shape.dims(), param.layout) {
        ("wte.weight" | "lm_head.weight", &[_, c], _) => vec![n_vocab, c],
        (_, &[n_in, n_out], Layout::InOut) => vec![n_out, n_in],
        (_, dims, _) => dims.to_vec(),
    };
    let tensors: Vec<_> = params.iter().map(|param| (llama_name(&param.name), widened(param))).collect();
    let head = head.finish(&tensors);

    let mut file = OutFile::create(folder, MODEL)?;
    file.bytes(&head)?;
    for param in &params {
        let mut values = model.tensor_by_output(param)?;
        if widened(param).iter().product::<u64>() > param.shape.numel() {
            values.extend(mean_row(&values, param.shape.n_col() as usize));
        }
        file.floats(&values)?;
        file.bytes(&vec![0; padding(4 * values.len() as u64)])?;
    }
    Ok(file.finish()?)
}

/// The mean of a table's rows. As output weights it gives the mean of the other logits: never the largest of them.
fn mean_row(table: &[f32], n_col: usize) -> Vec<f32> {
    let n_row = (table.len() / n_col) as f64;
    let sum = |col: usize| table[col..].iter().step_by(n_col).map(|&x| f64::from(x)).sum::<f64>();
    (0..n_col).map(|col| (sum(col) / n_row) as f32).collect()
}

fn llama_name(name: &str) -> String {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    let stem = match stem {
        "wte" => "token_embd".into(),
        "wpe" => "position_embd".into(),
        "ln_f" => "output_norm".into(),
        "lm_head" => "output".into(),
        _ => {
            let (layer, part) = stem.trim_start_matches("h.").split_once('.').unwrap_or(("", stem));
            let part = LAYER.iter().find(|(ours, _)| *ours == part).map_or(part, |(_, theirs)| theirs);
            format!("blk.{layer}.{part}")
        }
    };
    format!("{stem}.{kind}")
}

/// Writes the keys.
fn describe(head: &mut Head, model: &Model, vocabulary: &ByteLevel) {
    let (c, tokenizer) = (&model.config, &model.tokenizer);
    head.text("general.architecture", "gpt2");
    head.text("general.type", "model");
    head.u32("general.file_type", F32);
    head.u32("gpt2.context_length", word(c.block_size));
    head.u32("gpt2.embedding_length", word(c.n_embd));
    head.u32("gpt2.feed_forward_length", word(4 * c.n_embd));
    head.u32("gpt2.block_count", word(c.n_layer));
    head.u32("gpt2.attention.head_count", word(c.n_head));
    head.f32("gpt2.attention.layer_norm_epsilon", ModelConfig::EPS as f32);
    head.text("tokenizer.ggml.model", "gpt2");
    head.text("tokenizer.ggml.pre", "gpt-2");
    head.texts("tokenizer.ggml.tokens", vocabulary.tokens.iter().map(|token| token.text.as_str()));
    // the numbers of llama.cpp's llama_token_type
    let kind = |kind| match kind {
        TokenKind::Text => 1,
        TokenKind::Special => 3,
        TokenKind::Added => 4,
        TokenKind::Unused => 5,
    };
    head.i32s("tokenizer.ggml.token_type", vocabulary.tokens.iter().map(|token| kind(token.kind)));
    head.texts("tokenizer.ggml.merges", vocabulary.merges.iter().map(String::as_str));
    let added_end = word(vocabulary.tokens.len() as u64 - 1);
    head.u32("tokenizer.ggml.bos_token_id", tokenizer.begin_of_text().unwrap_or_else(|| tokenizer.opening_id()));
    head.u32("tokenizer.ggml.eos_token_id", tokenizer.end_of_text().unwrap_or(added_end));
    if let Some(pad) = tokenizer.pad_id() {
        head.u32("tokenizer.ggml.padding_token_id", pad);
    }
    // as `tril generate` begins a document
    head.bool("tokenizer.ggml.add_bos_token", tokenizer.start_id().is_some());
    head.bool("tokenizer.ggml.add_eos_token", false);
}

/// Converts a size of a model that [`ModelConfig::validate`] has checked.
fn word(n: u64) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("a size of a model is far below 2^32, not {n}"))
}

/// Bytes from an offset to the next aligned one.
fn padding(at: u64) -> usize {
    (at.next_multiple_of(ALIGNMENT) - at) as usize
}

/// The part before the data: keys and values, then the tensors' descriptions.
#[derive(Default)]
struct Head {
    n_key: u64,
    keys: Vec<u8>,
}

/// Type numbers of values.
enum Type {
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    List = 9,
}

impl Head {
    fn key(&mut self, key: &str, kind: Type) {
        self.n_key += 1;
        push_text(&mut self.keys, key);
        self.push_type(kind);
    }

    fn push_type(&mut self, kind: Type) {
        self.keys.extend((kind as u32).to_le_bytes());
    }

    fn list(&mut self, key: &str, kind: Type, len: usize) {
        self.key(key, Type::List);
        self.push_type(kind);
        self.keys.extend((len as u64).to_le_bytes());
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.key(key, Type::U32);
        self.keys.extend(value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, Type::F32);
        self.keys.extend(value.to_le_bytes());
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.key(key, Type::Bool);
        self.keys.push(value.into());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, Type::Text);
        push_text(&mut self.keys, value);
    }

    fn texts<'a>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'a str>) {
        self.list(key, Type::Text, values.len());
        values.for_each(|value| push_text(&mut self.keys, value));
    }

    fn i32s(&mut self, key: &str, values: impl ExactSizeIterator<Item = i32>) {
        self.list(key, Type::I32, values.len());
        values.for_each(|value| self.keys.extend(value.to_le_bytes()));
    }

    /// Serializes it, up to the start of the data. Tensors are contiguous; the fastest dimension comes first.
    fn finish(self, tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend(self.n_key.to_le_bytes());
        bytes.extend(self.keys);
        let mut offset = 0u64;
        for (name, dims) in tensors {
            push_text(&mut bytes, name);
            bytes.extend((dims.len() as u32).to_le_bytes());
            dims.iter().rev().for_each(|n| bytes.extend(n.to_le_bytes()));
            bytes.extend(F32.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset = (offset + 4 * elems(dims) as u64).next_multiple_of(ALIGNMENT);
        }
        bytes.resize(bytes.len() + padding(bytes.len() as u64), 0);
        bytes
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
