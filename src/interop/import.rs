//! Models of other programs as runs.

mod own;
mod tokenizer;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::unreadable;
use super::hf_config::{self, HfConfig};
use super::llmc_read::{self, Model};
use super::safetensors::Tensors;
use super::{InteropError, llmc_read::Header};
use crate::data::{Mode, Source, Tokenizer, TokenizerSpec};
use crate::model::{ModelConfig, Positions};
use crate::train::{DataConfig, RunConfig, RunDir, RunDirError, ScheduleKind, TrainConfig, WeightSource};
use crate::units::count;

/// What the files of a model may leave open.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The tokenizer, in the place of the one that is found.
    pub tokenizer: Option<TokenizerSpec>,
    /// Attention heads, where no file says how many there are.
    pub n_head: Option<u64>,
    /// Of a run of tril, the weights of the last checkpoint, not the best ones.
    pub last: bool,
}

/// A model that was imported.
#[derive(Debug)]
pub struct Imported {
    /// Its run.
    pub dir: RunDir,
    /// The run's settings.
    pub config: RunConfig,
    /// What the model was.
    pub format: &'static str,
    /// Where its tokenizer is from.
    pub tokenizer_from: String,
    /// Ids that the tokenizer has.
    pub n_token: usize,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
}

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";

/// Makes a run of a model that another program wrote: a folder of Hugging Face's GPT-2, a safetensors file of one, or a model
/// file of llm.c; or of a run of tril, whose weights are then trained anew. No device is needed, and of the weights no more than one tensor is in memory. The same model gives the
/// same bytes.
///
/// # Errors
///
/// A model that tril's can't be equal to, files that are damaged or don't fit each other, no tokenizer, or a run that is
/// there already. Nothing is left behind then.
pub fn import(path: &Path, root: &Path, options: &ImportOptions) -> Result<Imported, InteropError> {
    if own::is_run(path) {
        return own::import(path, root, options);
    }
    if options.last {
        return Err(not_a_model(
            path,
            "--last takes a run's last checkpoint, and this is no run of tril; leave it out",
        ));
    }
    let mut notes = vec![];
    let (mut weights, model) = match find(path)? {
        Found::Safetensors { tensors, config } => {
            let model = match config {
                Some(path) => configured(&tensors, &path, options.n_head, &mut notes)?,
                None => derived(&tensors, path, options.n_head, &mut notes)?,
            };
            check(path, &tensors, &model)?;
            (Weights::Safetensors(tensors), model)
        }
        Found::Llmc(file) => {
            let model = of_llmc(&file.header);
            refuse_other_heads(path, options.n_head, model.n_head)?;
            model.validate().map_err(|e| not_a_model(path, format!("{e}")))?;
            (Weights::Llmc(file), model)
        }
    };
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let (tokenizer, tokenizer_from) = tokenizer::find(folder, path, &model, options.tokenizer.as_ref())?;
    let config = RunConfig { train: fine_tuning(), data: data(&tokenizer), model };
    let dir = RunDir::import(root, &config, &tokenizer, &mut weights)?;
    let format = match weights {
        Weights::Safetensors(_) => "GPT-2 in safetensors",
        Weights::Llmc(_) => "llm.c",
    };
    Ok(Imported { dir, config, format, tokenizer_from, n_token: tokenizer.vocab_size(), notes })
}

/// What a path holds.
enum Found {
    Safetensors { tensors: Tensors, config: Option<PathBuf> },
    Llmc(Model),
}

fn find(path: &Path) -> Result<Found, InteropError> {
    let beside = |folder: &Path| Some(folder.join(CONFIG)).filter(|config| config.exists());
    if path.is_dir() {
        let (weights, index) = (path.join(WEIGHTS), path.join(INDEX));
        let tensors = match (weights.exists(), index.exists()) {
            (true, _) => Tensors::open(&weights)?,
            (false, true) => Tensors::open_sharded(&index)?,
            (false, false) => return Err(without_safetensors(path)),
        };
        return Ok(Found::Safetensors { tensors, config: beside(path) });
    }
    let mut first = vec![];
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut first));
    read.map_err(unreadable(path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if llmc_read::is_llmc(&first) {
        return Ok(Found::Llmc(Model::open(path)?));
    }
    if name.ends_with(".index.json") || name == CONFIG {
        return Err(not_a_model(path, "it is a part of a model; give the folder that it is in"));
    }
    // archives that torch.save writes are zip files, or, before those, bare pickles
    if first.starts_with(b"PK") || first.starts_with(&[0x80, 2]) {
        return Err(pickled(path));
    }
    if !name.ends_with(".safetensors") {
        return Err(not_a_model(
            path,
            "it is neither a safetensors file nor a model file of llm.c; give one of these, or a folder of Hugging Face's",
        ));
    }
    let config = beside(path.parent().unwrap_or(Path::new("")));
    Ok(Found::Safetensors { tensors: Tensors::open(path)?, config })
}

fn without_safetensors(folder: &Path) -> InteropError {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let is_pickle = |name: &str| name == PICKLE || name.starts_with("pytorch_model") && name.ends_with(".bin");
    if names.into_iter().any(|name| is_pickle(&name.to_string_lossy())) {
        return pickled(&folder.join(PICKLE));
    }
    not_a_model(
        folder,
        format!("it holds neither {WEIGHTS} nor {INDEX}; give the folder of a model, or the file itself"),
    )
}

fn pickled(path: &Path) -> InteropError {
    not_a_model(
        path,
        "it is a pickle, which may run any code when it is read; convert it in Python: from transformers import \
         GPT2LMHeadModel; GPT2LMHeadModel.from_pretrained(FOLDER).save_pretrained(NEW)",
    )
}

fn not_a_model(path: &Path, reason: impl Into<String>) -> InteropError {
    InteropError::NotAModel { path: path.display().to_string(), reason: reason.into() }
}

fn refuse_other_heads(path: &Path, flag: Option<u64>, n_head: u64) -> Result<(), InteropError> {
    match flag {
        Some(n) if n != n_head => {
            Err(not_a_model(path, format!("it has {}, not --n-head {n}; leave the flag out", count(n_head, "head"))))
        }
        _ => Ok(()),
    }
}

/// The model that a `config.json` tells of.
fn configured(
    tensors: &Tensors,
    path: &Path,
    n_head: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<ModelConfig, InteropError> {
    let config = hf_config::parse(path, &fs::read(path).map_err(unreadable(path))?)?;
    let HfConfig { n_layer, n_embd, n_positions, vocab_size, .. } = config;
    refuse_other_heads(path, n_head, config.n_head)?;
    let model = ModelConfig {
        n_layer,
        n_head: config.n_head,
        n_embd,
        block_size: n_positions,
        vocab_size,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout: config.dropout.unwrap_or(0.0),
    };
    if config.dropout.is_none() {
        notes.push("dropout is 0: resid_pdrop, embd_pdrop and attn_pdrop differ, and tril has one for all; see --dropout of train".into());
    }
    model.validate().map_err(|e| not_a_model(path, format!("{e}")))?;
    let dims = [vocab_size, n_embd];
    let tied = match (config.tied, tensors.has(HEAD)) {
        (true, false) => true,
        (false, true) => false,
        (false, false) => {
            return Err(
                tensors.wrong(HEAD, "is missing, though tie_word_embeddings is false; get the whole model again")
            );
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

const WTE: &str = "wte.weight";
const HEAD: &str = "lm_head.weight";

/// The model that the tensors themselves tell of.
fn derived(
    tensors: &Tensors,
    path: &Path,
    n_head: Option<u64>,
    notes: &mut Vec<String>,
) -> Result<ModelConfig, InteropError> {
    let size = |name: &str| match tensors.shape(name)?[..] {
        [rows, columns] => Ok((rows, columns)),
        ref other => Err(tensors.wrong(name, format!("has the shape {other:?}, and a table of rows is needed"))),
    };
    if let Some(said) = tensors.n_head {
        refuse_other_heads(path, n_head, said)?;
    }
    let n_head = tensors.n_head.or(n_head);
    let ((vocab_size, n_embd), (block_size, _)) = (size(WTE)?, size("wpe.weight")?);
    let layer = |name: &str| name.strip_prefix("h.")?.split_once('.')?.0.parse::<u64>().ok();
    let n_layer = tensors.names().filter_map(layer).max().map_or(0, |last| last.saturating_add(1));
    let is_bias = |name: &str| name.ends_with(".bias") && !is_buffer(name);
    let model = ModelConfig {
        n_layer,
        n_head: n_head.ok_or_else(|| InteropError::NoHeads { path: path.display().to_string() })?,
        n_embd,
        block_size,
        vocab_size,
        bias: tensors.names().any(is_bias),
        tied: true,
        positions: Positions::Learned,
        dropout: 0.0,
    };
    model.validate().map_err(|e| not_a_model(path, format!("{e}")))?;
    let tied = !tensors.has(HEAD) || tensors.equal(HEAD, WTE, &[vocab_size, n_embd])?;
    if !tied {
        notes.push("the output projection, lm_head.weight, is not the token embedding: the model is untied".into());
    }
    Ok(ModelConfig { tied, ..model })
}

/// The causal mask and what it masks with, which old files hold beside the weights.
fn is_buffer(name: &str) -> bool {
    let kind = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')).map_or("", |(_, kind)| kind);
    kind == "attn.bias" || kind == "attn.masked_bias"
}

/// Fails on tensors that are missing, have another shape, or that the model doesn't have.
fn check(path: &Path, tensors: &Tensors, model: &ModelConfig) -> Result<(), InteropError> {
    let params = model.params();
    params.iter().try_for_each(|(name, dims)| tensors.check(name, dims))?;
    let known: std::collections::HashSet<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
    let is_known = |name: &str| known.contains(name) || is_buffer(name) || name == HEAD && model.tied;
    match tensors.names().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(tensors.wrong(
            name,
            format!(
                "is none of a GPT-2 with {}; {} has to hold exactly that model",
                count(model.n_layer, "layer"),
                path.display()
            ),
        )),
    }
}

fn of_llmc(header: &Header) -> ModelConfig {
    ModelConfig {
        n_layer: header.n_layer,
        n_head: header.n_head,
        n_embd: header.channels,
        block_size: header.max_seq_len,
        vocab_size: header.vocab_size,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout: 0.0,
    }
}

/// Settings to go on from a trained model with; flags of `train --resume` change them.
fn fine_tuning() -> TrainConfig {
    TrainConfig {
        steps: 1000,
        batch_size: 4,
        lr: 3e-5,
        min_lr: 3e-6,
        schedule: ScheduleKind::Cosine,
        warmup_steps: 20,
        eval_every: 100,
        sample_every: 200,
        checkpoint_every: 100,
        ..RunConfig::preset("gpt2").unwrap_or_else(|e| panic!("{e}")).train
    }
}

fn data(tokenizer: &Tokenizer) -> DataConfig {
    DataConfig {
        tokenizer: tokenizer::spec(tokenizer),
        special_tokens: false,
        val_fraction: 0.1,
        crc32: 0,
        pack: None,
        document_mask: None,
        mode: Mode::Stream,
        source: Source::None,
    }
}

enum Weights {
    Safetensors(Tensors),
    Llmc(Model),
}

impl WeightSource for Weights {
    type Error = InteropError;

    fn read(
        &mut self,
        name: &str,
        dims: &[u64],
        sink: &mut dyn FnMut(&[f32]) -> Result<(), RunDirError>,
    ) -> Result<(), InteropError> {
        let sink = |piece: &[f32]| sink(piece).map_err(InteropError::from);
        match self {
            Self::Safetensors(tensors) => tensors.read(name, dims, sink),
            Self::Llmc(model) => model.read(name, dims, sink),
        }
    }
}
