use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exec::{ExecError, Program};
use crate::gpu::Gpu;
use crate::graph::{GraphBuilder, Phase};
use crate::kernel::Choice;
use crate::ops::{Cost, Matmul, Op, Residual};
use crate::plan::Plan;
use crate::tensor::DType;

/// The rates that a device has shown, with the kernels that training uses.
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
    pub fn measure(gpu: &Arc<Gpu>) -> Result<Self, ExecError> {
        // beyond the caches of a GPU; a software device is limited by its instructions, and its memory is the host's
        let n = if gpu.caps().is_cpu { 1 << 20 } else { 16 << 20 };
        let (cost, seconds) = fastest(gpu, Residual, &[n], &[n])?;
        Ok(Self { flops_per_s: matmul_peak(gpu)?, bytes_per_s: cost.bytes as f64 / seconds })
    }
}

/// Floating-point operations per second of the fastest of a square product A B, A B^T and A^T B, as forward and backward
/// passes have them. On a software device it is A B^T, the fastest there, alone: each kernel takes a second to compile and
/// ten MiB to keep.
///
/// # Errors
///
/// A failure of the device.
pub fn matmul_peak(gpu: &Arc<Gpu>) -> Result<f64, ExecError> {
    let n = match gpu.report().kind.as_str() {
        "software" => 512,
        "discrete" => 2048,
        _ => 1024,
    };
    let mut peak = 0f64;
    let kinds = [(false, true), (false, false), (true, false)];
    for &(trans_a, trans_b) in &kinds[..if gpu.caps().is_cpu { 1 } else { 3 }] {
        let (cost, seconds) = fastest(gpu, Matmul { trans_a, trans_b }, &[n, n], &[n, n])?;
        peak = peak.max(cost.flops as f64 / seconds);
    }
    Ok(peak)
}

/// How long each op is measured: long enough for a GPU to raise its clock.
const SPAN: Duration = Duration::from_millis(50);
/// The shortest sample, so that submitting doesn't count.
const SAMPLE: Duration = Duration::from_millis(5);
const MIN_SAMPLES: usize = 3;

/// The shortest time of an op of two inputs, seconds.
fn fastest(gpu: &Arc<Gpu>, op: impl Op + 'static, a: &[u64], b: &[u64]) -> Result<(Cost, f64), ExecError> {
    let mut builder = GraphBuilder::new();
    let inputs = [builder.input("a", a, DType::F32)?, builder.input("b", b, DType::F32)?];
    builder.apply1("out", op, &inputs)?;
    let plan = Plan::new(builder.finish(), gpu.caps(), &Choice::default())?;
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
