//! One criterion module per stem: `cargo bench --bench ops [-- FILTER]`. Throughput comes from `Op::cost`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "ops/adamw.rs"]
mod adamw;
#[path = "ops/attention.rs"]
mod attention;
#[path = "ops/column_sum.rs"]
mod column_sum;
#[path = "ops/cross_entropy.rs"]
mod cross_entropy;
#[path = "ops/dropout.rs"]
mod dropout;
#[path = "ops/embedding.rs"]
mod embedding;
#[path = "ops/gelu.rs"]
mod gelu;
#[path = "ops/global_norm.rs"]
mod global_norm;
#[path = "ops/layernorm.rs"]
mod layernorm;
#[path = "ops/matmul.rs"]
mod matmul;
#[path = "ops/residual.rs"]
mod residual;
#[path = "ops/sample.rs"]
mod sample;

use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use tril::exec::Program;
use tril::gpu::{Gpu, GpuOptions};
use tril::graph::{GraphBuilder, Phase};
use tril::kernel::Choice;
use tril::ops::Op;
use tril::plan::Plan;
use tril::tensor::{DType, Role, Shape};

/// The unit of a row's throughput.
#[derive(Clone, Copy)]
enum Per {
    /// Floating-point operations.
    Flops,
    /// Bytes moved.
    Bytes,
}

/// Times one op: one submission of `iters` runs, one wait. Planning and compiling are outside the timed region.
fn bench(c: &mut Criterion, gpu: &Arc<Gpu>, name: &str, op: impl Op + 'static, inputs: &[(Shape, DType)], per: Per) {
    bench_shared(c, gpu, name, Arc::new(op), inputs, per);
}

fn bench_shared(c: &mut Criterion, gpu: &Arc<Gpu>, name: &str, op: Arc<dyn Op>, inputs: &[(Shape, DType)], per: Per) {
    let mut builder = GraphBuilder::new();
    let ids: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(i, (shape, dtype))| builder.tensor(&format!("in{i}"), *shape, *dtype, Role::Input).unwrap())
        .collect();
    let is_in_place = op.in_place();
    let mut into = vec![];
    if is_in_place {
        let specs: Vec<_> = ids.iter().map(|&t| builder.spec(t).clone()).collect();
        for out in op.outputs(&specs.iter().collect::<Vec<_>>()).unwrap().iter().filter(|o| !o.scratch) {
            into.push(Some((builder.tensor(out.name, out.shape, out.dtype, Role::State).unwrap(), false)));
        }
    }
    builder.node("bench", op, &ids, &into, Phase::MicroBatch).unwrap();
    let plan = Plan::new(builder.finish(), gpu.caps(), &Choice::default()).unwrap();
    let cost = plan.cost[&Phase::MicroBatch];
    let program = Program::new(gpu, plan).unwrap();
    if is_in_place {
        // all ones: a step with finite gradients
        for (&id, (shape, _)) in ids.iter().zip(inputs) {
            program.write(id, &vec![1.0; shape.numel() as usize]).unwrap();
        }
    }
    program.run(Phase::MicroBatch).unwrap();
    gpu.wait().unwrap();
    let (group, row) = name.split_once('/').unwrap();
    let mut group = c.benchmark_group(group);
    group.sample_size(10).throughput(match per {
        Per::Flops => Throughput::Elements(cost.flops),
        Per::Bytes => Throughput::Bytes(cost.bytes),
    });
    group.bench_function(row, |b| {
        b.iter_custom(|iters| {
            let start = Instant::now();
            for _ in 0..iters {
                program.run(Phase::MicroBatch).unwrap();
            }
            gpu.wait().unwrap();
            start.elapsed()
        });
    });
    group.finish();
}

fn main() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    println!("adapter: {}; throughput in elements is FLOP/s", gpu.name());
    let mut c = Criterion::default().configure_from_args();
    adamw::bench(&mut c, &gpu);
    attention::bench(&mut c, &gpu);
    column_sum::bench(&mut c, &gpu);
    cross_entropy::bench(&mut c, &gpu);
    dropout::bench(&mut c, &gpu);
    embedding::bench(&mut c, &gpu);
    gelu::bench(&mut c, &gpu);
    global_norm::bench(&mut c, &gpu);
    layernorm::bench(&mut c, &gpu);
    matmul::bench(&mut c, &gpu);
    residual::bench(&mut c, &gpu);
    sample::bench(&mut c, &gpu);
    c.final_summary();
}
