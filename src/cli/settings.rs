//! Flags shared by several commands, and how they become settings.

mod again;
mod fit;

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(super) use self::fit::Fit;
pub(super) use super::device::DeviceArgs;
use super::misuse::misuse;
use super::{phases, reading};
use crate::data::tokens::Width;
use crate::data::{Corpus, DataError, Mode, Source, Tokenizer, TokenizerSpec, tokens};
use crate::graph::Recompute;
use crate::model::{ModelConfig, Positions};
use crate::run::prepare::{self, PrepareError};
use crate::run::spikes::OnSpike;
use crate::run::{OnNonfinite, RunConfig, ScheduleKind};
pub(super) use crate::train::memory::SharesMemory;
use crate::train::memory::parse_bytes;

/// Model and training settings. A flag overrides --config, which overrides --preset.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// Preset to start from: stories (for the embedded stories: whole stories, bpe:1280), nano (nanoGPT's small CPU
    /// setting), char (its shakespeare-char), gpt2, gpt2-medium, gpt2-large or gpt2-xl [default: nano; stories if train
    /// or tune has no text].
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// TOML file with settings: any part of a run's config.toml.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    train: TrainingArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
struct ModelArgs {
    /// Number of transformer blocks.
    #[arg(long, value_name = "N")]
    n_layer: Option<u64>,
    /// Number of attention heads; must divide --n-embd.
    #[arg(long, value_name = "N")]
    n_head: Option<u64>,
    /// Number of channels.
    #[arg(long, value_name = "N")]
    n_embd: Option<u64>,
    /// Maximum number of tokens that the model sees at once.
    #[arg(long, value_name = "N")]
    block_size: Option<u64>,
    /// Use biases in linear and norm layers.
    #[arg(long, value_name = "BOOL")]
    bias: Option<bool>,
    /// Also use the token embedding as the output projection.
    #[arg(long, value_name = "BOOL")]
    tied: Option<bool>,
    /// Kind of position embedding.
    #[arg(long, value_enum)]
    positions: Option<PositionsArg>,
    /// Dropout probability for embeddings, attention and residuals.
    #[arg(long, value_name = "P")]
    dropout: Option<f32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PositionsArg {
    Learned,
    Sinusoidal,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
struct TrainingArgs {
    /// Number of optimizer steps.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Rows per micro-batch.
    #[arg(long, value_name = "N")]
    batch_size: Option<u64>,
    /// Micro-batches per step; their gradients are added up.
    #[arg(long, value_name = "N")]
    grad_accum: Option<u64>,
    /// Tokens per step, in the largest micro-batches that memory allows; replaces --batch-size and --grad-accum.
    #[arg(long, value_name = "N")]
    batch_tokens: Option<u64>,
    /// Memory limit, such as 1500M or 4G: for the process on a device that uses the machine's memory, for the device's
    /// buffers otherwise [default: what is free, if that is known].
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, allow_hyphen_values = true)]
    memory: Option<u64>,
    /// Peak learning rate.
    #[arg(long)]
    lr: Option<f64>,
    /// Learning rate at the end [default: a tenth of --lr].
    #[arg(long, value_name = "LR")]
    min_lr: Option<f64>,
    /// Learning rate schedule after warm-up.
    #[arg(long, value_enum)]
    schedule: Option<ScheduleKind>,
    /// Number of steps of linear warm-up.
    #[arg(long, value_name = "N")]
    warmup_steps: Option<u64>,
    /// AdamW's decay of the first moment.
    #[arg(long, value_name = "BETA")]
    beta1: Option<f64>,
    /// AdamW's decay of the second moment.
    #[arg(long, value_name = "BETA")]
    beta2: Option<f64>,
    /// AdamW's epsilon.
    #[arg(long)]
    eps: Option<f64>,
    /// Decoupled weight decay of matrices and embeddings.
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,
    /// Maximum global gradient norm; 0 turns clipping off.
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// Random seed for weights, batch order and dropout.
    #[arg(long)]
    seed: Option<u64>,
    /// Steps between evaluations of the validation split; 0 evaluates only at the end.
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
    /// Evaluate N windows, always the same ones, instead of the whole split; 0 means all.
    #[arg(long, value_name = "N")]
    eval_windows: Option<u64>,
    /// Steps between samples, with another at the end; 0 for none.
    #[arg(long, value_name = "N")]
    sample_every: Option<u64>,
    /// Steps between checkpoints; 0 saves only at the end.
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Number of checkpoints to keep, at least 1; older ones are deleted.
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
    /// What to do after a step whose loss or gradients aren't finite; the step itself never changes anything.
    #[arg(long, value_enum)]
    on_nonfinite: Option<OnNonfinite>,
    /// What to do about a loss or gradient norm more than 6 standard deviations above those of the steps before. A
    /// skipped step changes nothing; it is judged by the statistics of three steps earlier.
    #[arg(long, value_enum)]
    on_spike: Option<OnSpike>,
    /// Positions whose logits are computed at a time; fewer take less memory. Rounded up to a multiple of 64; 0 for
    /// about 32 MiB of logits.
    #[arg(long, value_name = "ROWS")]
    loss_chunk: Option<u64>,
    /// What the backward pass recomputes instead of keeping it; results are the same to the last bit.
    #[arg(long, value_enum)]
    recompute: Option<Recompute>,
    /// Tokenizer: char, byte, gpt2, bpe:SIZE (learned from the text), a tokenizer.json of tril or Hugging Face, or
    /// auto, which chooses by the size and alphabet of the text [default: auto; gpt2 with its presets].
    #[arg(long, value_name = "KIND")]
    tokenizer: Option<TokenizerSpec>,
    /// Replace bytes that aren't UTF-8 with U+FFFD instead of refusing the text.
    #[arg(long)]
    lossy: bool,
    /// Read the names of special tokens in the text, such as <|endoftext|>, as those tokens instead of plain text.
    #[arg(long)]
    special_tokens: bool,
    /// stream: random windows of one long text; documents: rows of whole documents with start and end tokens, padded.
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// Separator between documents, with \n and \t as escapes [default: a line break; stories: a blank line].
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
    /// Pack several documents into a row (best-fit), to reduce padding; otherwise each row has one document [default:
    /// true with --mode documents].
    #[arg(long, value_name = "BOOL")]
    pack: Option<bool>,
    /// Keep attention and positions within each document, as if it had a row of its own; otherwise a document attends
    /// to those before it in its row. In a stream this needs a tokenizer with an end-of-text token, which separates
    /// documents [default: true with --pack].
    #[arg(long, value_name = "BOOL")]
    document_mask: Option<bool>,
    /// Token files to validate on [default: files with val in their names in a folder or pattern, else the last
    /// --val-fraction of the tokens].
    #[arg(long, value_name = "PATH", num_args = 1..)]
    val: Vec<PathBuf>,
    /// Bits per token in token files without a header: 8, 16, 32 or 64 [default: 16, unless they look like another
    /// width].
    #[arg(long, value_name = "BITS")]
    token_width: Option<Width>,
    /// Share of the text, or of token files without a validation file, to hold out for validation.
    #[arg(long, value_name = "SHARE")]
    val_fraction: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    Stream,
    Documents,
}

/// Sets the defaults of `pack` and `document_mask`, which depend on the mode.
fn packed(mut config: RunConfig) -> RunConfig {
    prepare::set_packing(&mut config);
    config
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

impl SettingsArgs {
    /// Applies preset, file and flags, in this order. The text's source isn't among them.
    pub fn resolve(&self) -> Result<RunConfig, Box<dyn Error>> {
        let preset = self.preset.as_deref().unwrap_or("nano");
        Ok(packed(self.resolve_over(&RunConfig::preset(preset)?)?))
    }

    /// [`SettingsArgs::resolve`] for a run on these paths; without any, the default is the preset of the embedded
    /// stories. Also returns whether that preset was used.
    pub fn resolve_on(&self, paths: &[PathBuf]) -> Result<(RunConfig, bool), Box<dyn Error>> {
        if paths.is_empty() && self.preset.is_none() {
            let config = packed(self.resolve_over(&RunConfig::preset("stories")?)?);
            // a --config may name a text
            if matches!(config.data.source, Source::Embedded { .. }) {
                return Ok((config, true));
            }
        }
        Ok((self.resolve()?, false))
    }

    /// Applies file and flags to the settings of an imported run: all but the model may change, and rows may be shorter
    /// than its block.
    pub fn resolve_for(&self, imported: &RunConfig) -> Result<RunConfig, Box<dyn Error>> {
        let mut config = packed(self.resolve_over(imported)?);
        let model = &imported.model;
        if config.model.block_size < model.block_size {
            config.train.row_size = Some(config.model.block_size);
            config.model.block_size = model.block_size;
        }
        if config.model.block_size > model.block_size {
            let (n, max) = (config.model.block_size, model.block_size);
            return Err(misuse(format!(
                "--block-size is {n}, but the imported model has only {max} positions; give at most {max}"
            )));
        }
        if config.model != (ModelConfig { dropout: config.model.dropout, ..model.clone() }) {
            return Err(misuse(
                "an imported model can't be changed: only --dropout and a smaller --block-size are allowed",
            ));
        }
        if config.data.tokenizer != imported.data.tokenizer {
            return Err(misuse(
                "an imported model keeps its tokenizer; leave --tokenizer out, or pass it to tril import",
            ));
        }
        Ok(config)
    }

    /// Applies the settings of `--config` to `base`.
    fn with_file(&self, base: &RunConfig) -> Result<RunConfig, Box<dyn Error>> {
        let Some(path) = &self.config else { return Ok(base.clone()) };
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData => {
                format!("--config {}: it is not UTF-8 text; save it as UTF-8", path.display())
            }
            _ => format!("--config {}: {e}; check the path", path.display()),
        })?;
        Ok(base.overlaid(&path.display().to_string(), &text)?)
    }

    /// Fails if a setting is out of range, and names `--config` if the file is to blame.
    pub fn check(&self, config: &RunConfig) -> Result<(), Box<dyn Error>> {
        let Err(error) = config.validate() else { return Ok(()) };
        let preset = RunConfig::preset(self.preset.as_deref().unwrap_or("nano"))?;
        match (&self.config, self.with_file(&preset)?.validate()) {
            (Some(path), Err(of_file)) if of_file == error => {
                Err(format!("--config {}: {error}; correct the file", path.display()).into())
            }
            _ => Err(error.into()),
        }
    }

    /// Applies file and flags to `base`.
    pub fn resolve_over(&self, base: &RunConfig) -> Result<RunConfig, Box<dyn Error>> {
        let mut config = self.with_file(base)?;
        let m = &mut config.model;
        set(&mut m.n_layer, self.model.n_layer);
        set(&mut m.n_head, self.model.n_head);
        set(&mut m.n_embd, self.model.n_embd);
        set(&mut m.block_size, self.model.block_size);
        set(&mut m.bias, self.model.bias);
        set(&mut m.tied, self.model.tied);
        set(&mut m.dropout, self.model.dropout);
        set(
            &mut m.positions,
            self.model.positions.map(|p| match p {
                PositionsArg::Learned => Positions::Learned,
                PositionsArg::Sinusoidal => Positions::Sinusoidal,
            }),
        );
        let (t, flags) = (&mut config.train, &self.train);
        set(&mut t.steps, flags.steps);
        set(&mut t.batch_size, flags.batch_size);
        set(&mut t.grad_accum, flags.grad_accum);
        set(&mut t.min_lr, flags.min_lr.or(flags.lr.map(|lr| lr / 10.0)));
        set(&mut t.lr, flags.lr);
        set(&mut t.schedule, flags.schedule);
        set(&mut t.warmup_steps, flags.warmup_steps);
        set(&mut t.optimizer.beta1, flags.beta1);
        set(&mut t.optimizer.beta2, flags.beta2);
        set(&mut t.optimizer.eps, flags.eps);
        set(&mut t.optimizer.weight_decay, flags.weight_decay);
        set(&mut t.optimizer.max_norm, flags.clip);
        set(&mut t.seed, flags.seed);
        set(&mut t.eval_every, flags.eval_every);
        set(&mut t.eval_windows, flags.eval_windows);
        set(&mut t.sample_every, flags.sample_every);
        set(&mut t.checkpoint_every, flags.checkpoint_every);
        set(&mut t.keep, flags.keep);
        set(&mut t.on_nonfinite, flags.on_nonfinite);
        set(&mut t.on_spike, flags.on_spike);
        set(&mut t.loss_chunk, flags.loss_chunk);
        set(&mut t.recompute, flags.recompute);
        let d = &mut config.data;
        set(&mut d.tokenizer, flags.tokenizer.clone());
        d.special_tokens |= flags.special_tokens;
        set(&mut d.val_fraction, flags.val_fraction);
        d.pack = flags.pack.or(d.pack);
        d.document_mask = flags.document_mask.or(d.document_mask);
        set(
            &mut d.mode,
            flags.mode.map(|mode| match mode {
                ModeArg::Stream => Mode::Stream,
                ModeArg::Documents => Mode::lines(),
            }),
        );
        if let Some(text) = &flags.separator {
            let Mode::Documents { separator } = &mut d.mode else {
                return Err(misuse("--separator is for --mode documents; add that flag"));
            };
            *separator = text.replace("\\n", "\n").replace("\\t", "\t");
        }
        Ok(config)
    }

    /// Whether the user may have chosen the separator of documents.
    pub fn has_separator(&self) -> bool {
        self.train.separator.is_some() || self.config.is_some()
    }

    /// The source of a run on these paths.
    pub fn source(&self, paths: &[PathBuf]) -> Result<Source, Box<dyn Error>> {
        let source = tokens::find(paths, &self.train.val)?;
        if self.train.lossy && matches!(source, Source::Tokens { .. }) {
            return Err(misuse("--lossy is for text, but these are token files; leave it out"));
        }
        if let (Source::Tokens { val, .. }, Some(share)) = (&source, self.train.val_fraction)
            && let Some(val) = val.first()
        {
            let val = val.display();
            return Err(misuse(format!(
                "--val-fraction {share} and {val} are two validation splits; leave the flag out, or name only files to \
                 train on"
            )));
        }
        Ok(source.lossily(self.train.lossy).of_width(self.train.token_width)?)
    }

    /// The value of --token-width.
    pub fn token_width(&self) -> Option<Width> {
        self.train.token_width
    }
}

/// A new run's text or token files, and its tokenizer.
pub(super) struct Read {
    pub corpus: Corpus,
    pub tokenizer: Tokenizer,
    /// How the tokenizer was chosen, if the user didn't choose it.
    pub chosen: Option<String>,
}

/// Reads the text of a new run, or opens its token files, completes the settings, and makes the tokenizer.
///
/// # Errors
///
/// As [`Source::load`], and an invalid setting.
pub(super) fn read_text(
    config: &mut RunConfig,
    paths: &[PathBuf],
    settings: &SettingsArgs,
) -> Result<Read, Box<dyn Error>> {
    let corpus = load_corpus(config, paths, settings).map_err(|error| match error.downcast_ref() {
        Some(DataError::Missing { path }) if paths.iter().any(|given| path.ends_with(given)) => {
            format!("{error}, or give none to train on the embedded stories").into()
        }
        _ => error,
    })?;
    let asked = settings.train.tokenizer.as_ref();
    let made = prepare::tokenizer(config, &corpus, asked, &reading::watch);
    phases::end();
    let (tokenizer, chosen) = made.map_err(boxed)?;
    Ok(Read { corpus, tokenizer, chosen })
}

/// Reads the text or opens the token files that a run begins with, and records them in the settings.
///
/// # Errors
///
/// As [`Source::load`], and an invalid setting.
pub(super) fn load_corpus(
    config: &mut RunConfig,
    paths: &[PathBuf],
    settings: &SettingsArgs,
) -> Result<Corpus, Box<dyn Error>> {
    if !paths.is_empty() {
        config.data.source = settings.source(paths)?;
    } else if let Some(val) = settings.train.val.first() {
        return Err(misuse(format!("--val {} needs token files to train on; name them as PATH", val.display())));
    }
    prepare::set_separator(config, settings.has_separator());
    // finds an invalid setting before a long text is read
    let any_text = RunConfig { model: ModelConfig { vocab_size: 1, ..config.model.clone() }, ..config.clone() };
    settings.check(&any_text)?;
    reading::begin(&config.data.source);
    let corpus = prepare::load(config, &reading::watch);
    phases::end();
    let corpus = corpus?;
    reading::warn(&corpus);
    Ok(corpus)
}

/// Fails if `--special-tokens` is given for a tokenizer that has none.
pub(super) fn boxed(error: PrepareError) -> Box<dyn Error> {
    match error {
        PrepareError::Data(error) => error.into(),
        PrepareError::Mismatch(what) => misuse(what),
    }
}
