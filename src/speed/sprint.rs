use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exec::{ExecError, Program};
use crate::gpu::Gpu;
use crate::graph::{GraphBuilder, Phase};
use crate::kernel::Choice;
use crate::ops::{Gelu, Matmul, Residual};
use crate::plan::Plan;
use crate::tensor::DType;

/// A small workload with the proportions of a training step, four fifths products and one fifth data movement, for
/// comparing two ways to open a software device.
#[derive(Debug)]
pub struct Sprint {
    program: Program,
}

/// Rows, channels, and channels of the hidden layer.
const SIDES: [u64; 3] = [1024, 128, 512];

impl Sprint {
    /// Compiles the kernels and runs them once.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Self, ExecError> {
        let [rows, narrow, wide] = SIDES;
        let product = |trans_a, trans_b| Matmul { trans_a, trans_b };
        let mut builder = GraphBuilder::new();
        let inp = builder.input("inp", &[rows, narrow], DType::F32)?;
        let weight = builder.input("weight", &[wide, narrow], DType::F32)?;
        let up = builder.apply1("up", product(false, true), &[inp, weight])?;
        let gelu = builder.apply1("gelu", Gelu, &[up])?;
        let sum = builder.apply1("sum", Residual, &[up, gelu])?;
        builder.apply1("down", product(false, false), &[sum, weight])?;
        builder.apply1("dweight", product(true, false), &[sum, inp])?;
        let program = Program::new(gpu, Plan::new(builder.finish(), gpu.caps(), &Choice::default())?)?;
        let sprint = Self { program };
        sprint.run()?;
        Ok(sprint)
    }

    /// Runs it once. Returns the CPU time of all threads together, which other load on the machine disturbs less than
    /// wall time, or wall time if the system doesn't count CPU time.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn run(&self) -> Result<Duration, ExecError> {
        let (spent, started) = (cpu_time::ProcessTime::try_now(), Instant::now());
        self.program.run(Phase::MicroBatch)?;
        self.program.gpu().wait()?;
        Ok(spent.and_then(|spent| spent.try_elapsed()).unwrap_or_else(|_| started.elapsed()))
    }
}
