use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use safetensors::tensor::{Dtype, TensorView};

use super::misuse::misuse;
use super::settings::DeviceArgs;
use super::which::WhichArgs;
use super::{Outcome, prompt};
use crate::files::whole_file::WholeFile;
use crate::generate::{LoadedModel, logits};
use crate::run::RunDir;
use crate::units::count;

/// Write a model's logits for some tokens to a file, to compare it with other programs.
///
/// FILE contains `logits` (T, V) in F32, which predict the token after each of `tokens` (T) in I64.
#[derive(Debug, Args)]
pub(super) struct LogitsArgs {
    /// Run directory that `tril train` wrote.
    run: PathBuf,
    /// Token ids, at most as many as the model's block.
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',', allow_hyphen_values = true, value_parser = id, required_unless_present = "prompt")]
    tokens: Vec<u32>,
    /// Text to encode, instead of ids.
    #[arg(long, value_name = "TEXT", conflicts_with = "tokens")]
    prompt: Option<String>,
    /// File to write.
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

fn id(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "an id must be a whole number, not negative; separate several with commas".into())
}

pub(super) fn run(args: &LogitsArgs) -> Outcome {
    let (dir, config, tokenizer) = RunDir::open(&args.run)?;
    let tokens = match &args.prompt {
        Some(text) => prompt::encode(&tokenizer, text)?,
        None => args.tokens.clone(),
    };
    let (t, max) = (tokens.len(), config.model.block_size);
    if t == 0 || t as u64 > max {
        return Err(misuse(format!(
            "got {}, but the model takes 1 to {max}; see --tokens and --prompt",
            count(t, "token")
        )));
    }
    let n_id = config.model.vocab_size;
    if let Some(id) = tokens.iter().find(|&&id| u64::from(id) >= n_id) {
        return Err(misuse(format!("--tokens: id {id} is out of range; the largest is {}", n_id.saturating_sub(1))));
    }
    let mut weights = args.which.open(&dir, &config.model)?;
    let out = WholeFile::begin("--out", &args.out)?;
    let gpu = args.device.open()?;
    errln!("device: {}", gpu.name());
    let model = LoadedModel::new(&gpu, &config.model, &weights.read_all(&config.model)?)?;
    let values = logits(model.program(), &config.model, &tokens)?;
    let ids: Vec<i64> = tokens.iter().map(|&id| id.into()).collect();
    let tensors = [
        ("logits", TensorView::new(Dtype::F32, vec![t, values.len() / t], bytemuck::cast_slice(&values))?),
        ("tokens", TensorView::new(Dtype::I64, vec![t], bytemuck::cast_slice(&ids))?),
    ];
    // serialize_to_file would make the file readable by its owner only
    let bytes = safetensors::serialize(tensors, None)?;
    out.write(&bytes)?;
    Ok(ExitCode::SUCCESS)
}
