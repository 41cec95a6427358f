//! The layers that models are made of: one function each, which declares its parameters and adds its ops for the
//! current pass.

use std::collections::HashMap;
use std::sync::Arc;

use super::{BatchShape, ModelConfig, Positions};
use crate::graph::{GraphBuilder, GraphError, Phase};
use crate::ops::{
    Attention, AttentionDecode, AttentionPrefill, CrossEntropy, Dropout, Embedding, EmbeddingDecode, FlashAttention,
    Gelu, Layernorm, Matmul, Matvec, Op, ProjectionCrossEntropy, Residual, ResidualLayernorm, cache_shape,
};
use crate::tensor::{DType, Init, Layout, ParamGroup, ParamSpec, Role, Shape, TensorId};

/// The purpose of walking a model's forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// To collect its parameters; no graph is made.
    Describe,
    /// To train it: the loss, with dropout and gradients to come.
    Train,
    /// To evaluate it: the loss only.
    Score,
    /// For the logits of one chosen position of each row.
    Next,
    /// Like [`Pass::Next`], with keys and values stored in a cache.
    Prefill,
    /// One token per row at a time, using the cache.
    Decode,
}

/// The host-written tensors of a graph that takes whole rows; each is present if the graph needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GptInputs {
    /// Token ids (B, T).
    pub tokens: TensorId,
    /// Next tokens (B, T), [`crate::reference::IGNORE`] if there is no loss.
    pub targets: Option<TensorId>,
    /// One over the number of real targets of the whole step (1); 0 if there are none.
    pub loss_scale: Option<TensorId>,
    /// Positions sorted by token (3, B T): `ops::sorted_positions`.
    pub sorted: Option<TensorId>,
    /// With a document mask, the start and end of each position's document (B, T, 2): `ops::document_spans`.
    pub spans: Option<TensorId>,
    /// With a document mask and learned positions, each token's position in its document, sorted like the tokens (3, B
    /// T).
    pub sorted_places: Option<TensorId>,
    /// Random key of the micro-batch (4): seed low, seed high, step, micro-batch.
    pub rng: TensorId,
    /// For the next token: the rows of (B T) whose logits to compute (B).
    pub rows: Option<TensorId>,
}

/// A table that the host writes once.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// The tensor's name.
    pub name: String,
    /// Its contents.
    pub table: Table,
}

/// The contents of a [`Constant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Sines and cosines of positions (T, C). Source: Vaswani et al., arXiv:1706.03762, section 3.5.
    Sinusoidal {
        /// Number of positions.
        t: u64,
        /// Number of channels.
        c: u64,
    },
}

impl Table {
    /// Returns the elements, row by row.
    pub fn values(self) -> Vec<f32> {
        self.exact().into_iter().map(|x| x as f32).collect()
    }

    /// Returns the elements in f64.
    pub fn exact(self) -> Vec<f64> {
        let Self::Sinusoidal { t, c } = self;
        crate::reference::embedding::sinusoidal(t as usize, c as usize)
    }
}

/// The state that generation keeps from token to token, for B rows.
#[derive(Debug)]
pub(super) struct Cache {
    /// Number of positions fed to each row (B).
    pub fed: TensorId,
    /// Newest token, length, tokens drawn and random stream of each row (B, 4).
    pub cursor: TensorId,
    /// Keys and values of each attention layer, in order.
    pub layers: Vec<TensorId>,
}

/// The residual stream: its value, and a layer's output yet to be added. The next norm adds them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    x: TensorId,
    added: Option<TensorId>,
}

/// The sizes of a linear layer, and the scale of its initial weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub n_in: u64,
    pub n_out: u64,
    pub bias: bool,
    /// Standard deviation of the initial weight.
    pub std: f64,
}

/// A model during a walk of its forward pass.
pub(super) struct Net<'a> {
    pass: Pass,
    config: &'a ModelConfig,
    pub batch: BatchShape,
    pub builder: GraphBuilder,
    /// Parameters declared so far.
    pub params: Vec<ParamSpec>,
    /// Parameters and constants by name.
    by_name: HashMap<String, TensorId>,
    pub constants: Vec<Constant>,
    /// Inputs of passes over whole rows.
    pub inputs: Option<GptInputs>,
    /// Cache of passes that generate.
    pub cache: Option<Cache>,
    /// Dropout sites so far.
    site: u32,
    /// Attention layers so far.
    n_attention: usize,
    /// Whether attention keeps its probabilities.
    pub keeps_maps: bool,
    /// Attention probabilities of each layer, if kept.
    pub attention_maps: Vec<TensorId>,
    /// Whether to keep the logits of a pass with a loss.
    pub keeps_logits: bool,
    /// Rows of logits held at a time if they aren't kept.
    pub loss_chunk: u64,
    pub logits: Option<TensorId>,
    pub loss: Option<TensorId>,
}

type Built = Result<TensorId, GraphError>;

impl<'a> Net<'a> {
    /// Starts with nothing declared.
    pub fn new(config: &'a ModelConfig, pass: Pass, batch: BatchShape) -> Self {
        Self {
            pass,
            config,
            batch,
            builder: GraphBuilder::new(),
            params: vec![],
            by_name: HashMap::new(),
            constants: vec![],
            inputs: None,
            cache: None,
            site: 0,
            n_attention: 0,
            keeps_maps: false,
            attention_maps: vec![],
            keeps_logits: false,
            loss_chunk: 0,
            logits: None,
            loss: None,
        }
    }

    /// Adds an op. If the model is only described, it adds nothing, as no one looks at the tensors.
    fn node(
        &mut self,
        label: &str,
        op: Arc<dyn Op>,
        inputs: &[TensorId],
        into: &[Into],
    ) -> Result<Vec<TensorId>, GraphError> {
        if self.pass == Pass::Describe {
            return Ok(vec![UNBUILT; 4]);
        }
        self.builder.node(label, op, inputs, into, Phase::MicroBatch)
    }

    fn apply1(&mut self, label: &str, op: impl Op + 'static, inputs: &[TensorId]) -> Built {
        Ok(self.node(label, Arc::new(op), inputs, &[])?[0])
    }

    fn input(&mut self, name: &str, dims: &[u64], dtype: DType) -> Built {
        if self.pass == Pass::Describe { Ok(UNBUILT) } else { self.builder.input(name, dims, dtype) }
    }

    /// Declares a parameter, or returns the existing one of that name.
    fn param(&mut self, spec: ParamSpec) -> Built {
        if let Some(&known) = self.by_name.get(&spec.name) {
            return Ok(known);
        }
        let id = match self.pass {
            Pass::Describe => UNBUILT,
            _ => self.builder.param(&spec.name, spec.shape.dims(), spec.group)?,
        };
        self.by_name.insert(spec.name.clone(), id);
        self.params.push(spec);
        Ok(id)
    }

    fn weight(&mut self, name: String, dims: &[u64], std: f64, group: ParamGroup) -> Built {
        let layout = if group == ParamGroup::Matrix { Layout::InOut } else { Layout::Plain };
        self.param(ParamSpec { name, shape: Shape::new(dims), init: Init::Normal { std }, group, layout })
    }

    fn vector(&mut self, name: String, n: u64, init: Init) -> Built {
        let (shape, group, layout) = (Shape::new(&[n]), ParamGroup::Vector, Layout::Plain);
        self.param(ParamSpec { name, shape, init, group, layout })
    }

    /// Declares a table of vectors, one row per token or position.
    pub fn table(&mut self, name: &str, n_row: u64, std: f64) -> Built {
        self.weight(format!("{name}.weight"), &[n_row, self.config.n_embd], std, ParamGroup::Embedding)
    }

    /// Declares a table that isn't trained.
    pub fn constant(&mut self, name: &str, dims: &[u64], table: Table) -> Built {
        if self.pass == Pass::Describe {
            return Ok(UNBUILT);
        }
        let name = format!("{name}.weight");
        let id = self.builder.tensor(&name, Shape::new(dims), DType::F32, Role::Const)?;
        self.constants.push(Constant { name, table });
        Ok(id)
    }

    /// The embedding of tokens and positions.
    pub fn embedding(&mut self, tokens: TensorId, positions: TensorId) -> Result<Stream, GraphError> {
        let x = match (&self.cache, self.inputs) {
            (Some(cache), None) => {
                let inputs = [cache.cursor, tokens, positions];
                self.apply1("embedding", EmbeddingDecode, &inputs)?
            }
            (_, Some(GptInputs { tokens: ids, sorted, sorted_places, spans, .. })) => {
                let op = Embedding { sorted, sorted_places };
                let inputs: Vec<TensorId> = [ids, tokens, positions].into_iter().chain(spans).collect();
                self.apply1("embedding", op, &inputs)?
            }
            (None, None) => UNBUILT,
        };
        let x = self.dropout("embedding", x)?;
        Ok(Stream { x, added: None })
    }

    /// The layer norm of the stream, which also adds the stream's pending part.
    pub fn norm(&mut self, label: &str, stream: &mut Stream) -> Built {
        let (c, eps) = (self.config.n_embd, ModelConfig::EPS);
        let mut inputs = vec![stream.x];
        inputs.extend(stream.added);
        inputs.push(self.vector(format!("{label}.weight"), c, Init::Ones)?);
        if self.config.bias {
            inputs.push(self.vector(format!("{label}.bias"), c, Init::Zeros)?);
        }
        if stream.added.is_none() {
            return self.apply1(label, Layernorm { eps }, &inputs);
        }
        let outputs = self.node(label, Arc::new(ResidualLayernorm { eps }), &inputs, &[])?;
        *stream = Stream { x: outputs[0], added: None };
        Ok(outputs[1])
    }

    /// Keeps the stream for the backward pass when the rest of a block is recomputed.
    pub fn checkpoint(&mut self, stream: Stream) {
        if self.pass != Pass::Describe {
            self.builder.checkpoint(stream.x);
        }
    }

    /// x (.., in) times weight (in, out), plus bias.
    pub fn linear(&mut self, label: &str, x: TensorId, linear: Linear) -> Built {
        let inputs = self.linear_inputs(label, x, linear)?;
        self.product(label, &inputs, false, &[])
    }

    fn linear_inputs(&mut self, label: &str, x: TensorId, linear: Linear) -> Result<Vec<TensorId>, GraphError> {
        let Linear { n_in, n_out, bias, std } = linear;
        let mut inputs = vec![x, self.weight(format!("{label}.weight"), &[n_in, n_out], std, ParamGroup::Matrix)?];
        if bias {
            inputs.push(self.vector(format!("{label}.bias"), n_out, Init::Zeros)?);
        }
        Ok(inputs)
    }

    /// A product, by the kernel for few rows if there are few.
    fn product(&mut self, label: &str, inputs: &[TensorId], trans_b: bool, into: &[Into]) -> Built {
        let op: Arc<dyn Op> = match self.matvec(inputs[1], trans_b) {
            Some(op) => Arc::new(op),
            None => Arc::new(Matmul { trans_a: false, trans_b }),
        };
        Ok(self.node(label, op, inputs, into)?[0])
    }

    fn matvec(&self, weight: TensorId, trans_b: bool) -> Option<Matvec> {
        let op = Matvec { trans_b, gelu: false };
        (self.pass == Pass::Decode && op.suits(self.batch.b, self.builder.spec(weight).shape)).then_some(op)
    }

    /// A linear layer whose result is added to the stream, after dropout.
    pub fn add_linear(
        &mut self,
        label: &str,
        x: TensorId,
        linear: Linear,
        stream: &mut Stream,
    ) -> Result<(), GraphError> {
        let inputs = self.linear_inputs(label, x, linear)?;
        if self.pass == Pass::Decode {
            return self.product(label, &inputs, false, &[Some((stream.x, true))]).map(drop);
        }
        let added = self.product(label, &inputs, false, &[])?;
        stream.added = Some(self.dropout(label, added)?);
        Ok(())
    }

    fn dropout(&mut self, label: &str, x: TensorId) -> Built {
        match (self.pass, self.inputs) {
            (Pass::Train, Some(GptInputs { rng, .. })) if self.config.dropout > 0.0 => {
                let op = Dropout { p: self.config.dropout, site: self.next_site() };
                self.apply1(&format!("{label}.dropout"), op, &[x, rng])
            }
            _ => Ok(x),
        }
    }

    fn next_site(&mut self) -> u32 {
        self.site += 1;
        self.site
    }

    /// Causal attention with `n_head` heads. `qkv` holds each position's queries, keys and values side by side.
    pub fn attention(&mut self, label: &str, qkv: TensorId) -> Built {
        let &ModelConfig { n_head, n_embd, block_size: block, .. } = self.config;
        let layer = self.n_attention;
        self.n_attention += 1;
        if let Some(Cache { fed, cursor, layers }) = &self.cache {
            let (fed, cursor, cache) = (*fed, *cursor, layers[layer]);
            if self.pass == Pass::Decode {
                let into = [None, Some((cache, false))];
                return Ok(self.node(label, Arc::new(AttentionDecode { n_head, block }), &[qkv, cursor], &into)?[0]);
            }
            let op = AttentionPrefill { n_head, block };
            self.node(&format!("{label}.cache"), Arc::new(op), &[qkv, fed], &[Some((cache, false))])?;
        }
        let Some(GptInputs { rng, spans, .. }) = self.inputs else { return Ok(UNBUILT) };
        let (p, site) = (if self.pass == Pass::Train { self.config.dropout } else { 0.0 }, self.next_site());
        let inputs: Vec<TensorId> = [qkv, rng].into_iter().chain(spans).collect();
        if self.keeps_maps || !FlashAttention::takes(n_embd, n_head) {
            let outputs = self.node(label, Arc::new(Attention { n_head, p, site }), &inputs, &[])?;
            if self.keeps_maps {
                self.attention_maps.push(outputs[1]);
            }
            return Ok(outputs[0]);
        }
        self.apply1(label, FlashAttention { n_head, p, site }, &inputs)
    }

    /// A linear layer and GELU, labelled `label` and `gelu`.
    pub fn linear_gelu(&mut self, label: &str, gelu: &str, x: TensorId, linear: Linear) -> Built {
        let inputs = self.linear_inputs(label, x, linear)?;
        if let Some(op) = self.matvec(inputs[1], false) {
            return self.apply1(label, Matvec { gelu: true, ..op }, &inputs);
        }
        let hidden = self.product(label, &inputs, false, &[])?;
        self.apply1(gelu, Gelu, &[hidden])
    }

    /// In passes for the next token, keeps only the one position per row whose next token is wanted.
    pub fn last_position(&mut self, stream: &mut Stream) -> Result<(), GraphError> {
        if !matches!(self.pass, Pass::Next | Pass::Prefill) {
            return Ok(());
        }
        let rows = self.input("rows", &[self.batch.b], DType::U32)?;
        self.inputs = self.inputs.map(|inputs| GptInputs { rows: Some(rows), ..inputs });
        let sum = match stream.added {
            Some(added) => self.apply1("residual", Residual, &[stream.x, added])?,
            None => stream.x,
        };
        *stream = Stream { x: self.apply1("last", Embedding::default(), &[rows, sum])?, added: None };
        Ok(())
    }

    /// The output projection by the rows of a table (V, C), an embedding's or its own: logits or loss, depending on the
    /// pass.
    pub fn head(&mut self, x: TensorId, table: TensorId) -> Result<(), GraphError> {
        self.attention_maps.iter().for_each(|&map| self.builder.set_role(map, Role::Output));
        let has_loss = matches!(self.pass, Pass::Train | Pass::Score);
        if self.keeps_logits || !has_loss {
            let logits = self.product("logits", &[x, table], true, &[])?;
            if self.pass != Pass::Describe {
                self.builder.set_role(logits, Role::Output);
            }
            self.logits = Some(logits);
        }
        if !has_loss {
            return Ok(());
        }
        let BatchShape { b, t, .. } = self.batch;
        let targets = self.input("targets", &[b, t], DType::U32)?;
        let loss_scale = self.input("loss_scale", &[1], DType::F32)?;
        let (some_targets, some_scale) = (Some(targets), Some(loss_scale));
        self.inputs = self.inputs.map(|inputs| GptInputs { targets: some_targets, loss_scale: some_scale, ..inputs });
        let metric = self.builder.tensor("loss", Shape::new(&[1]), DType::F32, Role::Metric)?;
        self.loss = Some(metric);
        if let Some(logits) = self.logits {
            let inputs = [logits, targets, loss_scale];
            return self.node("cross_entropy", Arc::new(CrossEntropy), &inputs, &[Some((metric, true))]).map(drop);
        }
        let gradients = self.pass == Pass::Train;
        let op = ProjectionCrossEntropy { chunk_rows: self.loss_chunk, gradients };
        let mut into = [None; ProjectionCrossEntropy::DWEIGHT + 1];
        into[0] = Some((metric, true));
        if gradients {
            into[ProjectionCrossEntropy::DWEIGHT] = Some((self.builder.param_grad(table)?, true));
        }
        self.node("cross_entropy", Arc::new(op), &[x, table, targets, loss_scale], &into).map(drop)
    }

    /// Declares the host-written inputs of passes over whole rows.
    pub fn declare_inputs(&mut self) -> Result<(), GraphError> {
        let BatchShape { b, t, document_mask } = self.batch;
        let is_training = self.pass == Pass::Train;
        let has_places = is_training && document_mask && self.config.positions == Positions::Learned;
        let tokens = self.input("tokens", &[b, t], DType::U32)?;
        let rng = self.input("rng", &[4], DType::U32)?;
        let mut input = |name, dims: &[u64], is_wanted: bool| {
            is_wanted.then(|| self.builder.input(name, dims, DType::U32)).transpose()
        };
        let spans = input("spans", &[b, t, 2], document_mask)?;
        let sorted = input("sorted", &[3, b * t], is_training)?;
        let sorted_places = input("sorted places", &[3, b * t], has_places)?;
        let (targets, loss_scale, rows) = (None, None, None);
        self.inputs = Some(GptInputs { tokens, targets, loss_scale, sorted, spans, sorted_places, rng, rows });
        Ok(())
    }

    /// Declares the state of generation: which rows a run feeds, their cursor, and a cache for each attention layer.
    pub fn declare_cache(&mut self) -> Result<(TensorId, TensorId), GraphError> {
        let &ModelConfig { n_layer, n_head, n_embd, block_size, .. } = self.config;
        let b = self.batch.b;
        let shape = cache_shape(b, n_head, block_size, n_embd);
        let fed = self.builder.input("fed", &[b], DType::U32)?;
        let mut state = |name: &str, shape, dtype| self.builder.tensor(name, shape, dtype, Role::State);
        let cursor = state("cursor", Shape::new(&[b, crate::ops::Sample::N_CURSOR]), DType::U32)?;
        let layers = (0..n_layer).map(|i| state(&format!("cache.{i}"), shape, DType::F32)).collect::<Result<_, _>>()?;
        self.cache = Some(Cache { fed, cursor, layers });
        Ok((fed, cursor))
    }
}

/// The destination of an op's output that isn't new: a tensor, and whether to add to it.
type Into = Option<(TensorId, bool)>;

/// Placeholder for every tensor while a model is only described.
const UNBUILT: TensorId = TensorId(usize::MAX);
