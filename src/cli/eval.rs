use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::phases::{self, Amount, Shows};
use super::run_text::text_of_run;
use super::settings::DeviceArgs;
use super::which::WhichArgs;
use super::{Outcome, reading, token_files};
use crate::data::tokens::Width;
use crate::data::{Dataset, Source, embedded, tokens};
use crate::generate::{Decoder, LoadedModel, SamplerConfig, free_run};
use crate::model::BatchShape;
use crate::run::RunDir;
use crate::train::Evaluator;
use crate::units::count;

/// Measure a trained model: teacher-forced loss, and accuracy on its own predictions.
///
/// Measures a trained model on its run's validation split, or on the text of the given paths. Teacher-forced: loss,
/// perplexity and bits per byte over every position, always given the true past. Free-running: the model continues each
/// window on its own greedy predictions; the share of tokens still right after k of them shows what teacher forcing
/// hides.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// Run directory that `tril train` wrote.
    run: PathBuf,
    /// Text files, folders, - for standard input, or token files (.bin) of the run's vocabulary; a folder with a
    /// val.bin stands for that file [default: the run's validation split].
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Replace bytes of PATH that aren't UTF-8 with U+FFFD instead of refusing the text.
    #[arg(long)]
    lossy: bool,
    /// Bits per token in token files without a header: 8, 16, 32 or 64 [default: 16, unless they look like another
    /// width].
    #[arg(long, value_name = "BITS")]
    token_width: Option<Width>,
    /// Evaluate N windows, always the same ones; 0 means all.
    #[arg(long, default_value_t = 0, value_name = "N")]
    eval_windows: usize,
    /// Rows evaluated at a time.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: u32,
    /// Windows for free-running; 0 skips it.
    #[arg(long, default_value_t = 32, value_name = "N")]
    free_windows: usize,
    #[command(flatten)]
    which: WhichArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Maximum number of tokens that the model predicts from its own predictions.
const FREE_TOKENS: usize = 32;

pub(super) fn run(args: &EvalArgs) -> Outcome {
    phases::show(if args.json { Shows::Lines } else { Shows::Live });
    let (dir, config, tokenizer) = RunDir::open(&args.run)?;
    let mut weights = args.which.open(&dir, &config.model)?;
    let own = args.paths.is_empty();
    let dataset = if own {
        let text = text_of_run(&config.data.source, &args.run)?;
        text.verify(config.data.crc32)?;
        dir.check_split(&config)?;
        text.prepare(&tokenizer, &config.data_options(), &reading::watch)?;
        Dataset::of(&text, &tokenizer, &config.data_options())?
    } else {
        let source = tokens::find_for_evaluation(&args.paths)?.lossily(args.lossy).of_width(args.token_width)?;
        token_files::check_beside(&source, &tokenizer)?;
        let corpus = reading::load(&source)?;
        reading::warn(&corpus);
        Dataset::evaluation_watched(&corpus, &tokenizer, &config.data_options(), &reading::watch)?
    };
    phases::end();
    reading::warn_of_unknown(dataset.findings(), "the results say little about the model");
    if !own {
        reading::note_names_with(dataset.findings(), &tokenizer, |_, _| "as the run reads its own text".into());
    }
    let limit = Some(args.eval_windows).filter(|&n| n > 0);
    let extent = dataset.eval_extent(limit);
    if extent.targets == 0 {
        return Err("nothing to evaluate: the run has no validation split; give a PATH".into());
    }
    phases::begin("loading the model");
    let gpu = args.device.open()?;
    phases::follow(&gpu);
    let model = LoadedModel::new(&gpu, &config.model, &weights.read_all(&config.model)?)?;
    let (b, t) = (args.batch_size, config.row_size());
    let session = config.session();
    let rows = BatchShape { b: b.into(), ..session.rows() };
    let mut evaluator = Evaluator::new(model.program(), &config.model, rows, session.memory)?;
    phases::begin("evaluating");
    let of = Some(extent.windows);
    let evaluated = evaluator.loss_while(dataset.eval_batches(b as usize, limit), &mut |n| {
        phases::at(Amount { done: n * u64::from(b), of, unit: "windows" });
        true
    })?;
    let (loss, n_target) = evaluated.unwrap_or_default();
    if !loss.is_finite() {
        return Err("the loss is not finite: the model's weights diverged or are damaged; train another".into());
    }
    let bits_per_byte = extent.bits_per_byte(loss);

    let prompt = (t as usize / 2).max(1);
    let width = (t as usize).min(prompt + FREE_TOKENS);
    let windows: Vec<Vec<u32>> = dataset
        .eval_batches(1, Some(args.free_windows).filter(|&n| n > 0))
        .take(if args.free_windows == 0 { 0 } else { usize::MAX })
        // a window of several documents has no single text to continue
        .filter(|batch| batch.n_targets() == t && batch.firsts.iter().all(|&first| first == 0))
        .map(|batch| batch.tokens[..width].to_vec())
        .collect();
    let n_row = Decoder::rows_for(&config.model, gpu.caps(), windows.len().clamp(1, b as usize) as u64);
    let mut decoder = Decoder::new(model.program(), &config.model, n_row, SamplerConfig::default())?;
    decoder.forbid(|id| !tokenizer.is_in_texts(id));
    phases::begin(format!("continuing {} on the model's own predictions", count(windows.len(), "window")));
    let free = free_run(&mut decoder, &windows, prompt)?;
    phases::end();

    if args.json {
        let line = json!({
            "device": gpu.name(), "model_step": weights.step, "loss": loss, "perplexity": loss.exp(), "bits_per_byte": bits_per_byte, "targets": n_target,
            "windows": extent.windows, "free_windows": free.n_window, "free_prompt": prompt, "free_share": free.share,
        });
        outln!("{line}");
        return Ok(ExitCode::SUCCESS);
    }
    outln!("device           {}", gpu.name());
    outln!("model            {}", WhichArgs::name(&weights));
    outln!("text             {}", if own { "the run's validation split" } else { "the given paths" });
    outln!("teacher-forced   over {} in {}", count(n_target, "target"), count(extent.windows, "window"));
    outln!("  loss           {loss:.4} nats per token");
    outln!("  perplexity     {:.3}", loss.exp());
    if let Some(bits) = bits_per_byte {
        outln!("  bits per byte  {bits:.4}");
    }
    let is_of_stories = own && matches!(config.data.source, Source::Embedded { .. });
    let floor = is_of_stories.then(|| embedded::floor(&config.data.mode)).flatten();
    if let (Some(floor), Some(bits)) = (floor, bits_per_byte) {
        outln!("  per character  {:.4} nats", embedded::nats_per_char(bits));
        outln!("  floor          {floor:.4} nats per character, the stories' own entropy");
    }
    if free.n_window == 0 {
        if args.free_windows > 0 {
            outln!("free-running     no full window to continue");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (windows, given) = (count(free.n_window, "window"), count(prompt, "token"));
    outln!("free-running     {windows}: {given} given, then the model's own predictions");
    for k in [1, 2, 4, 8, 16, 32] {
        if let Some(share) = free.share.get(k - 1) {
            outln!("  token {k:>2}       {:.1} % right", share * 100.0);
        }
    }
    Ok(ExitCode::SUCCESS)
}
