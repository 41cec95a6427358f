use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::phases::{self, Shows};
use super::which::WhichArgs;
use super::{Outcome, signals};
use crate::interop::export::{Model, Target, export};
use crate::run::RunDir;
use crate::units::{count, human_bytes};

/// Write a trained model as files for transformers, llm.c or llama.cpp.
///
/// Needs no device. The weights are f32, as they were trained. Whatever a format cannot represent is refused, with a
/// suggestion what to use instead. Biases that the model lacks are written as zeros, which computes the same.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Run directory that `tril train` wrote.
    run: PathBuf,
    /// Format of the files.
    #[arg(long, value_enum)]
    to: Target,
    /// Folder to write to; must be empty or new.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    which: WhichArgs,
}

pub(super) fn run(args: &ExportArgs) -> Outcome {
    let (dir, config, tokenizer) = RunDir::open(&args.run)?;
    let weights = args.which.open(&dir, &config.model)?;
    let from = WhichArgs::name(&weights);
    let mut model = Model { weights, config: config.model, tokenizer };
    phases::show(Shows::Live);
    signals::end_with("stopped; nothing was exported");
    phases::begin("writing the model");
    export(&mut model, args.to, &args.out)?;
    phases::end();
    outln!("{from} of {} is in {}:", args.run.display(), args.out.display());
    let mut files: Vec<_> = std::fs::read_dir(&args.out)?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        outln!("  {:22} {}", file.file_name().to_string_lossy(), human_bytes(file.metadata()?.len()));
    }
    let t = model.config.block_size;
    outln!(
        "window: {}, prompt included; positions are absolute, so other programs fail or write nonsense beyond {t}",
        count(t, "token")
    );
    if let (Some(id), Target::Llmc) = (model.tokenizer.start_id(), args.to) {
        outln!(
            "start: every text begins with token {id}, the end-of-text token of tokenizer.bin; put it before a prompt"
        );
    }
    Ok(ExitCode::SUCCESS)
}
