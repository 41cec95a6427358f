//! Graphs that generate with a cache of keys and values: one feeds prompts, the other one token per row at a time.

use std::sync::Arc;

use super::net::{Net, Pass};
use super::{BatchShape, ModelConfig, gpt2};
use crate::graph::{Graph, GraphError, Phase};
use crate::ops::Sample;
use crate::tensor::{DType, Role, Shape, TensorId};

/// A graph that stores keys and values in a cache and samples each row's next token.
///
/// Tensors that persist from run to run have the role `State` and the same names in all graphs for a model and a number
/// of rows, so that their programs share them: `cursor`, `text`, `settings` (see [`Sample`]) and `cache.I` of each
/// layer (see [`crate::ops::AttentionDecode`]).
#[derive(Debug)]
pub struct CachedGpt {
    /// The graph.
    pub graph: Graph,
    /// The inputs and outputs.
    pub io: CachedIo,
}

/// The tensors of a [`CachedGpt`] that the host writes or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedIo {
    /// For prompts only: token ids (B, T), and the rows of (B T) that are the last of their prompts (B).
    pub prompt: Option<[TensorId; 2]>,
    /// Number of positions fed to each row (B): the length of its prompt or, when decoding, 1; 0 for a row that stays
    /// as it is.
    pub fed: TensorId,
    /// Newest token, length, tokens drawn and random stream of each row (B, 4).
    pub cursor: TensorId,
    /// The latest tokens of each row (B, [`CachedGpt::N_TEXT`]), a ring: the n-th drawn is in column n modulo its
    /// width.
    pub text: TensorId,
    /// The words of [`Sample::settings`], then of [`Sample::forbidden`].
    pub settings: TensorId,
    /// Logits of each row's newest position (B, V).
    pub logits: TensorId,
}

impl CachedGpt {
    /// Number of each row's latest tokens that stay readable.
    pub const N_TEXT: u64 = 64;

    /// Builds the graph that feeds prompts of up to `t` tokens: the forward pass as in training, with keys and values
    /// copied into the cache.
    ///
    /// # Errors
    ///
    /// [`GraphError`] if a tensor is too large to index.
    ///
    /// # Panics
    ///
    /// As [`Gpt::build`](super::Gpt::build).
    pub fn prefill(config: &ModelConfig, b: u64, t: u64) -> Result<Self, GraphError> {
        assert!(t <= config.block_size, "a prompt is no longer than the block size");
        let mut net = Net::new(config, Pass::Prefill, BatchShape::new(b, t));
        net.declare_inputs()?;
        Self::build(config, net)
    }

    /// Builds the graph that feeds each row's newest token and samples the next.
    ///
    /// # Errors
    ///
    /// [`GraphError`] if a tensor is too large to index.
    pub fn decode(config: &ModelConfig, b: u64) -> Result<Self, GraphError> {
        Self::build(config, Net::new(config, Pass::Decode, BatchShape::new(b, 1)))
    }

    fn build(config: &ModelConfig, mut net: Net<'_>) -> Result<Self, GraphError> {
        let b = net.batch.b;
        let (fed, cursor) = net.declare_cache()?;
        gpt2::forward(config, &mut net)?;
        let Net { mut builder, inputs, logits, .. } = net;
        let Some(logits) = logits else { unreachable!("a graph for the next token has its logits") };
        let mut state = |name: &str, dims: &[u64]| builder.tensor(name, Shape::new(dims), DType::U32, Role::State);
        let text = state("text", &[b, Self::N_TEXT])?;
        let settings = state("settings", &[Sample::n_setting(config.vocab_size)])?;
        let op = Sample { n_text: Self::N_TEXT };
        let into = [cursor, text].map(|t| Some((t, false)));
        builder.node("sample", Arc::new(op), &[logits, settings, fed], &into, Phase::MicroBatch)?;
        let prompt = inputs.and_then(|inputs| Some([inputs.tokens, inputs.rows?]));
        let io = CachedIo { prompt, fed, cursor, text, settings, logits };
        Ok(Self { graph: builder.finish(), io })
    }
}
