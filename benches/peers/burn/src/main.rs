//! tril's training step in Burn, on wgpu or on its CPU backend.

#[path = "../../common.rs"]
mod common;

use burn::module::{ModuleVisitor, Param, ParamGroup, ParamId};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::{gelu_approximate, softmax};
use burn::tensor::wgpu::WgpuBackend;
use clap::Parser;
use common::{ADAM_EPS, AnyResult, Args, BETA1, BETA2, EPS, LEARNING_RATE, MAX_NORM, Peer, Preset, WEIGHT_DECAY};

#[derive(Module, Debug)]
struct Block {
    ln_1: LayerNorm,
    c_attn: Linear,
    attn_proj: Linear,
    ln_2: LayerNorm,
    c_fc: Linear,
    mlp_proj: Linear,
}

#[derive(Module, Debug)]
struct Gpt {
    wte: Embedding,
    wpe: Param<Tensor<2>>,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

/// A step's inputs other than the model, on the device.
struct Inputs {
    tokens: Tensor<2, Int>,
    /// The targets (B T).
    targets: Tensor<1, Int>,
    /// True where a position doesn't attend to another (1, 1, T, T).
    mask: Tensor<4, Bool>,
    loss: CrossEntropyLoss,
}

fn norm(p: &Preset, device: &Device) -> LayerNorm {
    LayerNormConfig::new(p.n_embd).with_epsilon(EPS).with_bias(p.bias).init(device)
}

fn linear(n_in: usize, n_out: usize, std: f64, p: &Preset, device: &Device) -> Linear {
    let initializer = Initializer::Normal { mean: 0.0, std };
    let mut linear = LinearConfig::new(n_in, n_out).with_bias(p.bias).with_initializer(initializer).init(device);
    linear.bias = linear.bias.map(|_| Initializer::Zeros.init([n_out], device));
    linear
}

impl Block {
    fn new(p: &Preset, device: &Device) -> Self {
        let (c, (std, residual_std)) = (p.n_embd, p.std());
        Self {
            ln_1: norm(p, device),
            c_attn: linear(c, 3 * c, std, p, device),
            attn_proj: linear(c, c, residual_std, p, device),
            ln_2: norm(p, device),
            c_fc: linear(c, 4 * c, std, p, device),
            mlp_proj: linear(4 * c, c, residual_std, p, device),
        }
    }

    /// Burn's documentation reserves its `attention` for inference; with autodiff it consists of these ops.
    fn attention(&self, p: &Preset, x: Tensor<3>, mask: &Tensor<4, Bool>) -> Tensor<3> {
        let head_size = p.n_embd / p.n_head;
        let qkv = self.c_attn.forward(x).chunk(3, 2);
        let heads = |x: &Tensor<3>| x.clone().reshape([p.b, p.t, p.n_head, head_size]).swap_dims(1, 2);
        let (q, k, v) = (heads(&qkv[0]), heads(&qkv[1]), heads(&qkv[2]));
        let scores = q.matmul(k.swap_dims(2, 3)).div_scalar((head_size as f64).sqrt());
        let shape = [p.b, p.n_head, p.t, p.t];
        let weights = softmax(scores.mask_fill(mask.clone().expand(shape), f32::NEG_INFINITY), 3);
        let y = weights.matmul(v).swap_dims(1, 2).reshape([p.b, p.t, p.n_embd]);
        self.attn_proj.forward(y)
    }

    fn forward(&self, p: &Preset, x: Tensor<3>, mask: &Tensor<4, Bool>) -> Tensor<3> {
        let x = x.clone() + self.attention(p, self.ln_1.forward(x), mask);
        let hidden = gelu_approximate(self.c_fc.forward(self.ln_2.forward(x.clone())));
        x + self.mlp_proj.forward(hidden)
    }
}

impl Gpt {
    fn new(p: &Preset, device: &Device) -> Self {
        let initializer = Initializer::Normal { mean: 0.0, std: p.std().0 };
        Self {
            wte: EmbeddingConfig::new(p.vocab_size, p.n_embd).with_initializer(initializer.clone()).init(device),
            wpe: initializer.init([p.t, p.n_embd], device),
            h: (0..p.n_layer).map(|_| Block::new(p, device)).collect(),
            ln_f: norm(p, device),
        }
    }

    fn forward(&self, p: &Preset, inputs: &Inputs) -> Tensor<1> {
        let mut x = self.wte.forward(inputs.tokens.clone()) + self.wpe.val().unsqueeze::<3>();
        for block in &self.h {
            x = block.forward(p, x, &inputs.mask);
        }
        let x = self.ln_f.forward(x).reshape([p.b * p.t, p.n_embd]);
        // the head is the token embedding
        let logits = x.matmul(self.wte.weight.val().transpose());
        inputs.loss.forward(logits, inputs.targets.clone())
    }
}

/// Collects the parameters of fewer than two dimensions, which have no weight decay.
#[derive(Default)]
struct Vectors(Vec<ParamId>);

impl ModuleVisitor for Vectors {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D < 2 {
            self.0.push(param.id);
        }
    }
}

/// The sum of the squares of all gradients. Burn clips each tensor by its own norm, so the global norm is computed
/// here.
struct Squares<'a> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = self.grads.get::<D>(param.id).expect("every parameter has a gradient");
        let squares = grad.square().sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + squares,
            None => squares,
        });
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    by: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = self.grads.remove::<D>(param.id).expect("every parameter has a gradient");
        self.grads.register(param.id, grad * self.by.clone().unsqueeze());
    }
}

/// Scales the gradients so that their global norm is at most [`MAX_NORM`]; nothing is read back.
fn clip(model: &Gpt, grads: &mut GradientsParams) {
    let mut squares = Squares { grads, sum: None };
    model.visit(&mut squares);
    let Some(sum) = squares.sum else { return };
    let by = sum.sqrt().clamp_min(MAX_NORM).recip().mul_scalar(MAX_NORM);
    model.visit(&mut Scale { grads, by });
}

/// Opens a device and returns its description. Burn would take OpenGL if Vulkan is missing or no better; `wgpu-auto`
/// allows that.
fn open(backend: &str) -> AnyResult<(Device, String)> {
    let api = match backend {
        "flex" => return Ok((Device::flex().autodiff(), "CPU".into())),
        "" | "wgpu" if cfg!(target_os = "linux") => WgpuBackend::Vulkan,
        "" | "wgpu" | "wgpu-auto" => WgpuBackend::Auto,
        other => return Err(format!("--backend is wgpu, wgpu-auto or flex, not {other}").into()),
    };
    let (device, setup) = Device::wgpu_options().graphics_api(api).init_with_setup()?;
    let info = setup.adapter.get_info();
    let words = format!("{}, {} {}, {}", info.name, info.driver, info.driver_info, info.backend);
    Ok((device.autodiff(), words))
}

fn main() -> AnyResult<()> {
    let args = Args::parse();
    let p = args.preset;
    let (device, words) = open(&args.backend)?;
    device.seed(1337);
    let model = Gpt::new(&p, &device);
    let mut vectors = Vectors::default();
    model.visit(&mut vectors);
    let adamw = AdamWConfig::new().with_beta_1(BETA1 as f32).with_beta_2(BETA2 as f32).with_epsilon(ADAM_EPS as f32);
    let mut optimizer = adamw.clone().with_weight_decay(WEIGHT_DECAY as f32).init().with_group(
        ParamGroup::from_ids(vectors.0),
        adamw.with_weight_decay(0.0).build(),
        None,
    );

    let (tokens, targets) = p.batch();
    let signed = |ids: Vec<u32>| ids.into_iter().map(|id| id as i32).collect::<Vec<_>>();
    let inputs = Inputs {
        tokens: Tensor::from_data(TensorData::new(signed(tokens), [p.b, p.t]), &device),
        targets: Tensor::from_data(TensorData::new(signed(targets), [p.b * p.t]), &device),
        mask: Tensor::<2, Bool>::tril_mask([p.t, p.t], 0, &device).unsqueeze::<4>(),
        loss: CrossEntropyLossConfig::new().init(&device),
    };

    let peer = Peer {
        name: "burn",
        version: "0.22.1",
        backend: if args.backend.is_empty() { "wgpu".into() } else { args.backend.clone() },
        device: words,
        n_param: model.num_params(),
    };
    // moved from step to step, so that the optimizer can update it in place
    let mut slot = Some(model);
    args.measure(peer, || {
        let model = slot.take().ok_or("an earlier step failed")?;
        let loss = model.forward(&p, &inputs);
        let mut grads = GradientsParams::from_grads(loss.backward(), &model);
        clip(&model, &mut grads);
        slot = Some(optimizer.step(LEARNING_RATE, model, grads));
        let loss = loss.into_scalar::<f32>();
        // the loss is known before the update is done
        device.sync()?;
        Ok(loss)
    })
}
