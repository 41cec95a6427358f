use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::epilogue_check;
use super::freivalds::RowSums;
use super::{Measure, Measurement};
use crate::doctor::{Case, cases, verify};
use crate::exec::{ExecError, Program};
use crate::gpu::Gpu;
use crate::graph::{Graph, GraphBuilder, GraphError, Phase};
use crate::kernel::{Caps, Choice};
use crate::ops::{FlashProbe, Op, Probe, Task, document_spans};
use crate::plan::Plan;
use crate::tensor::{DType, Role, Shape, TensorId};

/// Measures candidates on a device.
#[derive(Debug)]
pub struct OnDevice {
    gpu: Arc<Gpu>,
    spoiled: Option<String>,
}

/// Maximum runs per candidate.
const ROUNDS: usize = 12;
const MIN_ROUNDS: usize = 4;
/// A task's rounds end after this time.
const SPAN: Duration = Duration::from_millis(100);
/// A candidate this many times slower than the best is dropped.
const OUT: f64 = 2.0;
/// Bytes around each tensor that a kernel must leave alone.
const GUARD_BYTES: u64 = 1024;
/// A NaN with a payload, which reveals a kernel that reads it.
const PATTERN: u32 = 0x7fc5_a5a5;

/// The seconds of a candidate's first run, and what is wrong with its result, if anything.
type First = (f64, Option<String>);

impl OnDevice {
    /// Measures on this device.
    pub fn new(gpu: &Arc<Gpu>) -> Self {
        Self { gpu: gpu.clone(), spoiled: None }
    }

    /// Makes a candidate compute wrongly, for tests: changes an element of its matrix product, in the second output if
    /// there is one, before the check.
    #[must_use]
    pub fn spoil(mut self, candidate: &str) -> Self {
        self.spoiled = Some(candidate.into());
        self
    }

    /// Checks the candidates one after another and then times those that passed.
    fn race_with(
        &self,
        task: &Task,
        candidates: &[String],
        mut check: impl FnMut(&Program, &[TensorId], &str) -> Result<First, ExecError>,
    ) -> Result<Vec<Measurement>, ExecError> {
        let (mut laps, mut running): (Vec<Measurement>, Vec<(usize, Program)>) = (vec![], vec![]);
        for candidate in candidates {
            let (graph, tensors) = alone(task)?;
            let Some(plan) = pinned(graph, task, candidate, self.gpu.caps()) else { continue };
            let made = match running.first() {
                Some((_, first)) => Program::sharing(first, plan),
                None => Program::new(&self.gpu, plan),
            };
            let checked = made.and_then(|program| {
                let first = check(&program, &tensors, candidate)?;
                Ok((program, first))
            });
            // a failure of the device ends tuning, one of the candidate only its own race
            self.gpu.check()?;
            let lap = |failed| Measurement { candidate: candidate.clone(), ms: None, compile_ms: 0.0, failed };
            match checked {
                Err(e) => laps.push(lap(Some(e.to_string()))),
                Ok((_, (_, Some(wrong)))) => laps.push(lap(Some(wrong))),
                Ok((program, (first_s, None))) => {
                    running.push((laps.len(), program));
                    laps.push(Measurement { compile_ms: first_s * 1e3, ..lap(None) });
                }
            }
        }
        time(&mut running, &mut laps)?;
        Ok(laps)
    }

    fn first_run(&self, program: &Program) -> Result<f64, ExecError> {
        self.gpu.wait()?;
        let started = Instant::now();
        program.run(Phase::MicroBatch)?;
        self.gpu.wait()?;
        Ok(started.elapsed().as_secs_f64())
    }

    fn race_products(
        &self,
        task: &Task,
        product: &Probe,
        candidates: &[String],
    ) -> Result<Vec<Measurement>, ExecError> {
        let (a, b, out, bias) = product.sizes();
        let (a, b, old, bias) = (uniform(1, a), uniform(2, b), uniform(3, out), bias.map(|n| uniform(4, n)));
        let (old_second, other) = product.besides();
        let (old_second, other) =
            (old_second.map(|n| uniform(5, n)), other.map(|n| epilogue_check::third_input(product, uniform(6, n))));
        let sums = RowSums::new(product, &a, &b, bias.as_deref());
        self.race_with(task, candidates, |program, tensors, candidate| {
            program.fill(PATTERN);
            let written = [&old].into_iter().chain(&old_second).chain([&a, &b]).chain(&bias).chain(&other);
            for (&tensor, values) in tensors.iter().zip(written) {
                program.write(tensor, values)?;
            }
            let first_s = self.first_run(program)?;
            let mut out = program.read(tensors[0])?;
            let mut second = if old_second.is_some() { program.read(tensors[1])? } else { vec![] };
            if self.spoiled.as_deref() == Some(candidate) {
                let [z, m, n, _] = product.sides();
                match second.get_mut(epilogue_check::last_of_second(product)) {
                    Some(element) => *element += 0.5,
                    None => out[product.out_at(z - 1, m - 1, n - 1)] += 0.5,
                }
            }
            for &tensor in tensors {
                if program.read_guards(tensor)?.iter().any(|&word| word != PATTERN) {
                    return Ok((first_s, Some("it writes outside its output".into())));
                }
            }
            let before: &[f32] = if product.adds() { &old } else { &[] };
            let alone = epilogue_check::undone(product, &out, before, other.as_deref().unwrap_or(&[]));
            let wrong = sums.check(product, &alone).err().map(|mismatch| format!("a row's sum: {mismatch}"));
            let beside = || {
                let before = old_second.as_deref().filter(|_| product.adds()).unwrap_or(&[]);
                let wrong = epilogue_check::check_second(product, &second, &out, &b, before).err()?;
                Some(format!("the second output: {wrong}"))
            };
            Ok((first_s, wrong.or_else(beside)))
        })
    }

    /// Checks attention as `tril doctor` does: on fewer heads of the same size, against the f64 reference.
    fn race_flash(
        &self,
        task: &Task,
        flash: &FlashProbe,
        candidates: &[String],
    ) -> Result<Vec<Measurement>, ExecError> {
        let key = task.to_string();
        self.race_with(task, candidates, |program, tensors, candidate| {
            for ((name, shape, dtype), &tensor) in flash.inputs().iter().zip(tensors) {
                match (dtype, *name) {
                    (_, "spans") => program.write_u32(tensor, &spans(shape.dims()[0], shape.dims()[1]))?,
                    (DType::U32, _) => program.write_u32(tensor, &[1, 2, 3, 4])?,
                    // about its value for scores near 0, so that probabilities are not negligible
                    (_, "lse") => program.write(tensor, &vec![5.0; uniform(0, shape.numel()).len()])?,
                    _ => program.write(tensor, &uniform(1, shape.numel()))?,
                }
            }
            let first_s = self.first_run(program)?;
            let (_, head_size) = flash.heads();
            let make =
                if flash.is_backward() { cases::attention::flash_backward } else { cases::attention::flash_forward };
            let tuned = Choice::of_tuned([(key.clone(), candidate.to_string())].into());
            let choice = tuned.for_task(task.family(), &key).unwrap_or_default();
            let case: Case = make(head_size, flash.p(), flash.documents()).choice(choice);
            Ok((first_s, verify(&self.gpu, &case).err().map(|failure| failure.to_string())))
        })
    }
}

/// Drops kernels that no model uses: on a software device each takes ten MiB.
impl Drop for OnDevice {
    fn drop(&mut self) {
        self.gpu.forget_pipelines();
    }
}

/// Times candidates in rounds of one run each, so that other load and the clock rate are the same for all.
fn time(running: &mut Vec<(usize, Program)>, laps: &mut [Measurement]) -> Result<(), ExecError> {
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
            running.retain(|(lap, program)| {
                let stays = took.next().is_some_and(|seconds| seconds <= best * OUT);
                if !stays {
                    finish(&mut laps[*lap], program);
                }
                stays
            });
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

/// Records the shortest time as the kernel's own: other load only adds to it.
fn finish(lap: &mut Measurement, program: &Program) {
    let (timings, steps) = (program.stop_timing(), &program.plan().steps);
    let own = timings.dispatches.iter().filter(|d| steps[d.step].dispatch.name() == lap.candidate);
    lap.ms = own.map(|d| d.ns).min().map(|ns| ns.max(1) as f64 / 1e6);
    lap.compile_ms = (lap.compile_ms - lap.ms.unwrap_or(0.0)).max(0.0);
}

impl Measure for OnDevice {
    fn caps(&self) -> &Caps {
        self.gpu.caps()
    }

    fn usual(&self, task: &Task) -> String {
        let plan = alone(task).ok().and_then(|(graph, _)| Plan::new(graph, self.gpu.caps(), &Choice::default()).ok());
        plan.and_then(|plan| used(&plan, task)).unwrap_or_default()
    }

    fn race(&mut self, task: &Task, candidates: &[String]) -> Result<Vec<Measurement>, ExecError> {
        match task {
            Task::Matmul(product) => self.race_products(task, product, candidates),
            Task::Flash(flash) => self.race_flash(task, flash, candidates),
        }
    }
}

/// Rows of four documents each.
fn spans(b: u64, t: u64) -> Vec<u32> {
    let length = t.div_ceil(4);
    let firsts: Vec<u32> = (0..b * t).map(|i| (i % t / length * length) as u32).collect();
    document_spans(&firsts, t as usize)
}

/// Uniform values in [-1, 1); the same seed gives the same values everywhere.
fn uniform(seed: u64, n: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect()
}

/// A graph of one task, and its tensors to write, which are state so that the programs of all candidates share them.
fn alone(task: &Task) -> Result<(Graph, Vec<TensorId>), GraphError> {
    let mut builder = GraphBuilder::new();
    let mut state = |name: &str, shape, dtype| builder.tensor(name, shape, dtype, Role::State);
    let (op, tensors, into): (Box<dyn Op>, Vec<TensorId>, _) = match task {
        Task::Matmul(product) => {
            let (a, b, out, bias) = product.sizes();
            let (second, other) = product.besides();
            let flat = [
                ("out", Some(out)),
                ("second", second),
                ("a", Some(a)),
                ("b", Some(b)),
                ("bias", bias),
                ("other", other),
            ];
            let there = flat.iter().filter_map(|&(name, len)| Some((name, Shape::new(&[len?]))));
            let tensors = there.map(|(name, shape)| state(name, shape, DType::F32)).collect::<Result<Vec<_>, _>>()?;
            let n_out = 1 + usize::from(second.is_some());
            let into = tensors[..n_out].iter().map(|&out| Some((out, product.adds()))).collect();
            (Box::new(*product), tensors, into)
        }
        Task::Flash(flash) => {
            let inputs = flash.inputs().into_iter().map(|(name, shape, dtype)| state(name, shape, dtype));
            (flash.op(), inputs.collect::<Result<_, _>>()?, vec![])
        }
    };
    let inputs = &tensors[into.len()..];
    builder.node("tune", op.into(), inputs, &into, Phase::MicroBatch)?;
    Ok((builder.finish(), tensors))
}

/// The kernel and variant that a plan uses for a task; `None` if its dispatches differ.
fn used(plan: &Plan, task: &Task) -> Option<String> {
    let is_one = |kernel: &str| task.kernels().iter().any(|k| k.name == kernel);
    let mut names = plan.steps.iter().filter(|s| is_one(s.dispatch.kernel.name)).map(|s| s.dispatch.name());
    let first = names.next()?;
    names.all(|name| name == first).then_some(first)
}

/// A plan that uses a candidate; `None` if the candidate doesn't support the task.
fn pinned(graph: Graph, task: &Task, candidate: &str, caps: &Caps) -> Option<Plan> {
    let choice = Choice::of_tuned([(task.to_string(), candidate.to_string())].into());
    let plan = Plan::with_guards(graph, caps, &choice, GUARD_BYTES).ok()?;
    (used(&plan, task)? == candidate).then_some(plan)
}
