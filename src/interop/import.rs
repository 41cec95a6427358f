//! Imports models of other programs as runs.

mod from_run;
mod sizes;
mod tokenizer;

use std::fs;
use std::path::{Path, PathBuf};

pub(super) use from_run::is_run;

use super::llmc_read::{self, Header, Model};
use super::tensors::Tensors;
use super::{InteropError, mistaken, torch};
use crate::data::{Mode, Source, Tokenizer, TokenizerSpec};
use crate::model::{ModelConfig, Positions};
use crate::run::{DataConfig, RunConfig, RunDir, RunDirError, ScheduleKind, TrainConfig, WeightSource};
use crate::units::count;

/// Options for an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The tokenizer, instead of the one found.
    pub tokenizer: Option<TokenizerSpec>,
    /// Attention heads, if no file says how many there are.
    pub n_head: Option<u64>,
    /// For a tril run, whether to take the weights of the last checkpoint, not the best ones.
    pub last: bool,
}

/// An imported model.
#[derive(Debug)]
pub struct Imported {
    /// Its run.
    pub dir: RunDir,
    /// The run's settings.
    pub config: RunConfig,
    /// The format it came in.
    pub format: &'static str,
    /// The origin of its tokenizer.
    pub tokenizer_from: String,
    /// Ids in the tokenizer.
    pub n_token: usize,
    /// Notes for the user.
    pub notes: Vec<String>,
}

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TORCH: &str = "pytorch_model.bin";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// The file that nanoGPT writes.
const CHECKPOINT: &str = "ckpt.pt";

/// Creates a run from a model that another program wrote: a folder of Hugging Face's GPT-2, a safetensors file of one,
/// a checkpoint of nanoGPT or another file of `torch.save`, or a model file of llm.c; or from a tril run, whose weights
/// are then trained further. Needs no device, and at most one tensor is in memory. The same model gives the same bytes.
///
/// # Errors
///
/// A model that tril can't represent, files that are damaged or don't match, a missing tokenizer, or a run that
/// already exists. Nothing is left behind then.
pub fn import(path: &Path, root: &Path, options: &ImportOptions) -> Result<Imported, InteropError> {
    if is_run(path) {
        return from_run::import(path, root, options);
    }
    if options.last {
        return Err(not_a_model(
            path,
            "--last takes a run's last checkpoint, but this is not a tril run; leave it out",
        ));
    }
    let mut notes = vec![];
    let (mut weights, model) = match find(path)? {
        Found::Tensors { mut tensors, config } => {
            let model = sizes::of(&mut tensors, (path, config.as_deref()), options.n_head, &mut notes)?;
            (Weights::Tensors(tensors), model)
        }
        Found::Llmc(file) => {
            let model = of_llmc(&file.header);
            refuse_other_heads(path, options.n_head, model.n_head)?;
            model.validate().map_err(|e| not_a_model(path, format!("{e}")))?;
            (Weights::Llmc(file), model)
        }
    };
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let dataset = match &weights {
        Weights::Tensors(tensors) => tensors.settings.as_ref().and_then(|settings| settings.dataset.as_deref()),
        Weights::Llmc(_) => None,
    };
    let beside = tokenizer::Beside { folder, path, dataset };
    let (tokenizer, tokenizer_from) = tokenizer::find(&beside, &model, options.tokenizer.as_ref())?;
    let config = RunConfig { train: fine_tuning(), data: data(&tokenizer), model };
    let dir = RunDir::import(root, &config, &tokenizer, &mut weights)?;
    let format = match &weights {
        Weights::Tensors(tensors) if tensors.settings.is_some() => "GPT-2 of PyTorch",
        Weights::Tensors(_) => "GPT-2 in safetensors",
        Weights::Llmc(_) => "llm.c",
    };
    Ok(Imported { dir, config, format, tokenizer_from, n_token: tokenizer.vocab_size(), notes })
}

/// The kind of model at a path.
enum Found {
    Tensors { tensors: Tensors, config: Option<PathBuf> },
    Llmc(Model),
}

fn find(path: &Path) -> Result<Found, InteropError> {
    let beside = |folder: &Path| Some(folder.join(CONFIG)).filter(|config| config.exists());
    if path.is_dir() {
        let at = |name: &str| path.join(name);
        let exists = |name: &&str| at(name).exists();
        let tensors = match [WEIGHTS, INDEX, TORCH, TORCH_INDEX, CHECKPOINT].iter().find(|name| exists(name)) {
            Some(&name) if name.ends_with(".index.json") => Tensors::open_sharded(&at(name))?,
            Some(name) => Tensors::open(&at(name))?,
            None => return Err(without_weights(path)),
        };
        return Ok(Found::Tensors { tensors, config: beside(path) });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".index.json") || name == CONFIG {
        return Err(not_a_model(path, "it is part of a model; give its folder"));
    }
    let first = mistaken::open_weights(path)?;
    if llmc_read::is_llmc(&first) {
        return Ok(Found::Llmc(Model::open(path)?));
    }
    if !torch::is_torch(&first) && !name.ends_with(".safetensors") {
        return Err(not_a_model(
            path,
            "it is neither a safetensors file, nor one of torch.save, nor an llm.c model; give one of these, or a \
             Hugging Face folder",
        ));
    }
    let config = beside(path.parent().unwrap_or(Path::new("")));
    Ok(Found::Tensors { tensors: Tensors::open(path)?, config })
}

/// The error for a folder without weights, which lists what it holds instead.
fn without_weights(folder: &Path) -> InteropError {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let is_weights = |name: &String| [".safetensors", ".pt", ".pth", ".bin"].iter().any(|end| name.ends_with(end));
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).filter(is_weights).collect();
    names.sort();
    let remedy = match &names[..] {
        [] => "give the folder of a model, or its file".to_string(),
        names => format!("give one of its files: {}", names[..names.len().min(5)].join(", ")),
    };
    not_a_model(folder, format!("it holds no {WEIGHTS}, {INDEX}, {TORCH} or {CHECKPOINT}; {remedy}"))
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

/// Settings for fine-tuning a trained model; flags of `train --resume` change them.
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
    Tensors(Tensors),
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
            Self::Tensors(tensors) => tensors.read(name, dims, sink),
            Self::Llmc(model) => model.read(name, dims, sink),
        }
    }
}
