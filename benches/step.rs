//! Whole training steps: forward, backward, clipping and AdamW. Throughput in elements is tokens per second.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use criterion::{Criterion, Throughput};
use tril::data::Batch;
use tril::gpu::{Gpu, GpuOptions};
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::train::{AdamwConfig, Session, SessionConfig};

fn main() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    println!("adapter: {}; throughput in elements is tokens per second", gpu.name());
    let mut c = Criterion::default().configure_from_args();
    let nano = ModelConfig::preset("nano").unwrap();
    let xs = ModelConfig { block_size: 128, vocab_size: 256, ..nano.clone() };
    let s = ModelConfig { dropout: 0.0, ..ModelConfig::preset("char").unwrap() };
    bench(&mut c, &gpu, "nano_B12", nano, 12);
    bench(&mut c, &gpu, "xs_B8", xs, 8);
    bench(&mut c, &gpu, "s_B12", s, 12);
    c.final_summary();
}

fn bench(c: &mut Criterion, gpu: &std::sync::Arc<Gpu>, name: &str, model: ModelConfig, b: u64) {
    let (t, vocab_size) = (model.block_size, model.vocab_size);
    let ids = |salt: u64| (0..b * t).map(move |i| u32::try_from((i * 31 + i / 7 + salt) % vocab_size).unwrap());
    let (rows, positions) = (usize::try_from(b).unwrap(), usize::try_from(t).unwrap());
    let batch = Batch { tokens: ids(0).collect(), targets: ids(1).collect(), firsts: vec![], b: rows, t: positions };
    // a session compiles and allocates, so it is made only for rows that pass the filter
    let mut session = None;
    let mut group = c.benchmark_group("step");
    group.sample_size(10).throughput(Throughput::Elements(b * t));
    group.bench_function(name, |bencher| {
        let session = session.get_or_insert_with(|| {
            let optimizer = AdamwConfig::default();
            let config = SessionConfig {
                model: model.clone(),
                batch_size: b,
                t,
                micro_batches: 1,
                optimizer,
                seed: 1,
                keep: ReadBack::default(),
                memory: Memory::default(),
                document_mask: false,
            };
            Session::new(gpu, config).unwrap()
        });
        bencher.iter_custom(|iters| {
            let start = Instant::now();
            for _ in 0..iters {
                session.train_step(std::slice::from_ref(&batch), 1e-3).unwrap();
            }
            while session.wait().unwrap().is_some() {}
            start.elapsed()
        });
    });
    group.finish();
}
