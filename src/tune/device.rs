use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::freivalds::RowSums;
use super::{Lap, Measure};
use crate::exec::{ExecError, Program};
use crate::gpu::Gpu;
use crate::graph::{Graph, GraphBuilder, GraphError, Phase};
use crate::kernel::{Caps, Choice};
use crate::ops::{Product, Task};
use crate::plan::Plan;
use crate::tensor::{DType, Role, Shape, TensorId};

/// Measures on a device.
#[derive(Debug)]
pub struct OnDevice {
    gpu: Arc<Gpu>,
    spoiled: Option<String>,
}

/// Runs of each candidate, as long as they are worth their time.
const ROUNDS: usize = 12;
const MIN_ROUNDS: usize = 3;
/// After as long, the rounds of a task end.
const SPAN: Duration = Duration::from_millis(150);
/// A candidate that takes so many times the best one's time is out of the race.
const OUT: f64 = 2.0;
/// Bytes around each tensor that a kernel must leave alone.
const GUARD_BYTES: u64 = 1024;
/// A NaN with a payload: what reads it shows it.
const PATTERN: u32 = 0x7fc5_a5a5;

impl OnDevice {
    /// On this device.
    pub fn new(gpu: &Arc<Gpu>) -> Self {
        Self { gpu: gpu.clone(), spoiled: None }
    }

    /// Changes an element of what a candidate computes before it is checked, as a driver does that computes wrongly: for
    /// tests.
    #[must_use]
    pub fn spoil(self, candidate: &str) -> Self {
        Self { spoiled: Some(candidate.into()), ..self }
    }

    fn race_products(&self, product: &Product, candidates: &[String]) -> Result<Vec<Lap>, ExecError> {
        let data = Operands::new(product);
        let sums = RowSums::new(product, &data.a, &data.b, data.bias.as_deref());
        let (mut laps, mut running): (Vec<Lap>, Vec<(usize, Program)>) = (vec![], vec![]);
        for candidate in candidates {
            let (graph, tensors) = alone(product)?;
            let Some(plan) = pinned(graph, product, candidate, self.gpu.caps()) else { continue };
            let made = match running.first() {
                Some((_, first)) => Program::sharing(first, plan),
                None => Program::new(&self.gpu, plan),
            };
            let checked = made.and_then(|program| {
                let found = self.check(&program, &tensors, product, &data, &sums, candidate)?;
                Ok((program, found))
            });
            // an error of the device ends it all, one of the candidate only its own race
            self.gpu.check()?;
            let lap = |ms, failed| Lap { candidate: candidate.clone(), ms, compile_ms: 0.0, failed };
            match checked {
                Err(e) => laps.push(lap(None, Some(e.to_string()))),
                Ok((_, (_, Some(wrong)))) => laps.push(lap(None, Some(wrong))),
                Ok((program, (first_s, None))) => {
                    running.push((laps.len(), program));
                    laps.push(Lap { compile_ms: first_s * 1e3, ..lap(None, None) });
                }
            }
        }
        self.time(&mut running, &mut laps)?;
        self.gpu.forget_pipelines();
        Ok(laps)
    }

    /// Runs a candidate once: seconds that took, and what is wrong with the result.
    fn check(
        &self,
        program: &Program,
        tensors: &[TensorId],
        product: &Product,
        data: &Operands,
        sums: &RowSums,
        candidate: &str,
    ) -> Result<(f64, Option<String>), ExecError> {
        program.fill(PATTERN);
        let before: &[f32] = if product.adds() { &data.out } else { &[] };
        for (&tensor, values) in tensors.iter().zip([Some(&data.out), Some(&data.a), Some(&data.b), data.bias.as_ref()])
        {
            program.write(tensor, values.map_or(&[], |v| v))?;
        }
        self.gpu.wait()?;
        let started = Instant::now();
        program.run(Phase::MicroBatch)?;
        self.gpu.wait()?;
        let first_s = started.elapsed().as_secs_f64();
        let mut out = program.read(tensors[0])?;
        if self.spoiled.as_deref() == Some(candidate) {
            let [m, n, _] = product.mnk();
            out[product.out_at(m - 1, n - 1)] += 0.5;
        }
        for &tensor in tensors {
            if program.read_guards(tensor)?.iter().any(|&word| word != PATTERN) {
                return Ok((first_s, Some("it writes outside its output".into())));
            }
        }
        let wrong = sums.check(product, &out, before).err();
        Ok((first_s, wrong.map(|mismatch| format!("a row's sum: {mismatch}"))))
    }

    /// Rounds of one run each, so that what else the machine does, and its clock, is the same for all.
    fn time(&self, running: &mut Vec<(usize, Program)>, laps: &mut [Lap]) -> Result<(), ExecError> {
        let started = Instant::now();
        for (_, program) in &*running {
            program.start_timing()?;
        }
        for round in 0..ROUNDS {
            let mut took = vec![];
            for (_, program) in &*running {
                let began = Instant::now();
                program.run(Phase::MicroBatch)?;
                took.push(began.elapsed().as_secs_f64());
            }
            if round == 0 {
                let best = took.iter().copied().fold(f64::INFINITY, f64::min);
                let mut took = took.into_iter();
                let stays = |(lap, program): &(usize, Program)| {
                    let seconds = took.next().unwrap_or(0.0);
                    if seconds > best * OUT {
                        finish(&mut laps[*lap], program);
                    }
                    seconds <= best * OUT
                };
                running.retain(stays);
            }
            if round + 1 >= MIN_ROUNDS && (running.len() < 2 || started.elapsed() > SPAN) {
                break;
            }
        }
        for (lap, program) in running {
            finish(&mut laps[*lap], program);
        }
        Ok(())
    }
}

/// The shortest time is the kernel's own: whatever else happens only adds to it.
fn finish(lap: &mut Lap, program: &Program) {
    let ns = program.stop_timing().dispatches.iter().map(|d| d.ns).min();
    lap.ms = ns.map(|ns| ns.max(1) as f64 / 1e6);
    lap.compile_ms = (lap.compile_ms - lap.ms.unwrap_or(0.0)).max(0.0);
}

impl Measure for OnDevice {
    fn caps(&self) -> &Caps {
        self.gpu.caps()
    }

    fn usual(&self, task: &Task) -> String {
        let Task::Product(product) = task;
        let plan =
            alone(product).ok().and_then(|(graph, _)| Plan::new(graph, self.gpu.caps(), &Choice::default()).ok());
        plan.and_then(|plan| plan.steps.first().map(|step| step.dispatch.name())).unwrap_or_default()
    }

    fn race(&mut self, task: &Task, candidates: &[String]) -> Result<Vec<Lap>, ExecError> {
        match task {
            Task::Product(product) => self.race_products(product, candidates),
        }
    }
}

/// What a product is computed of, the same everywhere.
struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    out: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Operands {
    fn new(product: &Product) -> Self {
        let (a, b, out, bias) = product.sizes();
        let uniform = |seed, n: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..n).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect()
        };
        Self { a: uniform(1, a), b: uniform(2, b), out: uniform(3, out), bias: bias.map(|n| uniform(4, n)) }
    }
}

/// A graph of a product alone, and its tensors: out, a, b and, where there is one, the bias. They are state, so that the
/// programs of all candidates share them.
fn alone(product: &Product) -> Result<(Graph, Vec<TensorId>), GraphError> {
    let (a, b, out, bias) = product.sizes();
    let mut builder = GraphBuilder::new();
    let mut tensors = vec![];
    for (name, len) in [("out", Some(out)), ("a", Some(a)), ("b", Some(b)), ("bias", bias)] {
        if let Some(len) = len {
            tensors.push(builder.tensor(name, Shape::new(&[len]), DType::F32, Role::State)?);
        }
    }
    let into = [Some((tensors[0], product.adds()))];
    builder.node("tune", Box::new(*product), &tensors[1..], &into, Phase::MicroBatch)?;
    Ok((builder.finish(), tensors))
}

/// A plan that uses a candidate; `None` where the candidate doesn't take the product.
fn pinned(graph: Graph, product: &Product, candidate: &str, caps: &Caps) -> Option<Plan> {
    let choice = Choice::of_tuned([(Task::from(*product).to_string(), candidate.to_string())].into());
    let plan = Plan::with_guards(graph, caps, &choice, GUARD_BYTES).ok()?;
    plan.steps.iter().all(|step| step.dispatch.name() == candidate).then_some(plan)
}
