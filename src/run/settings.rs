use serde::{Deserialize, Serialize};

use super::spikes::OnSpike;
use super::{Schedule, ScheduleKind, TomlError};
use crate::data::{Mode, Options, Source, TokenizerSpec, embedded};
use crate::graph::AdamwConfig;
use crate::graph::Recompute;
use crate::model::{ConfigError, ModelConfig};

/// What to do about a step with a non-finite loss or gradients. The step itself never changes anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnNonfinite {
    /// Continue with the next batch; stop after 20 such steps in a row.
    #[default]
    Skip,
    /// Stop at once.
    Stop,
    /// Go back to the last checkpoint and continue with the batches after the bad one; stop after 5 times from one
    /// checkpoint.
    Rollback,
}

fn two() -> u64 {
    2
}

/// The training settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub steps: u64,
    /// Rows of a micro-batch.
    pub batch_size: u64,
    /// Micro-batches per step.
    pub grad_accum: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Learning rate at the end of the decay.
    pub min_lr: f64,
    /// Shape of the learning rate.
    pub schedule: ScheduleKind,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Seed of weights, batch order and dropout.
    pub seed: u64,
    /// Steps between evaluations; 0 means only at the end.
    pub eval_every: u64,
    /// Validation windows per evaluation; 0 means all.
    pub eval_windows: u64,
    /// Steps between samples; 0 means none.
    pub sample_every: u64,
    /// Steps between checkpoints; 0 means only at the end.
    pub checkpoint_every: u64,
    /// Checkpoints to keep.
    #[serde(default = "two")]
    pub keep: u64,
    /// What to do about non-finite losses and gradients.
    #[serde(default)]
    pub on_nonfinite: OnNonfinite,
    /// What to do about losses and gradient norms far above the previous ones.
    #[serde(default)]
    pub on_spike: OnSpike,
    /// Rows of logits held at a time, rounded up to a multiple of 64; 0 means about 32 MiB of them.
    #[serde(default)]
    pub loss_chunk: u64,
    /// What the backward pass recomputes instead of keeping it.
    #[serde(default)]
    pub recompute: Recompute,
    /// Positions per row, if fewer than the model's block: for an imported model, whose block is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_size: Option<u64>,
    /// AdamW and clipping.
    pub optimizer: AdamwConfig,
}

/// The data settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// How text becomes tokens.
    pub tokenizer: TokenizerSpec,
    /// Whether the names of special tokens in the text, such as `<|endoftext|>`, become their ids.
    #[serde(default)]
    pub special_tokens: bool,
    /// The share held out for validation.
    pub val_fraction: f64,
    /// CRC-32 of the text, so that a resumed run notices a change; 0 before it is read.
    #[serde(default)]
    pub crc32: u32,
    /// Whether several documents share a row; `None` in runs from before the option existed, which have one each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<bool>,
    /// Whether attention stays within a document; `None` in runs from before the option existed, which have no mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_mask: Option<bool>,
    /// Stream or documents.
    pub mode: Mode,
    /// Where the text comes from.
    pub source: Source,
}

/// Everything needed to repeat a training run: `config.toml` of the run directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The model.
    pub model: ModelConfig,
    /// The training settings.
    pub train: TrainConfig,
    /// The data settings.
    pub data: DataConfig,
}

impl RunConfig {
    /// The settings of a preset on the embedded corpus.
    ///
    /// # Errors
    ///
    /// An unknown name.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let model = ModelConfig::preset(name)?;
        let (steps, batch_size, lr, warmup_steps, beta2, tokenizer) = match name {
            "stories" => (1600, 2, 4e-3, 20, 0.99, TokenizerSpec::Bpe(1280)),
            "nano" => (2000, 12, 1e-3, 100, 0.99, TokenizerSpec::Auto),
            "char" => (5000, 64, 1e-3, 100, 0.99, TokenizerSpec::Char),
            _ => (600_000, 1, 6e-4, 2000, 0.95, TokenizerSpec::Gpt2),
        };
        let preset = Self {
            model,
            train: TrainConfig {
                steps,
                batch_size,
                grad_accum: 1,
                lr,
                min_lr: lr / 10.0,
                schedule: ScheduleKind::Cosine,
                warmup_steps,
                seed: 1337,
                eval_every: 250,
                eval_windows: 0,
                sample_every: 500,
                checkpoint_every: 250,
                keep: two(),
                on_nonfinite: OnNonfinite::default(),
                on_spike: OnSpike::default(),
                loss_chunk: 0,
                recompute: Recompute::None,
                row_size: None,
                optimizer: AdamwConfig { beta2, ..AdamwConfig::default() },
            },
            data: DataConfig {
                tokenizer,
                special_tokens: false,
                val_fraction: 0.1,
                crc32: 0,
                mode: Mode::Stream,
                pack: None,
                document_mask: None,
                source: Source::from_paths(&[]),
            },
        };
        Ok(if name == "stories" { preset.of_stories() } else { preset })
    }

    /// The settings that came closest to the stories' floor in the time of 500 steps of `nano`: tokens are pieces of
    /// words, and rows hold whole stories. A second layer gains less than the steps that its time costs.
    fn of_stories(mut self) -> Self {
        self.data.mode = Mode::Documents { separator: embedded::SEPARATOR.into() };
        (self.train.seed, self.train.eval_every, self.train.sample_every) = (1, 400, 400);
        self
    }

    /// This configuration, overridden by the settings of a TOML file, which may hold any part of them.
    ///
    /// # Errors
    ///
    /// [`TomlError`] on a syntax error, an unknown key or a value of the wrong type.
    pub fn overlaid(&self, file: &str, text: &str) -> Result<Self, TomlError> {
        TomlError::or_settings(file, text, Some(&self.to_toml()))
    }

    /// Reads a complete `config.toml`.
    ///
    /// # Errors
    ///
    /// As [`RunConfig::overlaid`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, TomlError> {
        TomlError::or_settings(file, text, None)
    }

    /// The text of `config.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|e| panic!("every setting has a TOML form: {e}"))
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming the flag.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        let t = &self.train;
        let range =
            |flag, value: String, expected: &str| Err(ConfigError::Range { flag, value, expected: expected.into() });
        let counts =
            [("--steps", t.steps), ("--batch-size", t.batch_size), ("--grad-accum", t.grad_accum), ("--keep", t.keep)];
        for (flag, value) in counts {
            if value == 0 {
                return range(flag, value.to_string(), "it must be at least 1");
            }
        }
        // a step's micro-batches are held in memory together
        const MAX_MICRO_BATCHES: u64 = 65_536;
        if t.grad_accum > MAX_MICRO_BATCHES {
            return range("--grad-accum", t.grad_accum.to_string(), "it must be at most 65536");
        }
        // the step number keys dropout as 32 bits, and a batch's positions are indexed with them
        let words = [
            ("--steps", t.steps),
            ("--warmup-steps", t.warmup_steps),
            ("--batch-size", t.batch_size),
            ("--loss-chunk", t.loss_chunk),
        ];
        for (flag, value) in words {
            if u32::try_from(value).is_err() {
                return range(flag, value.to_string(), "it must be below 2^32");
            }
        }
        // TOML's largest integer
        let numbers = [
            ("--seed", t.seed),
            ("--eval-every", t.eval_every),
            ("--eval-windows", t.eval_windows),
            ("--sample-every", t.sample_every),
            ("--checkpoint-every", t.checkpoint_every),
            ("--keep", t.keep),
        ];
        for (flag, value) in numbers {
            if i64::try_from(value).is_err() {
                return range(flag, value.to_string(), "it must be below 2^63");
            }
        }
        if !(0.0..1.0).contains(&self.data.val_fraction) {
            let value = self.data.val_fraction.to_string();
            return range("--val-fraction", value, "it must be from 0 up to, not including, 1");
        }
        if self.row_size() == 0 || self.row_size() > self.model.block_size {
            let expected = format!("it must be from 1 to the model's {}", self.model.block_size);
            return range("--block-size", self.row_size().to_string(), &expected);
        }
        for (flag, value) in [("--lr", t.lr), ("--min-lr", t.min_lr)] {
            if !value.is_finite() || value < 0.0 {
                return range(flag, value.to_string(), "it must be a finite number, at least 0");
            }
        }
        if t.min_lr > t.lr {
            return range("--min-lr", t.min_lr.to_string(), &format!("it must be at most --lr {}", t.lr));
        }
        if self.data.pack == Some(true) && self.data.mode == Mode::Stream {
            return range(
                "--pack",
                "true".into(),
                "but a stream has no rows to fill; add --mode documents, or leave it out",
            );
        }
        t.optimizer.validate()
    }

    /// The learning-rate schedule.
    pub fn schedule(&self) -> Schedule {
        let t = &self.train;
        Schedule { kind: t.schedule, lr: t.lr, min_lr: t.min_lr, warmup_steps: t.warmup_steps, steps: t.steps }
    }

    /// The options for making a dataset from the text.
    pub fn data_options(&self) -> Options {
        let block_size = usize::try_from(self.row_size()).unwrap_or(usize::MAX);
        let DataConfig { mode, val_fraction, pack, .. } = &self.data;
        let (pack, document_mask) = (*pack == Some(true), self.masks_documents());
        Options { mode: mode.clone(), val_fraction: *val_fraction, block_size, pack, document_mask }
    }

    /// Whether attention stays within a document.
    pub fn masks_documents(&self) -> bool {
        self.data.document_mask == Some(true)
    }

    /// The number of validation windows per evaluation; `None` means all.
    pub fn eval_limit(&self) -> Option<usize> {
        usize::try_from(self.train.eval_windows).ok().filter(|&n| n > 0)
    }

    /// Tokens per optimizer step, including padding.
    pub fn tokens_per_step(&self) -> u64 {
        self.train.batch_size * self.train.grad_accum * self.row_size()
    }

    /// Positions per row of a batch.
    pub fn row_size(&self) -> u64 {
        self.train.row_size.unwrap_or(self.model.block_size)
    }
}
