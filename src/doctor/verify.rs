use std::sync::Arc;

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::exec::{ExecError, Program};
use crate::gpu::Gpu;
use crate::graph::{GraphBuilder, GraphError, Phase};
use crate::kernel::Choice;
use crate::ops::Op;
use crate::plan::Plan;
use crate::reference::compare::{Mismatch, Tolerance, canary, compare};
use crate::tensor::{DType, Role, Shape, TensorId};

/// The values of a test tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Real numbers.
    F32(Vec<f32>),
    /// Ids, positions, random words.
    U32(Vec<u32>),
}

impl Data {
    /// Uniform values in [-scale, scale); the same seed gives the same values everywhere.
    pub fn uniform(seed: u64, n: u64, scale: f32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self::F32((0..n).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * scale).collect())
    }

    /// The same value throughout.
    pub fn all(n: u64, value: f32) -> Self {
        Self::F32((0..n).map(|_| value).collect())
    }

    /// Uniform ids less than `below`.
    pub fn ids(seed: u64, n: u64, below: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self::U32((0..n).map(|_| rng.random_range(0..below)).collect())
    }

    fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::U32(_) => DType::U32,
        }
    }

    pub(super) fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Self::U32(v) => v.iter().map(|&x| x.into()).collect(),
        }
    }
}

/// A test case: one op on given inputs.
#[derive(Debug)]
pub struct Case {
    /// Its name, which tells what is special about it.
    pub name: String,
    /// The op.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<(Shape, Data)>,
    /// For an op that works in place: the old values of its outputs.
    pub state: Vec<(Shape, Data)>,
    /// The bound on the error of each real output, by its error model.
    pub tolerance: Vec<Tolerance>,
    /// A smaller maximum binding size than the device's, bytes: makes ops split their work.
    pub max_binding_bytes: Option<u64>,
    /// A lower maximum of work per dispatch than the device's: makes ops split their work too.
    pub max_dispatch_work: Option<u64>,
    /// Kernels or variants other than the device's usual ones.
    pub choice: Choice,
}

impl Case {
    /// Makes a case of an op with new outputs, all with the same tolerance.
    pub fn new(
        name: impl Into<String>,
        op: impl Op + 'static,
        inputs: Vec<(Shape, Data)>,
        tolerance: Tolerance,
    ) -> Self {
        let tolerance = vec![tolerance; Shape::MAX_RANK * 2];
        Self {
            name: name.into(),
            op: Arc::new(op),
            inputs,
            state: vec![],
            tolerance,
            max_binding_bytes: None,
            max_dispatch_work: None,
            choice: Choice::default(),
        }
    }

    /// Sets a tolerance for each real output.
    #[must_use]
    pub fn tolerances(self, tolerance: &[Tolerance]) -> Self {
        Self { tolerance: tolerance.to_vec(), ..self }
    }

    /// Sets a smaller maximum binding size.
    #[must_use]
    pub fn max_binding(self, bytes: u64) -> Self {
        Self { max_binding_bytes: Some(bytes), ..self }
    }

    /// Sets a lower maximum of work per dispatch.
    #[must_use]
    pub fn max_work(self, work: u64) -> Self {
        Self { max_dispatch_work: Some(work), ..self }
    }

    /// Pins kernels or variants.
    #[must_use]
    pub fn choice(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    /// Sets the old values of the outputs.
    #[must_use]
    pub fn state(self, state: Vec<(Shape, Data)>) -> Self {
        Self { state, ..self }
    }
}

/// The results of a passing case.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Largest error of any output, as a fraction of that output's largest value.
    pub max_error: f64,
    /// Largest error as a fraction of the allowed error.
    pub worst: f64,
    /// Dispatches per run.
    pub n_dispatch: usize,
}

/// Why a case failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The op can't be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The op rejects its inputs.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The plan is invalid.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    /// A value is wrong.
    #[error("{output}{added}: {mismatch}")]
    Wrong {
        /// The output.
        output: String,
        /// ` (added)` if the output was added to.
        added: &'static str,
        /// Where and by how much.
        mismatch: Mismatch,
    },
    /// The kernel wrote outside an output.
    #[error("{0}: memory outside the tensor was overwritten")]
    Guard(String),
    /// The comparison accepts a wrong result.
    #[error("{0}: the check did not notice a changed element, so it proves nothing: {1}")]
    Canary(String, String),
    /// Two runs differ.
    #[error("{0}: a second run gave different bits")]
    Nondeterministic(String),
}

/// Bytes of room around each tensor.
const GUARD_BYTES: u64 = 1024;
/// A NaN with a payload, which reveals a kernel that reads uninitialised memory.
const PATTERN: u32 = 0x7fc5_a5a5;

/// Runs a case: storing and, if the op supports it, adding to existing values. Checks that values agree with the
/// reference, guard bands are untouched, a second run gives the same bits, and a changed element is noticed.
///
/// # Errors
///
/// [`Failure`] with the first fault found.
pub fn verify(gpu: &Arc<Gpu>, case: &Case) -> Result<Report, Failure> {
    let mut report = run(gpu, case, false)?;
    if case.op.accumulates(0) {
        let added = run(gpu, case, true)?;
        report.max_error = report.max_error.max(added.max_error);
        report.worst = report.worst.max(added.worst);
    }
    Ok(report)
}

fn run(gpu: &Arc<Gpu>, case: &Case, add: bool) -> Result<Report, Failure> {
    let mut builder = GraphBuilder::new();
    let mut inputs = vec![];
    for (i, (shape, data)) in case.inputs.iter().enumerate() {
        inputs.push(builder.tensor(&format!("in{i}"), *shape, data.dtype(), Role::Input)?);
    }
    let specs: Vec<_> = inputs.iter().map(|&t| builder.spec(t).clone()).collect();
    let outs = case.op.outputs(&specs.iter().collect::<Vec<_>>()).map_err(GraphError::from)?;
    let mut into = vec![];
    let mut old: Vec<(TensorId, Data)> = vec![];
    for (i, out) in outs.iter().enumerate().filter(|(_, o)| !o.scratch) {
        let tensor = builder.tensor(&format!("out {}", out.name), out.shape, out.dtype, Role::State)?;
        if case.op.in_place() {
            old.push((tensor, case.state[i].1.clone()));
        } else if add && case.op.accumulates(i) {
            old.push((tensor, Data::uniform(99 + i as u64, out.shape.numel(), 1.0)));
        }
        into.push(Some((tensor, add && case.op.accumulates(i))));
    }
    builder.node("case", case.op.clone(), &inputs, &into, Phase::MicroBatch)?;
    let mut caps = gpu.caps().clone();
    caps.max_binding_bytes = caps.max_binding_bytes.min(case.max_binding_bytes.unwrap_or(u64::MAX));
    caps.max_dispatch_work = caps.max_dispatch_work.min(case.max_dispatch_work.unwrap_or(u64::MAX));
    let plan = Plan::with_guards(builder.finish(), &caps, &case.choice, GUARD_BYTES)?;
    let n_dispatch = plan.steps.len();
    let program = Program::new(gpu, plan)?;
    let write = |tensor: TensorId, data: &Data| match data {
        Data::F32(v) => program.write(tensor, v),
        Data::U32(v) => program.write_u32(tensor, v),
    };
    let outputs: Vec<TensorId> = into.iter().flatten().map(|(t, _)| *t).collect();
    let execute = || -> Result<Vec<Vec<f32>>, ExecError> {
        program.fill(PATTERN);
        for (&tensor, (_, data)) in inputs.iter().zip(&case.inputs) {
            write(tensor, data)?;
        }
        for (tensor, data) in &old {
            write(*tensor, data)?;
        }
        program.run(Phase::MicroBatch)?;
        let read = |tensor: TensorId| match program.plan().spec(tensor).dtype {
            DType::F32 => program.read(tensor),
            DType::U32 => Ok(program.read_u32(tensor)?.into_iter().map(|word| word as f32).collect()),
        };
        outputs.iter().map(|&t| read(t)).collect()
    };
    let got = execute()?;
    for &tensor in outputs.iter().chain(&inputs) {
        if program.read_guards(tensor)?.iter().any(|&w| w != PATTERN) {
            return Err(Failure::Guard(program.plan().spec(tensor).name.clone()));
        }
    }
    let again = execute()?;

    let state = case.state.iter();
    let all: Vec<(Shape, Vec<f64>)> = case.inputs.iter().chain(state).map(|(s, d)| (*s, d.to_f64())).collect();
    let values: Vec<&[f64]> = all.iter().map(|(_, v)| v.as_slice()).collect();
    let shapes: Vec<Shape> = all.iter().map(|(s, _)| *s).collect();
    let mut want = case.op.reference(&values, &shapes);
    for (_, want) in outs.iter().zip(&mut want).filter(|(out, _)| out.dtype == DType::U32) {
        // words come back as f32, so expected values are converted the same way
        want.iter_mut().for_each(|w| *w = f64::from(*w as f32));
    }
    let mut report = Report { max_error: 0.0, worst: 0.0, n_dispatch };
    for (i, (got, want)) in got.iter().zip(&mut want).enumerate() {
        let name = || outs[i].name.to_string();
        let tolerance = case.tolerance[i];
        if add && case.op.accumulates(i) {
            let start = old.iter().find(|(t, _)| *t == outputs[i]).map(|(_, d)| d.to_f64()).unwrap_or_default();
            want.iter_mut().zip(start).for_each(|(w, s)| *w += s);
        }
        // an addition rounds once more, at the magnitude of the sum of two numbers up to 1
        let slack = if add { 2.4e-7 } else { 0.0 };
        let tolerance = Tolerance { abs: tolerance.abs + slack, rel: tolerance.rel + slack };
        let added = if add { " (added)" } else { "" };
        let stats =
            compare(got, want, tolerance).map_err(|mismatch| Failure::Wrong { output: name(), added, mismatch })?;
        canary(got, want, tolerance).map_err(|e| Failure::Canary(name(), e.to_string()))?;
        let same = got.iter().zip(&again[i]).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            return Err(Failure::Nondeterministic(name()));
        }
        report.max_error = report.max_error.max(share(stats.max_abs, want));
        report.worst = report.worst.max(stats.max_used);
    }
    Ok(report)
}

/// An absolute error as a fraction of the largest expected value, or of 1 if all are 0.
pub(super) fn share(max_abs: f64, want: &[f64]) -> f64 {
    let largest = want.iter().fold(0.0f64, |most, w| most.max(w.abs()));
    if largest > 0.0 { max_abs / largest } else { max_abs }
}
