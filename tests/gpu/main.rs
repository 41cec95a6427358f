//! Tests on any adapter; a software Vulkan device counts. Without one they fail and say how to get one.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod best_model;
mod claim;
mod cli;
mod crash_recovery;
mod documents;
mod edited_runs;
mod error_messages;
mod exec;
mod export;
mod findings;
mod flags;
mod generate;
mod import;
mod job;
mod leave;
mod lost;
mod memory;
mod micro_batches;
mod model;
mod ops;
mod optimizer;
mod replay;
mod resume;
mod retention;
mod signals;
mod spikes;
mod stdout_errors;
mod token_files;
mod tune;
mod vectors;

#[path = "../../examples/train_step.rs"]
mod train_step;
#[path = "../../examples/train_text.rs"]
mod train_text;

use std::sync::{Arc, OnceLock};

use tril::gpu::{Gpu, GpuOptions};

/// The one device that all tests share, with bounds checks in the shaders where `TRIL_CHECKED` is set.
fn gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| {
        let checked = std::env::var_os("TRIL_CHECKED").is_some();
        let gpu = Gpu::open(&GpuOptions { checked, ..GpuOptions::default() }).unwrap_or_else(|e| panic!("{e}"));
        eprintln!("adapter: {}", gpu.name());
        gpu
    })
    .clone()
}

#[test]
fn the_example_of_the_library_runs() {
    train_step::main().unwrap();
}
