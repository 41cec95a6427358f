//! tril's training step in candle on the CPU.

#[path = "../../common.rs"]
mod common;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, loss, ops};
use clap::Parser;
use common::{ADAM_EPS, AnyResult, Args, BETA1, BETA2, EPS, LEARNING_RATE, MAX_NORM, Peer, Preset, WEIGHT_DECAY};

/// A matrix (in, out) or a norm's weight, and its bias.
struct Layer {
    weight: Var,
    bias: Option<Var>,
}

struct Block {
    ln_1: Layer,
    c_attn: Layer,
    attn_proj: Layer,
    ln_2: Layer,
    c_fc: Layer,
    mlp_proj: Layer,
}

struct Gpt {
    preset: Preset,
    wte: Var,
    wpe: Var,
    h: Vec<Block>,
    ln_f: Layer,
    /// 0 where a position attends to another, minus infinity elsewhere (T, T).
    mask: Tensor,
}

impl Layer {
    fn linear(n_in: usize, n_out: usize, std: f64, bias: bool) -> Result<Self> {
        let device = &Device::Cpu;
        let bias = if bias { Some(Var::zeros(n_out, DType::F32, device)?) } else { None };
        Ok(Self { weight: Var::randn(0f32, std as f32, (n_in, n_out), device)?, bias })
    }

    fn norm(c: usize, bias: bool) -> Result<Self> {
        let device = &Device::Cpu;
        let bias = if bias { Some(Var::zeros(c, DType::F32, device)?) } else { None };
        Ok(Self { weight: Var::ones(c, DType::F32, device)?, bias })
    }

    fn add_bias(&self, x: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => x.broadcast_add(bias.as_tensor()),
            None => Ok(x),
        }
    }

    /// x (B T, in) times weight, plus bias.
    fn times(&self, x: &Tensor) -> Result<Tensor> {
        self.add_bias(x.matmul(self.weight.as_tensor())?)
    }

    /// Layer norm; candle's fused one has no backward pass.
    fn normed(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + EPS)?.sqrt()?)?;
        self.add_bias(x.broadcast_mul(self.weight.as_tensor())?)
    }

    fn vars(&self) -> impl Iterator<Item = Var> {
        [Some(self.weight.clone()), self.bias.clone()].into_iter().flatten()
    }
}

impl Block {
    fn new(p: &Preset) -> Result<Self> {
        let (c, (std, residual_std)) = (p.n_embd, p.std());
        Ok(Self {
            ln_1: Layer::norm(c, p.bias)?,
            c_attn: Layer::linear(c, 3 * c, std, p.bias)?,
            attn_proj: Layer::linear(c, c, residual_std, p.bias)?,
            ln_2: Layer::norm(c, p.bias)?,
            c_fc: Layer::linear(c, 4 * c, std, p.bias)?,
            mlp_proj: Layer::linear(4 * c, c, residual_std, p.bias)?,
        })
    }

    fn attention(&self, p: &Preset, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let head_size = p.n_embd / p.n_head;
        let qkv = self.c_attn.times(x)?.reshape((p.b, p.t, 3, p.n_head, head_size))?;
        let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let scores = (q.matmul(&k.t()?)? / (head_size as f64).sqrt())?;
        // the fused softmax has no backward pass either
        let weights = ops::softmax(&scores.broadcast_add(mask)?, D::Minus1)?;
        let y = weights.matmul(&v)?.transpose(1, 2)?.contiguous()?;
        self.attn_proj.times(&y.reshape((p.b * p.t, p.n_embd))?)
    }

    fn forward(&self, p: &Preset, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let x = (x + self.attention(p, &self.ln_1.normed(x)?, mask)?)?;
        // `gelu` is the tanh form
        let hidden = self.c_fc.times(&self.ln_2.normed(&x)?)?.gelu()?;
        &x + self.mlp_proj.times(&hidden)?
    }
}

impl Gpt {
    fn new(preset: Preset) -> Result<Self> {
        let (device, t, std) = (&Device::Cpu, preset.t, preset.std().0 as f32);
        let mask: Vec<f32> = (0..t * t).map(|i| if i % t > i / t { f32::NEG_INFINITY } else { 0.0 }).collect();
        Ok(Self {
            preset,
            wte: Var::randn(0f32, std, (preset.vocab_size, preset.n_embd), device)?,
            wpe: Var::randn(0f32, std, (t, preset.n_embd), device)?,
            h: (0..preset.n_layer).map(|_| Block::new(&preset)).collect::<Result<_>>()?,
            ln_f: Layer::norm(preset.n_embd, preset.bias)?,
            mask: Tensor::from_vec(mask, (t, t), device)?,
        })
    }

    /// The loss of tokens and targets (B T).
    fn forward(&self, tokens: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let p = &self.preset;
        let x = self.wte.index_select(tokens, 0)?.reshape((p.b, p.t, p.n_embd))?;
        let mut x = x.broadcast_add(self.wpe.as_tensor())?.reshape((p.b * p.t, p.n_embd))?;
        for block in &self.h {
            x = block.forward(p, &x, &self.mask)?;
        }
        // the head is the token embedding
        let logits = self.ln_f.normed(&x)?.matmul(&self.wte.t()?)?;
        loss::cross_entropy(&logits, targets)
    }

    fn vars(&self) -> Vec<Var> {
        let blocks = self.h.iter().flat_map(|b| [&b.ln_1, &b.c_attn, &b.attn_proj, &b.ln_2, &b.c_fc, &b.mlp_proj]);
        let layers = blocks.chain([&self.ln_f]).flat_map(Layer::vars);
        [self.wte.clone(), self.wpe.clone()].into_iter().chain(layers).collect()
    }
}

fn main() -> AnyResult<()> {
    let args = Args::parse();
    if !matches!(args.backend.as_str(), "" | "cpu") {
        return Err(format!("candle is measured with --backend cpu only, not {}", args.backend).into());
    }
    let model = Gpt::new(args.preset)?;
    let vars = model.vars();
    let n_param = vars.iter().map(|var| var.elem_count()).sum();
    let (decayed, plain): (Vec<Var>, Vec<Var>) = vars.iter().cloned().partition(|var| var.rank() >= 2);
    let adamw = |vars, weight_decay| {
        AdamW::new(vars, ParamsAdamW { lr: LEARNING_RATE, beta1: BETA1, beta2: BETA2, eps: ADAM_EPS, weight_decay })
    };
    let mut optimizers = [adamw(decayed, WEIGHT_DECAY)?, adamw(plain, 0.0)?];
    let (tokens, targets) = args.preset.batch();
    let n = tokens.len();
    let tokens = Tensor::from_vec(tokens, n, &Device::Cpu)?;
    let targets = Tensor::from_vec(targets, n, &Device::Cpu)?;

    let step = || -> AnyResult<f32> {
        let loss = model.forward(&tokens, &targets)?;
        let mut grads = loss.backward()?;
        let mut squares = 0.0;
        for var in &vars {
            let grad = grads.get(var).ok_or("a parameter has no gradient")?;
            squares += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        let scale = MAX_NORM / squares.sqrt().max(MAX_NORM);
        for var in &vars {
            let grad = grads.remove(var).ok_or("a parameter has no gradient")?;
            grads.insert(var, (grad * scale)?);
        }
        for optimizer in &mut optimizers {
            optimizer.step(&grads)?;
        }
        Ok(loss.to_scalar()?)
    };
    let peer = Peer {
        name: "candle",
        version: "0.11.1",
        backend: if cfg!(feature = "mkl") { "cpu, mkl" } else { "cpu" }.into(),
        device: "CPU".into(),
        n_param,
    };
    args.measure(peer, step)
}
