use super::net::{Net, Pass};
use super::{Constant, GptInputs, ModelConfig, gpt2};
use crate::graph::{Graph, GraphError, Recompute, Training};
use crate::tensor::TensorId;

/// The purpose of a model's graph.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// Loss, gradients and update; with dropout.
    Train(Training<'a>),
    /// The loss alone; no dropout.
    Loss,
    /// The logits of one chosen position of each row, for generation; no dropout.
    Next,
}

/// The shape of the batches that a graph accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Rows per batch (B).
    pub b: u64,
    /// Positions per row (T).
    pub t: u64,
    /// Whether a row may hold several documents: then attention does not cross documents, and positions begin at 0 in
    /// each.
    pub document_mask: bool,
}

impl BatchShape {
    /// The shape of batches whose rows hold one text each.
    pub fn new(b: u64, t: u64) -> Self {
        Self { b, t, document_mask: false }
    }
}

/// GPT-2's decoder as a graph, with the ids of its inputs and outputs.
#[derive(Debug)]
pub struct Gpt {
    /// The graph.
    pub graph: Graph,
    /// The tensors that the host writes.
    pub inputs: GptInputs,
    /// The tables that the host writes once.
    pub constants: Vec<Constant>,
    /// The logits: (B, T, V) if they are kept, (B, V) for [`Purpose::Next`]; otherwise only a chunk of them exists at a
    /// time.
    pub logits: Option<TensorId>,
    /// The loss (1), summed over micro-batches; `None` for [`Purpose::Next`].
    pub loss: Option<TensorId>,
    /// Attention probabilities (B, NH, T, T) of each layer, before dropout; empty unless [`ReadBack::attention`].
    pub attention_maps: Vec<TensorId>,
}

/// The values to read back besides loss and norm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// The logits.
    pub logits: bool,
    /// The attention probabilities. They make attention slower, with memory that grows with the square of T.
    pub attention: bool,
}

/// Settings that trade memory for speed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Rows of logits held at a time: [`crate::ops::ProjectionCrossEntropy::chunk_rows`]. No effect if the logits are
    /// kept.
    pub loss_chunk: u64,
    /// The part of the forward pass that the backward pass recomputes.
    pub recompute: Recompute,
}

impl Gpt {
    /// Builds the graph of a model for batches of this shape.
    ///
    /// # Errors
    ///
    /// [`GraphError`] if a tensor is too large to index.
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
