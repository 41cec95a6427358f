//! Training through the library: choose a device, build a model, set weights by GPT-2 name, take steps on batches of your
//! own, look inside, generate.
//!
//! `cargo run --release --example train_step`

use std::error::Error;

use tril::data::Batch;
use tril::generate::{Sampler, SamplerConfig};
use tril::gpu::{Gpu, GpuOptions};
use tril::model::{Memory, ModelConfig, Positions, ReadBack};
use tril::reference::IGNORE;
use tril::train::{AdamwConfig, Session, SessionConfig};

/// The whole example; a test runs it, too.
pub fn main() -> Result<(), Box<dyn Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    println!("device: {}", gpu.name());

    let model = ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 32,
        block_size: 8,
        vocab_size: 10,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout: 0.0,
    };
    let optimizer = AdamwConfig::default();
    let keep = ReadBack { logits: true, attention: true };
    let mut session = Session::new(
        &gpu,
        SessionConfig {
            model,
            batch_size: 2,
            t: 8,
            micro_batches: 1,
            optimizer,
            seed: 1,
            keep,
            memory: Memory::default(),
            document_mask: false,
        },
    )?;
    session.set_weight("ln_f.bias", &[0.0; 32])?;

    // counting up and counting down, modulo 10; the very first target is ignored, as padding would be
    let up: Vec<u32> = (0..9).collect();
    let down: Vec<u32> = (0..9).map(|i| 9 - i).collect();
    let mut batch = Batch {
        tokens: [&up[..8], &down[..8]].concat(),
        targets: [&up[1..], &down[1..]].concat(),
        firsts: vec![],
        b: 2,
        t: 8,
    };
    batch.targets[0] = IGNORE;

    for _ in 0..60 {
        session.train_step(std::slice::from_ref(&batch), 1e-2)?;
    }
    let mut last = None;
    while let Some(result) = session.wait()? {
        last = Some(result);
    }
    let last = last.ok_or("no step has arrived")?;
    println!("step {}: loss {:.4}, gradient norm {:.4}", last.step, last.loss, last.grad_norm);

    println!("logits            {:?}", &session.logits()?[..3]);
    println!("d wte.weight      {:?}", &session.gradient("wte.weight")?[..3]);
    println!("wte.weight        {:?}", &session.weight("wte.weight")?[..3]);
    println!("its first moment  {:?}", &session.optimizer_state("wte.weight", "moment1")?[..3]);
    println!("attention of 0->0 {:?}", session.attention_map(0)?[0]);

    let mut generator = session.generator(1);
    let mut sampler = Sampler::new(SamplerConfig { temperature: 0.0, ..SamplerConfig::default() }, 0);
    let mut tokens = vec![9, 8];
    while tokens.len() < 8 {
        let logits = generator.next_logits(session.program(), &[&tokens])?;
        tokens.push(sampler.sample(&logits[0]));
    }
    println!("9, 8 goes on as   {tokens:?}");
    if tokens != [9, 8, 7, 6, 5, 4, 3, 2] {
        return Err("the model has not learned to count down".into());
    }
    Ok(())
}
