//! GPT-2's decoder: pre-norm blocks of attention and MLP on a residual stream.
//!
//! Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3; nanoGPT.

use super::net::{Linear, Net, Table};
use super::{ModelConfig, Positions};
use crate::graph::GraphError;

/// Standard deviation of initial weights.
const STD: f64 = 0.02;

/// The forward pass.
pub(super) fn forward(config: &ModelConfig, net: &mut Net<'_>) -> Result<(), GraphError> {
    let &ModelConfig { n_embd: c, block_size, vocab_size, bias, .. } = config;
    // weights of projections onto the residual stream start smaller, so that its variance doesn't grow with its 2 L
    // layers
    let residual_std = STD / (2.0 * config.n_layer as f64).sqrt();
    let linear = |n_in, n_out| Linear { n_in, n_out, bias, std: STD };
    let residual = |n_in| Linear { n_in, n_out: c, bias, std: residual_std };

    let wte = net.table("wte", vocab_size, STD)?;
    let wpe = match config.positions {
        Positions::Learned => net.table("wpe", block_size, STD)?,
        Positions::Sinusoidal => net.constant("wpe", &[block_size, c], Table::Sinusoidal { t: block_size, c })?,
    };
    let mut stream = net.embedding(wte, wpe)?;
    for i in 0..config.n_layer {
        let h = |name: &str| format!("h.{i}.{name}");
        let normed = net.norm(&h("ln_1"), &mut stream)?;
        net.checkpoint(stream);
        let qkv = net.linear(&h("attn.c_attn"), normed, linear(c, 3 * c))?;
        let heads = net.attention(&h("attn"), qkv)?;
        net.add_linear(&h("attn.c_proj"), heads, residual(c), &mut stream)?;

        let normed = net.norm(&h("ln_2"), &mut stream)?;
        let hidden = net.linear_gelu(&h("mlp.c_fc"), &h("mlp.gelu"), normed, linear(c, 4 * c))?;
        net.add_linear(&h("mlp.c_proj"), hidden, residual(4 * c), &mut stream)?;
    }
    net.last_position(&mut stream)?;
    let normed = net.norm("ln_f", &mut stream)?;
    net.checkpoint(stream);
    let head = if config.tied { wte } else { net.table("lm_head", vocab_size, STD)? };
    net.head(normed, head)
}
