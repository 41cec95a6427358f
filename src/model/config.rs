use serde::{Deserialize, Serialize};

use super::net::{Net, Pass};
use super::{BatchShape, Gpt, Memory, Purpose, ReadBack, gpt2};
use crate::tensor::ParamSpec;
use crate::units::count;

/// How positions enter the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// A trained table, one row per position (GPT-2).
    Learned,
    /// A fixed table of sines and cosines. Source: Vaswani et al., arXiv:1706.03762, section 3.5.
    Sinusoidal,
}

/// The architecture of a decoder-only transformer, with nanoGPT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Transformer blocks.
    pub n_layer: u64,
    /// Attention heads; divides `n_embd`.
    pub n_head: u64,
    /// Channels of the residual stream.
    pub n_embd: u64,
    /// Maximum number of positions that the model sees at once.
    pub block_size: u64,
    /// Number of tokens in the vocabulary.
    pub vocab_size: u64,
    /// Whether linear and norm layers have biases.
    pub bias: bool,
    /// Whether the output projection shares the token embedding's weights.
    pub tied: bool,
    /// How positions enter.
    pub positions: Positions,
    /// Dropout probability at GPT-2's three sites: embedding, attention, residual.
    pub dropout: f32,
}

impl std::fmt::Display for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {}, {}, block {}, vocabulary {}: {}",
            count(self.n_layer, "layer"),
            count(self.n_head, "head"),
            count(self.n_embd, "channel"),
            self.block_size,
            self.vocab_size,
            count(self.n_param(), "parameter")
        )
    }
}

/// A model that can't be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A setting is out of range.
    #[error("{flag} is {value}, {expected}")]
    Range {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// The allowed values.
        expected: String,
    },
    /// No preset has that name.
    #[error("unknown preset {0}; available: {1}")]
    Preset(String, String),
}

impl ModelConfig {
    /// GPT-2's layer norm epsilon.
    pub const EPS: f64 = 1e-5;

    /// The model presets, smallest first.
    pub const PRESETS: [&'static str; 7] = ["stories", "nano", "char", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"];

    /// Returns a preset by name: that of the embedded stories (`stories`), nanoGPT's small CPU setting (`nano`), its
    /// shakespeare-char (`char`), or a GPT-2 size.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Preset`], which lists the names.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let model = |n_layer, n_head, n_embd, block_size, vocab_size, bias, dropout| Self {
            n_layer,
            n_head,
            n_embd,
            block_size,
            vocab_size,
            bias,
            tied: true,
            positions: Positions::Learned,
            dropout,
        };
        Ok(match name {
            "stories" => model(1, 4, 128, 256, 1280, false, 0.0),
            "nano" => model(4, 4, 128, 64, 65, false, 0.0),
            "char" => model(6, 6, 384, 256, 65, false, 0.2),
            "gpt2" => model(12, 12, 768, 1024, 50_257, true, 0.0),
            "gpt2-medium" => model(24, 16, 1024, 1024, 50_257, true, 0.0),
            "gpt2-large" => model(36, 20, 1280, 1024, 50_257, true, 0.0),
            "gpt2-xl" => model(48, 25, 1600, 1024, 50_257, true, 0.0),
            other => return Err(ConfigError::Preset(other.into(), Self::PRESETS.join(", "))),
        })
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Range`] naming the flag.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // small enough that no size below overflows, and that no kernel exceeds 65,535 iterations, after which llvmpipe
        // ends an invocation's loops
        const MOST: u64 = 65_536;
        const MAX_CHANNELS: u64 = 16_384;
        const MAX_TOKENS: u64 = 262_000;
        // a block is about 40 dispatches: beyond this, planning alone would take minutes
        const MAX_LAYERS: u64 = 1024;
        let range =
            |flag, value: String, expected: &str| Err(ConfigError::Range { flag, value, expected: expected.into() });
        let sizes = [
            ("--n-layer", self.n_layer, MAX_LAYERS),
            ("--n-head", self.n_head, MAX_CHANNELS),
            ("--n-embd", self.n_embd, MAX_CHANNELS),
            ("--block-size", self.block_size, MOST),
            ("--vocab-size", self.vocab_size, MAX_TOKENS),
        ];
        for (flag, value, most) in sizes {
            if value == 0 || value > most {
                return range(flag, value.to_string(), &format!("it must be from 1 to {most}"));
            }
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            let expected = format!("it must divide --n-embd {}", self.n_embd);
            return range("--n-head", self.n_head.to_string(), &expected);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return range("--dropout", self.dropout.to_string(), "it must be from 0 up to, not including, 1");
        }
        Ok(())
    }

    /// All parameters, under GPT-2's names, in the order of the forward pass.
    ///
    /// # Panics
    ///
    /// On sizes that [`ModelConfig::validate`] rejects and that give tensors of more than 2^64 elements.
    pub fn params(&self) -> Vec<ParamSpec> {
        let mut net = Net::new(self, Pass::Describe, BatchShape::new(1, 1));
        match gpt2::forward(self, &mut net) {
            Ok(()) => net.params,
            Err(error) => panic!("a model that is only described has no tensors that could be wrong: {error}"),
        }
    }

    /// Names and shapes of all parameters, as in a file of weights.
    pub fn param_shapes(&self) -> Vec<(String, Vec<u64>)> {
        self.params().into_iter().map(|param| (param.name, param.shape.dims().to_vec())).collect()
    }

    /// Floating-point operations of training on `b` rows of `t` tokens: matrix products only, attention without its
    /// masked part, and backward as twice forward. Recomputed or wasted work doesn't count.
    ///
    /// # Panics
    ///
    /// On a model that [`ModelConfig::validate`] rejects, or on rows beyond the block size.
    pub fn train_flops(&self, b: u64, t: u64) -> u64 {
        let row = Gpt::build(self, Purpose::Loss, BatchShape::new(1, t), ReadBack::default(), Memory::default());
        let graph = row.unwrap_or_else(|e| panic!("one row of a model must be indexable: {e}")).graph;
        3 * b * graph.nodes.iter().map(|node| node.op.product_flops(&graph.io(node))).sum::<u64>()
    }

    /// The number of trained parameters.
    pub fn n_param(&self) -> u64 {
        self.params().iter().map(|param| param.shape.numel()).sum()
    }
}
