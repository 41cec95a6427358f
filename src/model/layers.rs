//! The layers of a block: one function each, one `match` per kind.

use super::ModelConfig;
use crate::graph::{GraphBuilder, GraphError};
use crate::ops::{Attention, Dropout, FlashAttention, Gelu, Layernorm, Matmul, Residual, ResidualLayernorm};
use crate::tensor::TensorId;

/// What the layers of one model share while it is being built.
pub(super) struct Layers<'a> {
    pub config: &'a ModelConfig,
    pub builder: &'a mut GraphBuilder,
    /// Parameters by name, declared before.
    pub params: &'a std::collections::HashMap<String, TensorId>,
    /// Random key of this micro-batch (4 words).
    pub rng: TensorId,
    /// Which positions make a document, where rows hold several.
    pub spans: Option<TensorId>,
    /// Dropout probability: 0 outside training.
    pub dropout: f32,
    /// The next dropout site's number.
    pub site: u32,
    /// Whether attention keeps its probabilities.
    pub keeps_maps: bool,
    /// Attention probabilities of each layer, where they are kept.
    pub attention_maps: Vec<TensorId>,
}

type Built = Result<TensorId, GraphError>;

/// The residual stream: what it was, and what a layer adds to it. The next norm makes the sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub x: TensorId,
    pub added: Option<TensorId>,
}

impl Layers<'_> {
    /// The stream's sum and its norm.
    pub fn norm(&mut self, label: &str, stream: Stream) -> Result<(TensorId, TensorId), GraphError> {
        let eps = ModelConfig::EPS;
        let mut inputs = self.with_params(label, stream.x);
        let Some(added) = stream.added else {
            return Ok((stream.x, self.builder.apply(label, Layernorm { eps }, &inputs)?[0]));
        };
        inputs.insert(1, added);
        let outputs = self.builder.apply(label, ResidualLayernorm { eps }, &inputs)?;
        Ok((outputs[0], outputs[1]))
    }

    /// The stream's sum alone.
    pub fn sum(&mut self, label: &str, stream: Stream) -> Built {
        match stream.added {
            Some(added) => self.builder.apply1(label, Residual, &[stream.x, added]),
            None => Ok(stream.x),
        }
    }

    /// x (.., in) times weight (in, out), plus bias.
    fn linear(&mut self, label: &str, x: TensorId) -> Built {
        let inputs = self.with_params(label, x);
        self.builder.apply1(label, Matmul { trans_a: false, trans_b: false }, &inputs)
    }

    /// A layer's input with its weight and, where there is one, its bias.
    fn with_params(&self, label: &str, x: TensorId) -> Vec<TensorId> {
        let param = |kind: &str| self.params.get(&format!("{label}.{kind}")).copied();
        [Some(x), param("weight"), param("bias")].into_iter().flatten().collect()
    }

    pub fn dropout(&mut self, label: &str, x: TensorId) -> Built {
        if self.dropout == 0.0 {
            return Ok(x);
        }
        let op = Dropout { p: self.dropout, site: self.next_site() };
        self.builder.apply1(&format!("{label}.dropout"), op, &[x, self.rng])
    }

    fn next_site(&mut self) -> u32 {
        self.site += 1;
        self.site
    }

    fn attention(&mut self, label: &str, x: TensorId) -> Built {
        let qkv = self.linear(&format!("{label}.c_attn"), x)?;
        let (n_head, p, site) = (self.config.n_head, self.dropout, self.next_site());
        let inputs: Vec<TensorId> = [qkv, self.rng].into_iter().chain(self.spans).collect();
        let attended = if self.keeps_maps || !FlashAttention::takes(self.config.n_embd, n_head) {
            let outputs = self.builder.apply(label, Attention { n_head, p, site }, &inputs)?;
            if self.keeps_maps {
                self.attention_maps.push(outputs[1]);
            }
            outputs[0]
        } else {
            self.builder.apply1(label, FlashAttention { n_head, p, site }, &inputs)?
        };
        let projection = format!("{label}.c_proj");
        let y = self.linear(&projection, attended)?;
        self.dropout(&projection, y)
    }

    fn mlp(&mut self, label: &str, x: TensorId) -> Built {
        let hidden = self.linear(&format!("{label}.c_fc"), x)?;
        let hidden = self.builder.apply1(&format!("{label}.gelu"), Gelu, &[hidden])?;
        let projection = format!("{label}.c_proj");
        let y = self.linear(&projection, hidden)?;
        self.dropout(&projection, y)
    }

    /// A pre-norm block: x + attention(norm(x)), then x + mlp(norm(x)).
    pub fn block(&mut self, label: &str, stream: Stream) -> Result<Stream, GraphError> {
        let (x, normed) = self.norm(&format!("{label}.ln_1"), stream)?;
        self.builder.checkpoint(x);
        let attended = self.attention(&format!("{label}.attn"), normed)?;
        let (x, normed) = self.norm(&format!("{label}.ln_2"), Stream { x, added: Some(attended) })?;
        let mlp = self.mlp(&format!("{label}.mlp"), normed)?;
        Ok(Stream { x, added: Some(mlp) })
    }
}
