//! A run's model in the files of other projects. No device is needed, and no more than a tensor is in memory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{InteropError, gguf, hf_write, llmc_write};
use crate::data::Tokenizer;
use crate::model::{ModelConfig, Positions, sinusoidal_positions};
use crate::train::{RunDirError, Weights, io_error, sync_dir};
use crate::unfinished::Unfinished;

/// Whose files to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// A folder that transformers loads: GPT2LMHeadModel and AutoTokenizer.
    Hf,
    /// model.bin and tokenizer.bin of llm.c.
    Llmc,
    /// model.gguf for llama.cpp.
    Gguf,
}

/// A model on its way out, as GPT-2's formats have it: with biases, and positions in a table.
#[derive(Debug)]
pub struct Model {
    /// The run's architecture.
    pub config: ModelConfig,
    /// How its text became tokens.
    pub tokenizer: Tokenizer,
    /// Its weights.
    pub weights: Weights,
}

/// Every file that an export may write.
const FILES: [&str; 8] = [
    hf_write::CONFIG,
    hf_write::GENERATION,
    hf_write::MODEL,
    hf_write::TOKENIZER,
    hf_write::TOKENIZER_CONFIG,
    llmc_write::MODEL,
    llmc_write::TOKENIZER,
    gguf::MODEL,
];

/// Writes a model into a new or empty folder: beside it at first, so that the folder is never half there.
///
/// # Errors
///
/// What the target can't express, a folder that holds files, or the operating system's refusal; nothing is left behind.
pub fn export(model: &mut Model, target: Target, out: &Path) -> Result<(), InteropError> {
    match target {
        Target::Hf => {}
        Target::Llmc => llmc_write::check(model)?,
        Target::Gguf => gguf::check(model)?,
    }
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(InteropError::NotEmpty(out.display().to_string()));
    }
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    clear(&part)?;
    fs::create_dir_all(&part).map_err(io_error(&part))?;
    let unfinished = Unfinished::new(&part);
    let mut fill = || {
        match target {
            Target::Hf => hf_write::write(model, &part)?,
            Target::Llmc => llmc_write::write(model, &part)?,
            Target::Gguf => gguf::write(model, &part)?,
        }
        sync_dir(&part)?;
        unfinished.finish(|| {
            if out.exists() {
                fs::remove_dir(out).map_err(io_error(out))?;
            }
            fs::rename(&part, out).map_err(io_error(out))
        })?;
        Ok(sync_dir(parent)?)
    };
    // best effort: the error that led here is the one to report
    fill().inspect_err(|_| drop(clear(&part)))
}

/// Removes what an interrupted export left, and nothing else.
fn clear(part: &Path) -> Result<(), RunDirError> {
    if !part.exists() {
        return Ok(());
    }
    for file in FILES.map(|name| part.join(name)).iter().filter(|file| file.exists()) {
        fs::remove_file(file).map_err(io_error(file))?;
    }
    fs::remove_dir(part).map_err(io_error(part))
}

impl Model {
    /// The names and shapes that every GPT-2 has, in the order of the forward pass; `lm_head.weight` where it isn't tied.
    pub(super) fn params(&self) -> Vec<(String, Vec<u64>)> {
        ModelConfig { bias: true, positions: Positions::Learned, ..self.config.clone() }.params()
    }

    /// One of them: zeros for a bias that the model lacks, and the sines that stand for learned positions.
    pub(super) fn tensor(&mut self, name: &str, dims: &[u64]) -> Result<Vec<f32>, RunDirError> {
        if name == "wpe.weight" && self.config.positions == Positions::Sinusoidal {
            return Ok(sinusoidal_positions(&self.config));
        }
        if name.ends_with(".bias") && !self.config.bias {
            return Ok(vec![0.0; elems(dims)]);
        }
        self.weights.read(name)
    }

    /// The same with matrices of linear layers transposed: an output's weights side by side.
    pub(super) fn tensor_by_output(&mut self, name: &str, dims: &[u64]) -> Result<Vec<f32>, RunDirError> {
        let values = self.tensor(name, dims)?;
        match dims {
            [_, n_out] if is_linear(name) => Ok(transposed(&values, *n_out as usize)),
            _ => Ok(values),
        }
    }
}

/// Whether a tensor is stored input by output.
pub(super) fn is_linear(name: &str) -> bool {
    name.ends_with(".weight") && (name.contains(".attn.") || name.contains(".mlp."))
}

/// The number of elements.
pub(super) fn elems(dims: &[u64]) -> usize {
    dims.iter().product::<u64>() as usize
}

fn transposed(values: &[f32], n_col: usize) -> Vec<f32> {
    let n_row = values.len() / n_col;
    (0..values.len()).map(|i| values[i % n_row * n_col + i / n_row]).collect()
}

/// A file of an export that is being written.
pub(super) struct OutFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl OutFile {
    pub fn create(folder: &Path, name: &str) -> Result<Self, RunDirError> {
        let path = folder.join(name);
        let out = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(io_error(&path))?);
        Ok(Self { path, out })
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), RunDirError> {
        self.out.write_all(bytes).map_err(io_error(&self.path))
    }

    /// Little-endian, as on every machine that a device of ours is in.
    pub fn floats(&mut self, values: &[f32]) -> Result<(), RunDirError> {
        self.bytes(bytemuck::cast_slice(values))
    }

    /// Ends the file, on the disk.
    pub fn finish(self) -> Result<(), RunDirError> {
        let io = io_error(&self.path);
        self.out.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(&io)
    }
}
