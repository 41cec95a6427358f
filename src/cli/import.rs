use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::phases::{self, Shows};
use super::{Outcome, signals};
use crate::data::TokenizerSpec;
use crate::files::shell::quoted;
use crate::interop::import::{ImportOptions, import};
use crate::units::count;

/// Make a run from a GPT-2 that another program wrote (transformers, nanoGPT, llm.c), or from another run's weights.
///
/// PATH is a Hugging Face folder (config.json with model.safetensors or pytorch_model.bin, or shards of these), a
/// .safetensors file, nanoGPT's ckpt.pt or another file of torch.save, or a model file of llm.c. Pickles are read,
/// never executed. Tensor names may have the prefixes of torch.compile, DataParallel and other wrappers. The run is
/// like any other: generate and eval use it, and `tril train TEXT --resume RUN` trains it further. A model that
/// computes something else than tril does is refused. No device is needed.
///
/// If PATH is a run of tril, the new run starts at step 0 with the weights of its best model: to train them on another
/// text or with other settings, for example after a learning rate that was too high.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The model: a folder or a file, or a run of tril.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Directory of the new run; must not exist yet.
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Tokenizer: gpt2, byte, a tokenizer.json, or a meta.pkl of nanoGPT [default: tokenizer.json, or vocab.json and
    /// merges.txt, next to the model; for ckpt.pt the meta.pkl of its data set; GPT-2's for a vocabulary of 50257].
    #[arg(long, value_name = "KIND")]
    tokenizer: Option<TokenizerSpec>,
    /// Attention heads, for a .safetensors file without a config.json next to it.
    #[arg(long, value_name = "N")]
    n_head: Option<u64>,
    /// From a run of tril, use the weights of the last checkpoint instead of those with the best validation loss.
    #[arg(long)]
    last: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ImportArgs) -> Outcome {
    let options = ImportOptions { tokenizer: args.tokenizer.clone(), n_head: args.n_head, last: args.last };
    phases::show(if args.json { Shows::Lines } else { Shows::Live });
    signals::end_with("stopped; no run was made");
    phases::begin(format!("reading {} and writing the run", args.path.display()));
    let imported = import(&args.path, &args.out, &options)?;
    phases::end();
    let (m, run) = (&imported.config.model, quoted(&args.out));
    if args.json {
        let line = json!({
            "run": args.out, "format": imported.format, "n_layer": m.n_layer, "n_head": m.n_head, "n_embd": m.n_embd,
            "block_size": m.block_size, "vocab_size": m.vocab_size, "tied": m.tied, "bias": m.bias, "parameters": m.n_param(),
            "tokenizer": imported.tokenizer_from, "tokens": imported.n_token, "notes": imported.notes,
        });
        outln!("{line}");
        return Ok(ExitCode::SUCCESS);
    }
    outln!("model    {}: {}", imported.format, m);
    outln!("tokens   {}: {}", imported.tokenizer_from, count(imported.n_token, "id"));
    for note in &imported.notes {
        outln!("note     {note}");
    }
    outln!("run      {}; generate text with: tril generate {run}", args.out.display());
    outln!("         or train it further with: tril train TEXT --resume {run}");
    Ok(ExitCode::SUCCESS)
}
