use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exec::{ExecError, Program};
use crate::gpu::Gpu;
use crate::graph::{Graph, GraphBuilder, GraphError, Phase};
use crate::kernel::Choice;
use crate::ops::{Cost, LowerCtx, Matmul, Op, Residual};
use crate::plan::Plan;
use crate::tensor::DType;

/// The rates that a device has shown, with the kernels that training uses.
///
/// They are measured with a few kernels, so a training step may reach more: whoever shows a share of a peak raises it first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Floating-point operations per second of the fastest matrix product.
    pub flops_per_s: f64,
    /// Bytes per second, read and written, of an addition of two large tensors.
    pub bytes_per_s: f64,
}

impl Peaks {
    /// Measures both: some tenths of a second, once the kernels are compiled.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn measure(gpu: &Arc<Gpu>, tuned: &Choice) -> Result<Self, ExecError> {
        // beyond the caches of a GPU; a software device is limited by its instructions, and its memory is the host's
        let n = if gpu.caps().is_cpu { 1 << 20 } else { 16 << 20 };
        let (cost, seconds) = fastest(gpu, Residual, &[n], &Choice::default())?;
        Ok(Self { flops_per_s: matmul_peak(gpu, tuned)?, bytes_per_s: cost.bytes as f64 / seconds })
    }

    /// What a model's operations per second are of the peak, at most 1: a model that does more raises the peak.
    pub fn mfu(&mut self, flops_per_s: f64) -> f64 {
        self.flops_per_s = self.flops_per_s.max(flops_per_s);
        flops_per_s / self.flops_per_s
    }
}

/// Floating-point operations per second of the fastest of a square product A B, A B^T and A^T B, as forward and backward
/// passes have them, by the usual kernel and by those that were tuned for such products. On a software device it is A B^T
/// alone: each kernel takes a second to compile and ten MiB to keep.
///
/// # Errors
///
/// A failure of the device.
pub fn matmul_peak(gpu: &Arc<Gpu>, tuned: &Choice) -> Result<f64, ExecError> {
    let n = match gpu.report().kind.as_str() {
        "software" => 512,
        "discrete" => 2048,
        _ => 1024,
    };
    let mut peak = 0f64;
    let kinds = [(false, true), (false, false), (true, false)];
    for &(trans_a, trans_b) in &kinds[..if gpu.caps().is_cpu { 1 } else { 3 }] {
        let product = Matmul { trans_a, trans_b };
        for choice in choices(gpu, product, n, tuned)? {
            let (cost, seconds) = fastest(gpu, product, &[n, n], &choice)?;
            peak = peak.max(cost.flops as f64 / seconds);
        }
    }
    Ok(peak)
}

/// The usual choice for a square product, and one for each kernel that was tuned for products of other sizes.
fn choices(gpu: &Gpu, product: Matmul, n: u64, tuned: &Choice) -> Result<Vec<Choice>, ExecError> {
    let (usual, noted) = (Choice::default(), RefCell::default());
    let graph = alone(product, &[n, n])?;
    let ctx = LowerCtx { caps: gpu.caps(), choice: &usual, noted: Some(&noted) };
    for node in &graph.nodes {
        node.op.lower(&graph.io(node), &ctx);
    }
    let keys: Vec<String> = noted.into_inner().iter().map(ToString::to_string).collect();
    // the sizes are the last word of a plain product's key
    let kind = |key: &str| key.rsplit_once(' ').map(|(kind, _)| kind.to_string());
    let mut choices = vec![usual];
    for key in &keys {
        let picks: BTreeSet<&String> =
            tuned.tuned().iter().filter(|(other, _)| kind(other) == kind(key)).map(|(_, pick)| pick).collect();
        choices.extend(picks.into_iter().map(|pick| Choice::of_tuned(BTreeMap::from([(key.clone(), pick.clone())]))));
    }
    Ok(choices)
}

/// How long each op is measured: long enough for a GPU to raise its clock.
const SPAN: Duration = Duration::from_millis(50);
/// The shortest sample, so that submitting doesn't count.
const SAMPLE: Duration = Duration::from_millis(5);
const MIN_SAMPLES: usize = 3;

/// An op of two inputs of the same shape by itself.
fn alone(op: impl Op + 'static, dims: &[u64]) -> Result<Graph, GraphError> {
    let mut builder = GraphBuilder::new();
    let inputs = [builder.input("a", dims, DType::F32)?, builder.input("b", dims, DType::F32)?];
    builder.apply1("out", op, &inputs)?;
    Ok(builder.finish())
}

/// The shortest time of such an op, seconds.
fn fastest(gpu: &Arc<Gpu>, op: impl Op + 'static, dims: &[u64], choice: &Choice) -> Result<(Cost, f64), ExecError> {
    let plan = Plan::new(alone(op, dims)?, gpu.caps(), choice)?;
    let cost = plan.cost.get(&Phase::MicroBatch).copied().unwrap_or_default();
    let program = Program::new(gpu, plan)?;
    // compiles
    program.run(Phase::MicroBatch)?;
    gpu.wait()?;
    let (started, mut n_sample, mut n_run, mut best) = (Instant::now(), 0, 1u32, f64::INFINITY);
    while n_sample < MIN_SAMPLES || started.elapsed() < SPAN {
        let sample = Instant::now();
        for _ in 0..n_run {
            program.run(Phase::MicroBatch)?;
        }
        gpu.wait()?;
        let took = sample.elapsed();
        n_sample += 1;
        if took < SAMPLE {
            // too short to count
            (n_run, n_sample) = (n_run * 4, n_sample - 1);
        } else {
            best = best.min(took.as_secs_f64() / f64::from(n_run));
        }
    }
    drop(program);
    // a model may use other kernels, and on a software device each takes megabytes
    gpu.forget_pipelines();
    Ok((cost, best))
}
