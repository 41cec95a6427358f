//! A whole GPT-2 with its backward pass, composed of nothing but the reference ops; for models of a few thousand weights.

use std::collections::BTreeMap;

use super::embedding::Tables;
use super::{IGNORE, attention, column_sum, cross_entropy, embedding, gelu, layernorm, matmul, residual};

/// Added to the variance in every layer norm; GPT-2's number.
const LAYERNORM_EPS: f64 = 1e-5;

/// Without dropout nothing reads these words.
const NO_RNG: [f64; 4] = [0.0; 4];

/// The shape of a model, in nanoGPT's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Blocks (L).
    pub n_layer: usize,
    /// Attention heads (NH).
    pub n_head: usize,
    /// Channels (C).
    pub n_embd: usize,
    /// The longest sequence; rows of a learned `wpe.weight`.
    pub block_size: usize,
    /// Tokens (V).
    pub vocab_size: usize,
    /// Linear layers and layer norms add a bias.
    pub bias: bool,
    /// The output projection is `wte.weight`; otherwise it is `lm_head.weight`.
    pub tied: bool,
    /// Positions come from `wpe.weight`; otherwise from [`embedding::sinusoidal`].
    pub learned_positions: bool,
}

/// One batch.
///
/// Shapes: tokens and targets (B, T); spans (B, T, 2) as in [`attention::Setting`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    /// Input ids.
    pub tokens: &'a [f64],
    /// The ids that should follow, or [`IGNORE`].
    pub targets: &'a [f64],
    /// Which positions make a document, where rows hold several that don't see each other.
    pub spans: Option<&'a [f64]>,
    /// Rows (B).
    pub b: usize,
    /// Positions of a row (T).
    pub t: usize,
}

/// Loss, logits and the gradient of every parameter for one batch, without dropout.
///
/// The loss is the mean over targets that are not [`IGNORE`]; a batch without any has loss 0 and zero gradients.
///
/// Shapes: params by GPT-2 name, matrices in x out, `lm_head.weight` (V, C); logits (B, T, V); gradients as the parameters.
/// Units: nats.
/// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
///
/// # Panics
///
/// If a parameter is missing or has the wrong size.
pub fn forward_backward(
    config: Config,
    params: &BTreeMap<String, Vec<f64>>,
    batch: Batch<'_>,
) -> (f64, Vec<f64>, BTreeMap<String, Vec<f64>>) {
    let Batch { tokens, targets, spans, b, t } = batch;
    assert_eq!(tokens.len(), b * t, "tokens are (B, T)");
    assert!(t <= config.block_size, "T is at most block_size");
    let model = Model { config, params, spans, b, t };
    let n_target = targets.iter().filter(|&&target| target != f64::from(IGNORE)).count();
    let scale = if n_target == 0 { 0.0 } else { 1.0 / n_target as f64 };
    let (n_row, c, vocab) = (b * t, config.n_embd, config.vocab_size);

    let table;
    let positions = if config.learned_positions {
        model.param("wpe.weight")
    } else {
        table = embedding::sinusoidal(t, c);
        &table
    };
    let head_name = if config.tied { "wte.weight" } else { "lm_head.weight" };
    let head = model.param(head_name);

    let places = embedding::positions(n_row, t, spans);
    let mut stream = embedding::forward(tokens, model.param("wte.weight"), Some((positions, &places)), c);
    let mut saved = Vec::new();
    for layer in 0..config.n_layer {
        let activations = model.block(layer, stream);
        stream = activations.out.clone();
        saved.push(activations);
    }
    let normed = model.norm("ln_f", &stream);
    let project = matmul::Dims { m: n_row, n: vocab, k: c, trans_a: false, trans_b: true };
    let logits = matmul::forward(&normed, head, None, project);
    let (loss, _, _) = cross_entropy::forward(&logits, targets, scale, n_row, vocab);

    let mut grads = Grads::default();
    let dlogits = cross_entropy::backward(&logits, targets, scale, n_row, vocab);
    let weight_dims = matmul::Dims { m: vocab, n: c, k: n_row, trans_a: true, trans_b: false };
    grads.add(head_name, matmul::forward(&dlogits, &normed, None, weight_dims));
    let normed_dims = matmul::Dims { m: n_row, n: c, k: vocab, trans_a: false, trans_b: false };
    let dnormed = matmul::forward(&dlogits, head, None, normed_dims);
    let mut dstream = model.norm_backward("ln_f", &dnormed, &stream, &mut grads);
    for (layer, activations) in saved.iter().enumerate().rev() {
        dstream = model.block_backward(layer, &dstream, activations, &mut grads);
    }
    // Positions that this batch doesn't reach have a gradient of 0.
    let tables = Tables { vocab_size: vocab, n_position: config.block_size, c };
    let (dwte, dwpe) = embedding::backward(&dstream, tokens, &places, tables);
    grads.add("wte.weight", dwte);
    if config.learned_positions {
        grads.add("wpe.weight", dwpe);
    }
    (loss, logits, grads.0)
}

/// One batch on its way through one model.
struct Model<'a> {
    config: Config,
    params: &'a BTreeMap<String, Vec<f64>>,
    spans: Option<&'a [f64]>,
    b: usize,
    t: usize,
}

/// What a block keeps for its backward pass, in the order in which it is made.
struct Activations {
    inp: Vec<f64>,
    ln_1: Vec<f64>,
    qkv: Vec<f64>,
    heads: Vec<f64>,
    middle: Vec<f64>,
    ln_2: Vec<f64>,
    fc: Vec<f64>,
    gelu: Vec<f64>,
    out: Vec<f64>,
}

impl Model<'_> {
    fn block(&self, layer: usize, inp: Vec<f64>) -> Activations {
        let c = self.config.n_embd;
        let h = |name: &str| format!("h.{layer}.{name}");

        let ln_1 = self.norm(&h("ln_1"), &inp);
        let qkv = self.linear(&h("attn.c_attn"), &ln_1, c, 3 * c);
        let (heads, _) = attention::forward(&qkv, &self.setting(), self.attention_dims());
        let attended = self.linear(&h("attn.c_proj"), &heads, c, c);
        let middle = residual::forward(&inp, &attended);

        let ln_2 = self.norm(&h("ln_2"), &middle);
        let fc = self.linear(&h("mlp.c_fc"), &ln_2, c, 4 * c);
        let gelu = gelu::forward(&fc);
        let projected = self.linear(&h("mlp.c_proj"), &gelu, 4 * c, c);
        let out = residual::forward(&middle, &projected);
        Activations { inp, ln_1, qkv, heads, middle, ln_2, fc, gelu, out }
    }

    fn block_backward(&self, layer: usize, dout: &[f64], saved: &Activations, grads: &mut Grads) -> Vec<f64> {
        let c = self.config.n_embd;
        let h = |name: &str| format!("h.{layer}.{name}");

        let dgelu = self.linear_backward(&h("mlp.c_proj"), dout, &saved.gelu, c, grads);
        let dfc = gelu::backward(&dgelu, &saved.fc);
        let dln_2 = self.linear_backward(&h("mlp.c_fc"), &dfc, &saved.ln_2, 4 * c, grads);
        let dbranch = self.norm_backward(&h("ln_2"), &dln_2, &saved.middle, grads);
        let dmiddle = residual::forward(dout, &dbranch);

        let dheads = self.linear_backward(&h("attn.c_proj"), &dmiddle, &saved.heads, c, grads);
        let dims = self.attention_dims();
        let dqkv = attention::backward(&dheads, &saved.qkv, &self.setting(), dims);
        let dln_1 = self.linear_backward(&h("attn.c_attn"), &dqkv, &saved.ln_1, 3 * c, grads);
        let dbranch = self.norm_backward(&h("ln_1"), &dln_1, &saved.inp, grads);
        residual::forward(&dmiddle, &dbranch)
    }

    fn norm(&self, name: &str, inp: &[f64]) -> Vec<f64> {
        let weight = self.param(&format!("{name}.weight"));
        let bias = self.bias(name);
        let (n_row, c) = (self.b * self.t, self.config.n_embd);
        layernorm::forward(inp, weight, bias, n_row, c, LAYERNORM_EPS).0
    }

    fn norm_backward(&self, name: &str, dout: &[f64], inp: &[f64], grads: &mut Grads) -> Vec<f64> {
        let weight = self.param(&format!("{name}.weight"));
        let (n_row, c) = (self.b * self.t, self.config.n_embd);
        let (dinp, dweight, dbias) = layernorm::backward(dout, inp, weight, n_row, c, LAYERNORM_EPS);
        grads.add(&format!("{name}.weight"), dweight);
        if self.config.bias {
            grads.add(&format!("{name}.bias"), dbias);
        }
        dinp
    }

    fn linear(&self, name: &str, inp: &[f64], n_in: usize, n_out: usize) -> Vec<f64> {
        let weight = self.param(&format!("{name}.weight"));
        let dims = matmul::Dims { m: self.b * self.t, n: n_out, k: n_in, trans_a: false, trans_b: false };
        matmul::forward(inp, weight, self.bias(name), dims)
    }

    /// `dinp = dout weight^T`, `dweight = inp^T dout`, `dbias` = the column sums of dout.
    fn linear_backward(&self, name: &str, dout: &[f64], inp: &[f64], n_out: usize, grads: &mut Grads) -> Vec<f64> {
        let weight = self.param(&format!("{name}.weight"));
        let n_row = self.b * self.t;
        let n_in = inp.len() / n_row;
        let weight_dims = matmul::Dims { m: n_in, n: n_out, k: n_row, trans_a: true, trans_b: false };
        let dweight = matmul::forward(inp, dout, None, weight_dims);
        grads.add(&format!("{name}.weight"), dweight);
        if self.config.bias {
            let dbias = column_sum::forward(dout, n_row, n_out);
            grads.add(&format!("{name}.bias"), dbias);
        }
        let inp_dims = matmul::Dims { m: n_row, n: n_in, k: n_out, trans_a: false, trans_b: true };
        matmul::forward(dout, weight, None, inp_dims)
    }

    fn setting(&self) -> attention::Setting<'_> {
        attention::Setting { rng: &NO_RNG, site: 0, p: 0.0, spans: self.spans }
    }

    fn attention_dims(&self) -> attention::Dims {
        attention::Dims { b: self.b, t: self.t, c: self.config.n_embd, n_head: self.config.n_head }
    }

    fn param(&self, name: &str) -> &[f64] {
        match self.params.get(name) {
            Some(param) => param,
            None => panic!("the reference model has no parameter {name}"),
        }
    }

    fn bias(&self, name: &str) -> Option<&[f64]> {
        self.config.bias.then(|| self.param(&format!("{name}.bias")))
    }
}

/// Gradients by name; a tied `wte.weight` is reached twice, so a second gradient adds to the first.
#[derive(Default)]
struct Grads(BTreeMap<String, Vec<f64>>);

impl Grads {
    fn add(&mut self, name: &str, grad: Vec<f64>) {
        let sum = match self.0.get(name) {
            Some(earlier) => residual::forward(earlier, &grad),
            None => grad,
        };
        self.0.insert(name.to_owned(), sum);
    }
}
