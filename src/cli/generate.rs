use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::settings::DeviceArgs;
use crate::data::Tokenizer;
use crate::generate::{Generator, LoadedModel, Sampler, SamplerConfig};
use crate::train::{RunDir, checkpoint};

/// Let a trained model talk.
///
/// Continues a prompt, token by token. Past the model's block size the window slides: the model then sees only the last
/// block_size tokens, counted as positions from the window's start.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// A run directory that `tril train` wrote.
    run: PathBuf,
    /// The text to continue [default: the start of a document, or a line break].
    #[arg(long)]
    prompt: Option<String>,
    /// Most tokens to generate for each sample.
    #[arg(long, default_value_t = 500)]
    tokens: usize,
    /// Divides the logits: below 1 bolder, above 1 wilder, 0 always the likeliest token.
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Choose among the K likeliest tokens only; 0 means all.
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_k: usize,
    /// Choose among the likeliest tokens that together have probability P.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f32,
    /// The same seed gives the same text on the same device.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many texts.
    #[arg(long, default_value_t = 1, value_name = "N")]
    samples: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &GenerateArgs) -> Outcome {
    if !(args.temperature.is_finite() && args.temperature >= 0.0) {
        return Err(format!("--temperature is {}, it must be a finite number, at least 0", args.temperature).into());
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        return Err(format!("--top-p is {}, it must be above 0 and at most 1", args.top_p).into());
    }
    let (dir, config, tokenizer) = RunDir::open(&args.run)?;
    let weights = checkpoint::load_model(&dir, &config.model)?;
    let prompt = prompt_tokens(&tokenizer, args.prompt.as_deref())?;
    let gpu = args.device.open()?;
    eprintln!("device: {}", gpu.name());
    let model = LoadedModel::new(&gpu, &config.model, &weights)?;
    let mut generator = Generator::new(&config.model, 1);
    let sampling =
        SamplerConfig { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    for sample in 0..args.samples {
        if args.samples > 1 {
            outln!("--- sample {} of {}", sample + 1, args.samples);
        }
        emit(args.prompt.as_deref().unwrap_or(""))?;
        let mut sampler = Sampler::new(sampling, sample);
        let mut decoder = tokenizer.decoder();
        let mut context = prompt.clone();
        for _ in 0..args.tokens {
            let logits = generator.next_logits(model.program(), &[&context])?;
            if !logits[0].iter().any(|logit| logit.is_finite()) {
                return Err(
                    "the model gives no finite logit: its weights have diverged or are damaged; train another".into()
                );
            }
            let next = sampler.sample(&logits[0]);
            if Some(next) == tokenizer.end_id() {
                break;
            }
            context.push(next);
            emit(&decoder.push(next))?;
        }
        emit(&decoder.finish())?;
        emit("\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints at once: text streams as it is made.
fn emit(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // whoever reads has seen enough
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// The prompt with the start token in front where the model knows one; never empty.
fn prompt_tokens(tokenizer: &Tokenizer, prompt: Option<&str>) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    let mut tokens: Vec<u32> = tokenizer.start_id().into_iter().collect();
    tokens.extend(tokenizer.encode(prompt.unwrap_or(""))?);
    if tokens.is_empty() {
        tokens.push(tokenizer.encode("\n").ok().and_then(|t| t.first().copied()).unwrap_or(0));
    }
    Ok(tokens)
}
