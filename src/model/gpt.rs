use super::net::{Net, Pass};
use super::{Constant, GptInputs, ModelConfig, gpt2};
use crate::graph::{Graph, GraphError, Recompute, Training};
use crate::tensor::TensorId;

/// What a graph of the model is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// Loss, gradients and update; with dropout.
    Train(Training<'a>),
    /// The loss alone; no dropout.
    Loss,
    /// The logits of one chosen position of each row, for generation; no dropout.
    Next,
}

/// The batches that a graph takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Rows of a batch (B).
    pub b: u64,
    /// Positions of a row (T).
    pub t: u64,
    /// Whether a row may hold several documents: then attention stays in a position's document, where positions begin at 0.
    pub document_mask: bool,
}

impl BatchShape {
    /// Rows of one text each.
    pub fn new(b: u64, t: u64) -> Self {
        Self { b, t, document_mask: false }
    }
}

/// GPT-2's decoder as a graph, with the ids of what goes in and comes out.
#[derive(Debug)]
pub struct Gpt {
    /// The graph.
    pub graph: Graph,
    /// What the host writes.
    pub inputs: GptInputs,
    /// Tables that the host writes once.
    pub constants: Vec<Constant>,
    /// Logits: (B, T, V) where they are kept, (B, V) for [`Purpose::Next`]; elsewhere only a chunk of them ever exists.
    pub logits: Option<TensorId>,
    /// The loss (1), summed over micro-batches; not for [`Purpose::Next`].
    pub loss: Option<TensorId>,
    /// Attention probabilities (B, NH, T, T) of each layer, before dropout; none unless [`ReadBack::attention`].
    pub attention_maps: Vec<TensorId>,
}

/// What a caller wants to read back besides loss and norm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// The logits.
    pub logits: bool,
    /// The attention probabilities; attention is slower then, and takes memory that grows with the square of T.
    pub attention: bool,
}

/// How much memory a graph may take where less would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Rows of logits held at a time: [`crate::ops::ProjectionCrossEntropy::chunk_rows`]. Without effect where logits are kept.
    pub loss_chunk: u64,
    /// What the backward pass computes again.
    pub recompute: Recompute,
}

impl Gpt {
    /// Builds the graph of a model for batches of these rows.
    ///
    /// # Errors
    ///
    /// [`GraphError`] where a tensor is too large to index.
    ///
    /// # Panics
    ///
    /// On a config that [`ModelConfig::validate`] rejects, or on rows beyond the block size.
    pub fn build(
        config: &ModelConfig,
        purpose: Purpose<'_>,
        rows: BatchShape,
        keep: ReadBack,
        memory: Memory,
    ) -> Result<Self, GraphError> {
        assert!(rows.t <= config.block_size, "a batch is no longer than the block size");
        let pass = match purpose {
            Purpose::Train(_) => Pass::Train,
            Purpose::Loss => Pass::Score,
            Purpose::Next => Pass::Next,
        };
        let mut net = Net::new(config, pass, rows);
        net.keeps_maps = keep.attention;
        net.keeps_logits = keep.logits;
        net.loss_chunk = memory.loss_chunk;
        net.declare_inputs()?;
        gpt2::forward(config, &mut net)?;
        let Net { mut builder, inputs, constants, logits, loss, attention_maps, .. } = net;
        let Some(inputs) = inputs else { unreachable!("they were declared") };
        if let (Purpose::Train(training), Some(loss)) = (purpose, loss) {
            builder.backward(loss)?;
            builder.recompute(memory.recompute)?;
            builder.optimizer(loss, training)?;
        }
        Ok(Self { graph: builder.finish(), inputs, constants, logits, loss, attention_maps })
    }
}
