//! The model and tokenizer files of llm.c.
//!
//! Source: `gpt2_build_from_checkpoint` of llm.c's `train_gpt2.c`, and its `llmc/tokenizer.h`.

use std::path::Path;

use super::hf;
use super::model::Model;
use super::out_file::OutFile;
use crate::interop::InteropError;
use crate::model::Positions;

pub(super) const MODEL: &str = "model.bin";
pub(super) const TOKENIZER: &str = "tokenizer.bin";

/// The length of every header. Units: 32-bit words.
const HEADER: usize = 256;
const MODEL_MAGIC: u32 = 20_240_326;
/// f32 weights, a padded vocabulary.
const MODEL_VERSION: u32 = 3;
const TOKENIZER_MAGIC: u32 = 20_240_328;
/// Includes the id of the end-of-text token.
const TOKENIZER_VERSION: u32 = 2;
/// The vocabulary is padded to a multiple of this.
const PADDING: u64 = 128;

/// The tensors of a layer, each kind for all layers before the next.
const LAYER: [&str; 12] = [
    "ln_1.weight",
    "ln_1.bias",
    "attn.c_attn.weight",
    "attn.c_attn.bias",
    "attn.c_proj.weight",
    "attn.c_proj.bias",
    "ln_2.weight",
    "ln_2.bias",
    "mlp.c_fc.weight",
    "mlp.c_fc.bias",
    "mlp.c_proj.weight",
    "mlp.c_proj.bias",
];

/// Checks that the format can represent the model.
pub(super) fn check(model: &Model) -> Result<(), InteropError> {
    let refuse = |reason: String, instead| Err(InteropError::Inexpressible { format: "llm.c", reason, instead });
    if model.config.positions == Positions::Sinusoidal {
        let reason = "its positions are sinusoidal, but llm.c has learned ones".into();
        return refuse(reason, "use --to hf, which writes them as a table, or train with --positions learned");
    }
    if !model.config.tied {
        let reason =
            "its output projection isn't the token embedding (tied = false), but llm.c shares one for both".into();
        return refuse(reason, "use --to hf or --to gguf, or train with --tied true");
    }
    tokens(model).map(drop)
}

/// The bytes of every token.
fn tokens(model: &Model) -> Result<Vec<Vec<u8>>, InteropError> {
    let token = |id: u32| {
        let reason = match model.tokenizer.listed_bytes(id) {
            Some(bytes) if !bytes.is_empty() && bytes.len() <= usize::from(u8::MAX) => return Ok(bytes),
            Some(bytes) => format!("token {id} has {} bytes, and llm.c's have 1 to 255", bytes.len()),
            None => format!("token {id} of its tokenizer has no bytes of its own"),
        };
        Err(InteropError::Inexpressible {
            format: "llm.c",
            reason,
            instead: "use --to hf, or train with another --tokenizer",
        })
    };
    // a model has at most 262,000 tokens; other programs' models may pad their vocabulary
    (0..model.tokenizer.vocab_size() as u32).map(token).collect()
}

/// Writes the folder's files.
pub(super) fn write(model: &mut Model, folder: &Path) -> Result<(), InteropError> {
    let c = model.config.clone();
    let padded = c.vocab_size.next_multiple_of(PADDING);
    let mut file = OutFile::create(folder, MODEL)?;
    let sizes = [c.block_size, c.vocab_size, c.n_layer, c.n_head, c.n_embd, padded];
    file.bytes(&header([MODEL_MAGIC, MODEL_VERSION], &sizes))?;
    let params = model.params();
    let per_layer = LAYER.iter().flat_map(|name| (0..c.n_layer).map(move |i| format!("h.{i}.{name}")));
    let first = ["wte.weight", "wpe.weight"].map(String::from).into_iter();
    for name in first.chain(per_layer).chain(["ln_f.weight", "ln_f.bias"].map(String::from)) {
        let Some(param) = params.iter().find(|param| param.name == name) else {
            panic!("every GPT-2 has a tensor {name}");
        };
        file.floats(&model.tensor_by_output(param)?)?;
        if name == "wte.weight" {
            file.floats(&vec![0.0; ((padded - c.vocab_size) * c.n_embd) as usize])?;
        }
    }
    file.finish()?;

    let tokens = tokens(model)?;
    let mut file = OutFile::create(folder, TOKENIZER)?;
    // llm.c begins a text with the end-of-text token
    let end = model.tokenizer.opening_id().into();
    file.bytes(&header([TOKENIZER_MAGIC, TOKENIZER_VERSION], &[tokens.len() as u64, end]))?;
    for bytes in tokens {
        file.bytes(&[u8::try_from(bytes.len()).unwrap_or(u8::MAX)])?;
        file.bytes(&bytes)?;
    }
    file.finish()?;

    // llm.c only decodes ids: for encoding, and for re-importing
    let mut file = OutFile::create(folder, hf::TOKENIZER)?;
    file.bytes(model.tokenizer.to_hf_json().as_bytes())?;
    Ok(file.finish()?)
}

/// Sizes are of a validated model: at most 262,144.
fn header(kind: [u32; 2], sizes: &[u64]) -> Vec<u8> {
    let sizes = sizes.iter().map(|&n| u32::try_from(n).unwrap_or_else(|_| panic!("a size of a model isn't {n}")));
    let filled = kind.into_iter().chain(sizes).chain(std::iter::repeat(0)).take(HEADER);
    filled.flat_map(u32::to_le_bytes).collect()
}
