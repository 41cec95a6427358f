use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::misuse::misuse;
use super::phases::{self, Shows};
use super::settings::DeviceArgs;
use super::which::WhichArgs;
use super::{Outcome, prompt, stdout};
use crate::data::{Decoder as TextDecoder, Tokenizer};
use crate::generate::{Decoder, LoadedModel, SamplerConfig};
use crate::run::RunDir;

/// Generate text with a trained model.
///
/// Continues a prompt token by token, caching the keys and values of earlier tokens on the device. Samples are
/// generated in batches; the first one streams as it is made. Positions are absolute, so the cache is useless once the
/// window slides: whenever a text has filled the model's block, its last block_size / 2 tokens are recomputed as a
/// prompt at position 0, in one forward pass. From then on the model sees between block_size / 2 and block_size tokens.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Run directory that `tril train` wrote.
    run: PathBuf,
    /// Text to continue [default: the start of a document, or a line break].
    #[arg(long)]
    prompt: Option<String>,
    /// Maximum number of tokens to generate for each sample.
    #[arg(long, default_value_t = 500)]
    tokens: usize,
    /// Divides the logits: below 1 favours likely tokens, above 1 varies more, 0 always takes the likeliest token.
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Sample from the K likeliest tokens only; 0 means all.
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_k: usize,
    /// Sample from the likeliest tokens that together have probability P.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f32,
    /// Random seed; the same seed gives the same text on the same device.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of texts to generate.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &GenerateArgs) -> Outcome {
    if !(args.temperature.is_finite() && args.temperature >= 0.0) {
        return Err(misuse(format!("--temperature is {}, it must be a finite number, at least 0", args.temperature)));
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        return Err(misuse(format!("--top-p is {}, it must be above 0 and at most 1", args.top_p)));
    }
    phases::show(Shows::Live);
    phases::begin("loading the model");
    let (dir, config, tokenizer) = RunDir::open(&args.run)?;
    let mut weights = args.which.open(&dir, &config.model)?;
    let prompt = prompt_tokens(&tokenizer, args.prompt.as_deref())?;
    let gpu = args.device.open()?;
    errln!("device: {}", gpu.name());
    phases::follow(&gpu);
    let model = LoadedModel::new(&gpu, &config.model, &weights.read_all(&config.model)?)?;
    let sampling =
        SamplerConfig { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let n_row = Decoder::rows_for(&config.model, gpu.caps(), args.samples);
    let mut decoder = Decoder::new(model.program(), &config.model, n_row, sampling)?;
    decoder.forbid(|id| !tokenizer.is_in_texts(id));
    let mut first = 0;
    while first < args.samples {
        let n = (n_row as u64).min(args.samples - first);
        batch(args, &tokenizer, &prompt, &mut decoder, first..first + n)?;
        first += n;
    }
    Ok(ExitCode::SUCCESS)
}

/// A text being generated.
struct Text<'a> {
    /// `None` once the text has ended.
    decoder: Option<TextDecoder<'a>>,
    n_token: usize,
}

/// Generates a batch of samples: prints the first one as it grows, then the others.
fn batch(
    args: &GenerateArgs,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    decoder: &mut Decoder,
    samples: std::ops::Range<u64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let text = |_| Text { decoder: (args.tokens > 0).then(|| tokenizer.decoder()), n_token: 0 };
    let mut texts: Vec<Text<'_>> = samples.clone().map(text).collect();
    let mut later = vec![String::new(); texts.len()];
    let title = |i: usize| match args.samples {
        0 | 1 => String::new(),
        n => format!("--- sample {} of {n}\n", samples.start + i as u64 + 1),
    };
    let begin = args.prompt.as_deref().unwrap_or("");
    // the prompt is printed with the first tokens, so that a slow phase before them can be named
    let mut head = Some(format!("{}{begin}", title(0)));
    if args.tokens > 0 {
        phases::begin("reading the prompt");
        let prompts = vec![prompt; texts.len()];
        decoder.start(&prompts, u32::try_from(samples.start).unwrap_or(u32::MAX))?;
    }
    while texts.iter().any(|text| text.decoder.is_some()) {
        let left = texts
            .iter()
            .filter(|text| text.decoder.is_some())
            .map(|text| args.tokens - text.n_token)
            .max()
            .unwrap_or(1);
        let tokens = decoder.next(left)?;
        phases::end();
        emit(&head.take().unwrap_or_default())?;
        for (i, (text, tokens)) in texts.iter_mut().zip(tokens).enumerate() {
            for token in tokens {
                let Some(decoder) = &mut text.decoder else { break };
                if token == Decoder::NO_TOKEN {
                    return Err(
                        "the model gives no finite logit: its weights diverged or are damaged; train another".into()
                    );
                }
                let is_end = Some(token) == tokenizer.end_id();
                let mut new = if is_end { String::new() } else { decoder.push(token) };
                text.n_token += 1;
                if is_end || text.n_token == args.tokens {
                    new += &text.decoder.take().map(TextDecoder::finish).unwrap_or_default();
                    new.push('\n');
                }
                if i == 0 {
                    emit(&new)?;
                } else {
                    later[i] += &new;
                }
            }
        }
    }
    if args.tokens == 0 {
        phases::end();
        emit(&format!("{}\n", head.take().unwrap_or_default()))?;
        later.iter_mut().for_each(|text| text.push('\n'));
    }
    for (i, text) in later.iter().enumerate().skip(1) {
        emit(&format!("{}{begin}{text}", title(i)))?;
    }
    Ok(())
}

/// Prints without buffering, so that text streams as it is made.
fn emit(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // the reader closed the pipe
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|e| stdout::describe(&e)),
    }
}

/// The prompt's tokens, after the start token if the tokenizer has one; never empty.
fn prompt_tokens(tokenizer: &Tokenizer, prompt: Option<&str>) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    let mut tokens: Vec<u32> = tokenizer.start_id().into_iter().collect();
    tokens.extend(prompt::encode(tokenizer, prompt.unwrap_or(""))?);
    if tokens.is_empty() {
        tokens.push(tokenizer.opening_id());
    }
    Ok(tokens)
}
