use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use crate::interop::export::{Model, Target, export};
use crate::plan::human_bytes;
use crate::train::{RunDir, Weights};

/// Write a trained model in the files of transformers, llm.c or llama.cpp.
///
/// Needs no device. The weights are f32, as they were trained. What a format has no words for is refused, with what to use
/// instead; biases that the model was trained without are written as zeros, which is the same function.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// A run directory that `tril train` wrote.
    run: PathBuf,
    /// Whose files to write.
    #[arg(long, value_enum)]
    to: Target,
    /// The folder to write, which must be empty or new.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Take the weights of the last checkpoint, not the ones with the best validation loss.
    #[arg(long)]
    last: bool,
}

pub(super) fn run(args: &ExportArgs) -> Outcome {
    let (dir, config, tokenizer) = RunDir::open(&args.run)?;
    let open = if args.last { Weights::last } else { Weights::best };
    let mut model = Model { weights: open(&dir, &config.model)?, config: config.model, tokenizer };
    for line in &model.weights.passed_over {
        errln!("{line}");
    }
    export(&mut model, args.to, &args.out)?;
    let from = match model.weights.step {
        Some(step) => format!("the checkpoint of step {step}"),
        None => "the best model".to_string(),
    };
    outln!("{from} of {} is in {}:", args.run.display(), args.out.display());
    let mut files: Vec<_> = std::fs::read_dir(&args.out)?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        outln!("  {:22} {}", file.file_name().to_string_lossy(), human_bytes(file.metadata()?.len()));
    }
    Ok(ExitCode::SUCCESS)
}
