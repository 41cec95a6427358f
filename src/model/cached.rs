//! Graphs that generate with a cache of keys and values: one takes in prompts, the other one token of each row at a time.

use std::collections::HashMap;

use super::{Gpt, Keep, Memory, ModelConfig, Positions, Purpose, Rows};
use crate::graph::{Graph, GraphBuilder, GraphError, Phase};
use crate::ops::{
    AttentionDecode, AttentionPrefill, EmbeddingDecode, Gelu, Layernorm, Matmul, Matvec, Op, Sample, cache_shape,
};
use crate::tensor::{DType, Role, Shape, TensorId};

/// A graph that leaves keys and values in a cache and chooses each row's next token.
///
/// What lasts from run to run are tensors of the role `State`, of the same names in all graphs of a model and a number of
/// rows, so that their programs share them: `cursor`, `text`, `settings` (see [`Sample`]) and `cache.I` of each layer (see
/// [`AttentionDecode`]).
#[derive(Debug)]
pub struct CachedGpt {
    /// The graph.
    pub graph: Graph,
    /// What goes in and comes out.
    pub io: CachedIo,
}

/// The tensors of a [`CachedGpt`] that the host writes or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedIo {
    /// Only where prompts are taken in: token ids (B, T), and the rows of (B T) that are the last of their prompts (B).
    pub prompt: Option<[TensorId; 2]>,
    /// How many positions each row is given (B): as many as its prompt has, 0 where it stays as it is; else 1 or 0.
    pub fed: TensorId,
    /// Newest token, length, tokens drawn and random stream of each row (B, 4).
    pub cursor: TensorId,
    /// The latest tokens of each row (B, [`CachedGpt::N_TEXT`]), a ring: the n-th drawn is in column n modulo its width.
    pub text: TensorId,
    /// Words of [`Sample::settings`], then of [`Sample::forbidden`].
    pub settings: TensorId,
    /// Logits of each row's newest position (B, V).
    pub logits: TensorId,
}

impl CachedGpt {
    /// Tokens of each row that stay readable.
    pub const N_TEXT: u64 = 64;

    /// The graph that takes in prompts of up to `t` tokens: the forward pass as in training, whose keys and values are
    /// copied into the cache.
    ///
    /// # Errors
    ///
    /// [`GraphError`] where a tensor is too large to index.
    ///
    /// # Panics
    ///
    /// As [`Gpt::build`].
    pub fn prefill(config: &ModelConfig, b: u64, t: u64) -> Result<Self, GraphError> {
        let gpt = Gpt::build(config, Purpose::Next, Rows::new(b, t), Keep::default(), Memory::default())?;
        let (tokens, rows, logits) = (gpt.inputs.tokens, gpt.inputs.rows, gpt.logits);
        let Some(logits) = logits else { unreachable!("a graph for the next token has its logits") };
        let mut builder = GraphBuilder::resume(gpt.graph);
        let state = State::declare(&mut builder, config, b)?;
        let op = AttentionPrefill { n_head: config.n_head, block: config.block_size };
        for (i, &cache) in state.caches.iter().enumerate() {
            let label = format!("h.{i}.attn.c_attn");
            let Some(qkv) = builder.find(&label) else { continue };
            let into = [Some((cache, false))];
            // right behind what makes it, so that the memory of each layer's keys and values serves the next layer too
            builder.node_after(&label, &format!("h.{i}.attn.cache"), Box::new(op), &[qkv, state.fed], &into)?;
        }
        state.sample(&mut builder, logits)?;
        Ok(state.finish(builder, rows.map(|rows| [tokens, rows]), logits))
    }

    /// The graph that feeds each row's newest token and chooses the next.
    ///
    /// # Errors
    ///
    /// [`GraphError`] where a tensor is too large to index.
    pub fn decode(config: &ModelConfig, b: u64) -> Result<Self, GraphError> {
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
        let state = State::declare(&mut builder, config, b)?;
        let tables = [state.cursor, params["wte.weight"], params["wpe.weight"]];
        let x = builder.apply1("embedding", EmbeddingDecode, &tables)?;
        let mut layers = Layers { builder: &mut builder, params: &params, n_row: b };
        for (i, &cache) in state.caches.iter().enumerate() {
            let h = format!("h.{i}");
            let normed = layers.norm(&format!("{h}.ln_1"), x)?;
            let qkv = layers.linear(&format!("{h}.attn.c_attn"), normed)?;
            let op = AttentionDecode { n_head: config.n_head, block: config.block_size };
            let into = [None, Some((cache, false))];
            let label = format!("{h}.attn");
            let attended =
                layers.builder.node(&label, Box::new(op), &[qkv, state.cursor], &into, Phase::MicroBatch)?[0];
            layers.add_linear(&format!("{h}.attn.c_proj"), attended, x)?;
            let normed = layers.norm(&format!("{h}.ln_2"), x)?;
            let hidden = layers.linear_gelu(&format!("{h}.mlp.c_fc"), normed)?;
            layers.add_linear(&format!("{h}.mlp.c_proj"), hidden, x)?;
        }
        let normed = layers.norm("ln_f", x)?;
        let head = params[if config.tied { "wte.weight" } else { "lm_head.weight" }];
        let logits = layers.product("logits", &[normed, head], true)?;
        builder.set_role(logits, Role::Output);
        state.sample(&mut builder, logits)?;
        Ok(state.finish(builder, None, logits))
    }
}

/// What lasts from run to run, and what says which rows a run is for.
struct State {
    fed: TensorId,
    cursor: TensorId,
    text: TensorId,
    settings: TensorId,
    caches: Vec<TensorId>,
}

impl State {
    fn declare(builder: &mut GraphBuilder, config: &ModelConfig, b: u64) -> Result<Self, GraphError> {
        let fed = builder.input("fed", &[b], DType::U32)?;
        let mut state = |name: &str, shape, dtype| builder.tensor(name, shape, dtype, Role::State);
        let shape = cache_shape(b, config.n_head, config.block_size, config.n_embd);
        Ok(Self {
            fed,
            cursor: state("cursor", Shape::new(&[b, Sample::N_CURSOR]), DType::U32)?,
            text: state("text", Shape::new(&[b, CachedGpt::N_TEXT]), DType::U32)?,
            settings: state("settings", Shape::new(&[Sample::n_setting(config.vocab_size)]), DType::U32)?,
            caches: (0..config.n_layer)
                .map(|i| state(&format!("cache.{i}"), shape, DType::F32))
                .collect::<Result<_, _>>()?,
        })
    }

    fn sample(&self, builder: &mut GraphBuilder, logits: TensorId) -> Result<(), GraphError> {
        let op = Sample { n_text: CachedGpt::N_TEXT };
        let into = [self.cursor, self.text].map(|t| Some((t, false)));
        builder.node("sample", Box::new(op), &[logits, self.settings, self.fed], &into, Phase::MicroBatch)?;
        Ok(())
    }

    fn finish(self, builder: GraphBuilder, prompt: Option<[TensorId; 2]>, logits: TensorId) -> CachedGpt {
        let Self { fed, cursor, text, settings, .. } = self;
        CachedGpt { graph: builder.finish(), io: CachedIo { prompt, fed, cursor, text, settings, logits } }
    }
}

/// Layers over one position of each row.
struct Layers<'a> {
    builder: &'a mut GraphBuilder,
    params: &'a HashMap<String, TensorId>,
    n_row: u64,
}

type Built = Result<TensorId, GraphError>;

impl Layers<'_> {
    fn norm(&mut self, label: &str, x: TensorId) -> Built {
        let inputs = self.with_params(label, x);
        Ok(self.builder.apply(label, Layernorm { eps: ModelConfig::EPS }, &inputs)?[0])
    }

    fn linear(&mut self, label: &str, x: TensorId) -> Built {
        let inputs = self.with_params(label, x);
        self.product(label, &inputs, false)
    }

    /// The product with the kernel for few rows where there are few.
    fn product(&mut self, label: &str, inputs: &[TensorId], trans_b: bool) -> Built {
        let op = self.op(inputs[1], trans_b);
        Ok(self.builder.node(label, op, inputs, &[], Phase::MicroBatch)?[0])
    }

    fn op(&self, weight: TensorId, trans_b: bool) -> Box<dyn Op> {
        let op = Matvec { trans_b, gelu: false };
        if self.suits(op, weight) { Box::new(op) } else { Box::new(Matmul { trans_a: false, trans_b }) }
    }

    fn suits(&self, op: Matvec, weight: TensorId) -> bool {
        op.suits(self.n_row, self.builder.spec(weight).shape)
    }

    fn linear_gelu(&mut self, label: &str, x: TensorId) -> Built {
        let inputs = self.with_params(label, x);
        let op = Matvec { trans_b: false, gelu: true };
        if self.suits(op, inputs[1]) {
            return self.builder.apply1(label, op, &inputs);
        }
        let hidden = self.linear(label, x)?;
        self.builder.apply1(&format!("{label}.gelu"), Gelu, &[hidden])
    }

    /// Adds a linear layer's result to the residual stream, in place.
    fn add_linear(&mut self, label: &str, x: TensorId, stream: TensorId) -> Result<(), GraphError> {
        let inputs = self.with_params(label, x);
        let op = self.op(inputs[1], false);
        self.builder.node(label, op, &inputs, &[Some((stream, true))], Phase::MicroBatch)?;
        Ok(())
    }

    /// A layer's input with its weight and, where there is one, its bias.
    fn with_params(&self, label: &str, x: TensorId) -> Vec<TensorId> {
        let param = |kind: &str| self.params.get(&format!("{label}.{kind}")).copied();
        [Some(x), param("weight"), param("bias")].into_iter().flatten().collect()
    }
}
