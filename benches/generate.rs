//! Generating one more token per row, with and without the cache: `cargo bench --bench generate`. Throughput is tokens
//! per second.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use criterion::{Criterion, Throughput};
use tril::generate::{Decoder, SamplerConfig};
use tril::gpu::{Gpu, GpuOptions};
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::train::{AdamwConfig, Session, SessionConfig};

/// Tokens of one timed run, which ends at the position in the row's name.
const RUN: usize = 8;

fn main() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    println!("adapter: {}; throughput in elements is tokens per second", gpu.name());
    let mut c = Criterion::default().configure_from_args();
    let xs = ModelConfig { block_size: 128, vocab_size: 256, ..ModelConfig::preset("nano").unwrap() };
    let s = ModelConfig { dropout: 0.0, ..ModelConfig::preset("char").unwrap() };
    for (name, model, n_row) in [("xs", &xs, 1), ("xs", &xs, 8), ("s", &s, 1)] {
        bench(&mut c, &gpu, name, model, n_row);
    }
    c.final_summary();
}

fn bench(c: &mut Criterion, gpu: &std::sync::Arc<Gpu>, name: &str, model: &ModelConfig, n_row: usize) {
    let mut group = c.benchmark_group("generate");
    group.sample_size(10).throughput(Throughput::Elements(n_row as u64));
    let session = || {
        let (model, optimizer) = (model.clone(), AdamwConfig::default());
        let (keep, memory) = (ReadBack::default(), Memory::default());
        let config = SessionConfig {
            model,
            batch_size: 1,
            t: 16,
            micro_batches: 1,
            optimizer,
            seed: 1,
            keep,
            memory,
            document_mask: false,
        };
        Session::new(gpu, config).unwrap()
    };
    let block = model.block_size as usize;
    for position in [16, block / 2, block] {
        let prompt: Vec<u32> = (0..position as u32).map(|i| i * 31 % model.vocab_size as u32).collect();
        group.bench_function(format!("{name}_B{n_row}_at{position}"), |b| {
            let session = session();
            let mut decoder = Decoder::new(session.program(), model, n_row, SamplerConfig::default()).unwrap();
            let prompts = vec![&prompt[..position - RUN]; n_row];
            b.iter_custom(|iters| {
                let mut time = std::time::Duration::ZERO;
                for _ in 0..iters {
                    decoder.start(&prompts, 0).unwrap();
                    // the prompt's own token, and a warm-up of the chunk's length
                    let mut left = RUN - decoder.next(1).unwrap()[0].len();
                    let (start, n) = (Instant::now(), left);
                    while left > 0 {
                        left -= decoder.next(left).unwrap()[0].len();
                    }
                    time += start.elapsed() / n as u32;
                }
                time
            });
        });
        group.bench_function(format!("{name}_B{n_row}_at{position}_uncached"), |b| {
            let session = session();
            let mut generator = session.generator(n_row);
            let contexts = vec![prompt.as_slice(); n_row];
            generator.next_logits(session.program(), &contexts).unwrap();
            b.iter(|| generator.next_logits(session.program(), &contexts).unwrap());
        });
    }
    group.finish();
}
