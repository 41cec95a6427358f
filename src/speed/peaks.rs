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

/// The peak rates measured on a device, with the kernels that training uses.
///
/// They are measured with a few kernels, so a training step may exceed them: raise a peak before showing a fraction of
/// it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Floating-point operations per second of the fastest matrix product.
    pub flops_per_s: f64,
    /// Bytes read and written per second in an addition of two large tensors.
    pub bytes_per_s: f64,
}

impl Peaks {
    /// Measures both: a few tenths of a second once the kernels are compiled.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn measure(gpu: &Arc<Gpu>, tuned: &Choice) -> Result<Self, ExecError> {
        // beyond a GPU's caches; a software device is limited by its instructions, and its memory is the host's
        let n = if gpu.caps().is_cpu { 1 << 20 } else { 16 << 20 };
        let (cost, seconds) = fastest(gpu, Residual, &[n], &Choice::default())?;
        Ok(Self { flops_per_s: matmul_peak(gpu, tuned)?, bytes_per_s: cost.bytes as f64 / seconds })
    }

    /// A model's operations per second as a fraction of the peak, at most 1: a higher rate raises the peak.
    pub fn mfu(&mut self, flops_per_s: f64) -> f64 {
        self.flops_per_s = self.flops_per_s.max(flops_per_s);
        flops_per_s / self.flops_per_s
    }
}

/// Floating-point operations per second of the fastest of the square products A B, A B^T and A^T B, as in forward and
/// backward passes, by the usual kernel and by those tuned for such products. On a software device only A B^T is
/// measured: each kernel takes a second to compile and ten MiB to keep.
///
/// # Errors
///
/// The device failed.
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

/// The usual choice for a square product, and one for each kernel tuned for products of other sizes.
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

/// How long to measure each op: long enough for a GPU to raise its clock.
const SPAN: Duration = Duration::from_millis(50);
/// The minimum duration of a sample, so that submission time is negligible.
const SAMPLE: Duration = Duration::from_millis(5);
const MIN_SAMPLES: usize = 3;

/// A graph of one op with two inputs of the same shape.
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
    // compiles the kernel
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
            // too short to be accurate
            (n_run, n_sample) = (n_run * 4, n_sample - 1);
        } else {
            best = best.min(took.as_secs_f64() / f64::from(n_run));
        }
    }
    drop(program);
    // the model may use other kernels, and on a software device each takes megabytes
    gpu.forget_pipelines();
    Ok((cost, best))
}
