use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::phases::{self, Amount, Shows};
use super::reading;
use super::settings::boxed;
use super::signals;
use crate::data::tokenize::{Form, Job};
use crate::data::{Source, TokenizerSpec, tokens};
use crate::files::shell::quoted;
use crate::run::prepare::{check_special_tokens, chosen_by_text};
use crate::units::{count, human_bytes};

/// Encode text into token files once, to train on them any number of times.
///
/// Writes train.bin, val.bin and tokenizer.json to DIR, a data set for `tril train DIR` and for nanoGPT or llm.c. Text
/// is streamed and encoded on all cores, so memory doesn't grow with its size. Each document, which is a file or a line
/// of JSON lines, begins with an end-of-text token if the tokenizer has one; a single plain file is one text without
/// any.
#[derive(Debug, Args)]
pub(super) struct TokenizeArgs {
    /// Text files, folders, or - for standard input. .gz and .zst are unpacked; each line of .jsonl or .ndjson is an
    /// object whose "text" is a document.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Folder to write to; created if needed, and must not contain a data set yet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Tokenizer: char, byte, gpt2, bpe:SIZE (learned from at most the first 64 MiB of the text), or a tokenizer.json
    /// of tril or Hugging Face; auto chooses as tril train does.
    #[arg(long, value_name = "KIND", default_value = "auto")]
    tokenizer: TokenizerSpec,
    /// Share of the text, at its end, that goes to val.bin; 0 for none.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    val_fraction: f64,
    /// Output format [default: nanogpt; llmc if the vocabulary exceeds 16 bits].
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Replace bytes that aren't UTF-8 with U+FFFD instead of refusing the text.
    #[arg(long)]
    lossy: bool,
    /// Read the names of special tokens in the text, such as <|endoftext|>, as those tokens instead of plain text.
    #[arg(long)]
    special_tokens: bool,
    /// Print one JSON object when done.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TokenizeArgs) -> Outcome {
    let Source::Files { paths, .. } = tokens::find(&args.paths, &[])? else {
        return Err("these are already token files; train on them with tril train".into());
    };
    let spec = &args.tokenizer;
    check_special_tokens(args.special_tokens, spec).map_err(boxed)?;
    signals::end_with("stopped; no data set was written");
    phases::show(if args.json { Shows::Lines } else { Shows::Live });
    let job = Job { paths: &paths, lossy: args.lossy, val_fraction: args.val_fraction, form: args.format };
    phases::begin("reading the text");
    let mut chosen = job.choose(spec, &reading::watch)?;
    phases::end();
    check_special_tokens(args.special_tokens, &chosen.spec).map_err(boxed)?;
    if args.special_tokens {
        chosen.tokenizer = chosen.tokenizer.reading_specials();
    }
    if *spec == TokenizerSpec::Auto {
        errln!("tokenizer {}", chosen_by_text(&chosen.spec));
    }
    let (spec, tokenizer) = (&chosen.spec, &chosen.tokenizer);
    let started = Instant::now();
    phases::begin("encoding");
    let done = job.run_chosen(&chosen, &args.out, &mut |progress| {
        // standard input has no known end
        let of = Some(progress.n_byte).filter(|&n| n >= progress.n_read);
        phases::at(Amount { done: progress.n_read, of, unit: "" });
        true
    });
    phases::end();
    let done = done?;
    let seconds = started.elapsed().as_secs_f64();
    if done.n_skipped > 0 {
        errln!("skipped {}, binary or empty", count(done.n_skipped, "file"));
    }
    if done.n_replaced > 0 {
        errln!("replaced bytes that are not UTF-8 with U+FFFD in {}", count(done.n_replaced, "place"));
    }
    reading::warn_of_unknown(&done.findings, reading::ANOTHER_TOKENIZER);
    reading::note_names_with(&done.findings, tokenizer, |_, is_end| {
        let token = if is_end { "the end-of-text token" } else { "a special token" };
        let how = if tokenizer.can_read_specials() { "--special-tokens" } else { "--tokenizer gpt2 --special-tokens" };
        format!("{how} makes it {token}")
    });
    if args.json {
        let line = json!({
            "out": args.out, "tokenizer": spec.to_string(), "vocab_size": tokenizer.vocab_size(), "train_tokens": done.n_train,
            "val_tokens": done.n_val, "documents": done.documents, "parted": done.is_parted, "bytes_read": done.n_read,
            "format": if done.form == Form::Llmc { "llmc" } else { "nanogpt" }, "bits": done.bits, "seconds": seconds,
        });
        outln!("{line}");
        return Ok(ExitCode::SUCCESS);
    }
    let parted = if done.is_parted {
        format!("; {}, each after an end-of-text token", count(done.documents, "document"))
    } else {
        String::new()
    };
    outln!(
        "tokens   {} to train on, {} to validate; vocabulary {}{parted}",
        done.n_train,
        done.n_val,
        tokenizer.vocab_size()
    );
    let rate = human_bytes((done.n_read as f64 / seconds.max(1e-3)) as u64);
    outln!("text     {} in {seconds:.1} s, {rate} per second", human_bytes(done.n_read));
    outln!("done; train on it with: tril train {}", quoted(&args.out));
    Ok(ExitCode::SUCCESS)
}
