use std::collections::HashMap;

use super::layers::{Layers, Stream};
use super::{ModelConfig, Positions};
use crate::graph::{Graph, GraphBuilder, GraphError, OptimizerConfig, Phase, Recompute};
use crate::ops::{CrossEntropy, Embedding, Matmul, ProjectionCrossEntropy};
use crate::tensor::{DType, Role, Shape, TensorId};

/// What a graph of the model is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Purpose {
    /// Loss, gradients and AdamW; with dropout.
    Train(OptimizerConfig),
    /// The loss alone; no dropout.
    Loss,
    /// The logits of one chosen position of each row, for generation; no dropout.
    Next,
}

/// The batches that a graph takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Rows of a batch (B).
    pub b: u64,
    /// Positions of a row (T).
    pub t: u64,
    /// Whether a row may hold several documents: then attention stays in a position's document, where positions begin at 0.
    pub document_mask: bool,
}

impl Rows {
    /// Rows of one text each.
    pub fn new(b: u64, t: u64) -> Self {
        Self { b, t, document_mask: false }
    }
}

/// The tensors that the host writes, where a graph has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GptInputs {
    /// Token ids (B, T).
    pub tokens: TensorId,
    /// Next tokens (B, T), [`crate::reference::IGNORE`] where there is no loss.
    pub targets: Option<TensorId>,
    /// One over the number of real targets of the whole step (1); 0 when there is none.
    pub loss_scale: Option<TensorId>,
    /// Positions sorted by token (3, B T): `ops::sorted_positions`.
    pub sorted: Option<TensorId>,
    /// With a mask, of each position the first of its document and the one after its last (B, T, 2):
    /// `ops::document_spans`.
    pub spans: Option<TensorId>,
    /// With a mask and positions that are learned, each token's position in its document, sorted like the tokens (3, B T).
    pub sorted_places: Option<TensorId>,
    /// Random key of the micro-batch (4): seed low, seed high, step, micro-batch.
    pub rng: TensorId,
    /// For [`Purpose::Next`]: the rows of (B T) whose logits are wanted (B).
    pub rows: Option<TensorId>,
}

/// GPT-2's decoder as a graph, with the ids of what goes in and comes out.
#[derive(Debug)]
pub struct Gpt {
    /// The graph.
    pub graph: Graph,
    /// What the host writes.
    pub inputs: GptInputs,
    /// Logits: (B, T, V) where they are kept, (B, V) for [`Purpose::Next`]; elsewhere only a chunk of them ever exists.
    pub logits: Option<TensorId>,
    /// The loss (1), summed over micro-batches; not for [`Purpose::Next`].
    pub loss: Option<TensorId>,
    /// Attention probabilities (B, NH, T, T) of each layer, before dropout; none unless [`Keep::attention`].
    pub attention_maps: Vec<TensorId>,
}

/// What a caller wants to read back besides loss and norm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// The logits.
    pub logits: bool,
    /// The attention probabilities; attention is slower then, and takes memory that grows with the square of T.
    pub attention: bool,
}

/// How much memory a graph may take where less would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Rows of logits held at a time: [`ProjectionCrossEntropy::chunk_rows`]. Without effect where logits are kept.
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
        purpose: Purpose,
        rows: Rows,
        keep: Keep,
        memory: Memory,
    ) -> Result<Self, GraphError> {
        let Rows { b, t, document_mask } = rows;
        assert!(t <= config.block_size, "a batch is no longer than the block size");
        let mut builder = GraphBuilder::new();
        let mut params = HashMap::new();
        for (name, dims) in config.params() {
            let id = builder.param(&name, &dims)?;
            params.insert(name, id);
        }
        if config.positions == Positions::Sinusoidal {
            let shape = Shape::new(&[config.block_size, config.n_embd]);
            params.insert("wpe.weight".into(), builder.tensor("wpe.weight", shape, DType::F32, Role::Const)?);
        }
        let training = matches!(purpose, Purpose::Train(_));
        let has_loss = purpose != Purpose::Next;
        let tokens = builder.input("tokens", &[b, t], DType::U32)?;
        let rng = builder.input("rng", &[4], DType::U32)?;
        let none = None;
        let mut inputs = GptInputs {
            tokens,
            rng,
            targets: none,
            loss_scale: none,
            sorted: none,
            spans: none,
            sorted_places: none,
            rows: none,
        };
        if document_mask {
            inputs.spans = Some(builder.input("spans", &[b, t, 2], DType::U32)?);
        }
        if training {
            inputs.sorted = Some(builder.input("sorted", &[3, b * t], DType::U32)?);
            if document_mask && config.positions == Positions::Learned {
                inputs.sorted_places = Some(builder.input("sorted places", &[3, b * t], DType::U32)?);
            }
        }

        let dropout = if training { config.dropout } else { 0.0 };
        let mut layers = Layers {
            config,
            builder: &mut builder,
            params: &params,
            rng,
            spans: inputs.spans,
            dropout,
            site: 0,
            keeps_maps: keep.attention,
            attention_maps: vec![],
        };
        let embedding = Embedding { sorted: inputs.sorted, sorted_places: inputs.sorted_places };
        let mut tables = vec![tokens, params["wte.weight"], params["wpe.weight"]];
        tables.extend(inputs.spans);
        let mut x = layers.builder.apply1("embedding", embedding, &tables)?;
        x = layers.dropout("embedding", x)?;
        let mut stream = Stream { x, added: None };
        for i in 0..config.n_layer {
            stream = layers.block(&format!("h.{i}"), stream)?;
        }
        if !has_loss {
            let rows = layers.builder.input("rows", &[b], DType::U32)?;
            inputs.rows = Some(rows);
            let sum = layers.sum("residual", stream)?;
            let x = layers.builder.apply1("last", Embedding::default(), &[rows, sum])?;
            stream = Stream { x, added: None };
        }
        let (sum, x) = layers.norm("ln_f", stream)?;
        layers.builder.checkpoint(sum);
        let attention_maps = layers.attention_maps;
        let head = params[if config.tied { "wte.weight" } else { "lm_head.weight" }];
        let mut logits = None;
        if keep.logits || !has_loss {
            let all = builder.apply1("logits", Matmul { trans_a: false, trans_b: true }, &[x, head])?;
            builder.set_role(all, Role::Output);
            logits = Some(all);
        }
        attention_maps.iter().for_each(|&map| builder.set_role(map, Role::Output));

        let mut loss = None;
        if has_loss {
            let targets = builder.input("targets", &[b, t], DType::U32)?;
            let loss_scale = builder.input("loss_scale", &[1], DType::F32)?;
            inputs.targets = Some(targets);
            inputs.loss_scale = Some(loss_scale);
            let metric = builder.tensor("loss", Shape::new(&[1]), DType::F32, Role::Metric)?;
            if let Some(logits) = logits {
                builder.node_into("cross_entropy", CrossEntropy, &[logits, targets, loss_scale], metric)?;
            } else {
                let op = ProjectionCrossEntropy { chunk_rows: memory.loss_chunk, gradients: training };
                let mut into = [None; ProjectionCrossEntropy::DWEIGHT + 1];
                into[0] = Some((metric, true));
                if training {
                    into[ProjectionCrossEntropy::DWEIGHT] = Some((builder.param_grad(head)?, true));
                }
                let sources = [x, head, targets, loss_scale];
                builder.node("cross_entropy", Box::new(op), &sources, &into, Phase::MicroBatch)?;
            }
            loss = Some(metric);
        }
        if let (Purpose::Train(optimizer), Some(loss)) = (purpose, loss) {
            builder.backward(loss)?;
            builder.recompute(memory.recompute)?;
            builder.optimizer(loss, optimizer)?;
        }
        Ok(Self { graph: builder.finish(), inputs, logits, loss, attention_maps })
    }
}
