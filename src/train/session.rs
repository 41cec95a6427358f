use std::collections::VecDeque;
use std::sync::Arc;

use super::Evaluator;
use super::StepResult;
use super::session_config::SessionConfig;
use super::write_batch::{check_documents, check_ids, write_batch};
use crate::data::Batch;
use crate::exec::{ExecError, Program, Readback};
use crate::generate::Generator;
use crate::gpu::Gpu;
use crate::graph::{Optimizer, Phase, Training};
use crate::kernel::Choice;
use crate::model::{ConfigError, Gpt, GptInputs, Purpose, init_values};
use crate::plan::Plan;
use crate::tensor::{Role, TensorId};

/// What went wrong in a session.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// The model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device or the plan.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A batch of another shape.
    #[error("the batch is {got:?} (rows, positions), and the session was made for {expected:?}; make another session")]
    BatchShape {
        /// What the session takes.
        expected: (u64, u64),
        /// What it was given.
        got: (usize, usize),
    },
    /// A step without a single micro-batch.
    #[error("a step needs at least one micro-batch")]
    NoBatch,
    /// A step with more micro-batches than the session was made for.
    #[error(
        "a step has {got} micro-batches, and the session was made for at most {most}; see SessionConfig::micro_batches"
    )]
    MicroBatches {
        /// [`SessionConfig::micro_batches`].
        most: u64,
        /// What the step has.
        got: usize,
    },
    /// A token outside the vocabulary.
    #[error("{what} {id} at index {index} is outside the vocabulary of {vocab_size}")]
    Token {
        /// `token` or `target`.
        what: &'static str,
        /// The id.
        id: u32,
        /// Where.
        index: usize,
        /// Size of the vocabulary.
        vocab_size: u64,
    },
    /// Documents for a model whose attention doesn't know of them.
    #[error("the batch has documents, and the session was made without document_mask; set it, or leave firsts empty")]
    NoMask,
    /// Documents that don't lie one behind the other.
    #[error("first {first} at index {index} is neither that position itself nor what the position before it has")]
    First {
        /// The first position of the document, as it was given.
        first: u32,
        /// Where.
        index: usize,
    },
    /// No such parameter.
    #[error("there is no parameter called {0}; `Session::param_names` lists them")]
    NoParam(String),
}

impl From<crate::plan::PlanError> for SessionError {
    fn from(error: crate::plan::PlanError) -> Self {
        Self::Exec(error.into())
    }
}

impl From<crate::graph::GraphError> for SessionError {
    fn from(error: crate::graph::GraphError) -> Self {
        Self::Exec(error.into())
    }
}

/// What of a parameter a checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Weight,
    /// One of the optimizer's element states, by its name.
    State(&'static str),
}

/// A model in training on a device: weights, gradients and the optimizer's state live there, and a step never waits for it.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    program: Program,
    inputs: GptInputs,
    logits: Option<TensorId>,
    attention_maps: Vec<TensorId>,
    hyper: TensorId,
    limits: TensorId,
    /// The optimizer's shared tensor that counts skipped updates, and where in it.
    skipped: (TensorId, usize),
    ring: Readback,
    /// Number and real targets of the steps that are under way.
    under_way: VecDeque<(u64, u64)>,
    arrived: VecDeque<StepResult>,
    step: u64,
}

/// Steps that may be under way when a step's commands are written: one that runs, and one so that the device never waits.
const QUEUE_DEPTH: usize = 2;

impl Session {
    /// The plan of a session: what it needs, without a device.
    ///
    /// # Errors
    ///
    /// An invalid model, or one that doesn't fit the device.
    pub fn plan(config: &SessionConfig, caps: &crate::kernel::Caps, choice: &Choice) -> Result<Plan, SessionError> {
        Ok(Plan::new(Self::graph(config)?.graph, caps, choice)?)
    }

    fn graph(config: &SessionConfig) -> Result<Gpt, SessionError> {
        config.validate()?;
        let max_norm = config.optimizer.max_norm as f32;
        let adds_up = config.micro_batches > 1;
        let purpose = Purpose::Train(Training { optimizer: &config.optimizer, max_norm, adds_up });
        Ok(Gpt::build(&config.model, purpose, config.rows(), config.keep, config.memory)?)
    }

    /// A model with initial weights from the config's seed.
    ///
    /// # Errors
    ///
    /// An invalid model, one that doesn't fit, or a failure of the device.
    pub fn new(gpu: &Arc<Gpu>, config: SessionConfig) -> Result<Self, SessionError> {
        Self::with_kernels(gpu, config, &Choice::default())
    }

    /// The same with a choice of kernels, such as those that were tuned for the device.
    ///
    /// # Errors
    ///
    /// As [`Session::new`].
    pub fn with_kernels(gpu: &Arc<Gpu>, config: SessionConfig, choice: &Choice) -> Result<Self, SessionError> {
        let gpt = Self::graph(&config)?;
        let (inputs, logits, loss) = (gpt.inputs, gpt.logits, gpt.loss);
        let (constants, attention_maps) = (gpt.constants, gpt.attention_maps);
        let program = Program::new(gpu, Plan::new(gpt.graph, gpu.caps(), choice)?)?;
        let find = |name: &str| program.find(name);
        let (hyper, limits, norm) = (find("hyper")?, find("limits")?, find("norm")?);
        let (counts, n_before) = config.optimizer.skipped();
        let skipped = (find(counts)?, n_before);
        let read: Vec<TensorId> = loss.into_iter().chain([norm, skipped.0]).collect();
        let ring = Readback::new(&program, &read, QUEUE_DEPTH)?;
        let session = Self {
            config,
            program,
            inputs,
            logits,
            attention_maps,
            hyper,
            limits,
            skipped,
            ring,
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            step: 0,
        };
        for param in session.config.model.params() {
            let mut values = init_values(&param, session.config.seed);
            let tensor = session.program.find(&param.name)?;
            session.program.write_pieces(tensor, 0, param.shape.numel(), |piece| -> Result<(), ExecError> {
                piece.iter_mut().zip(&mut values).for_each(|(place, value)| *place = value);
                Ok(())
            })?;
        }
        for constant in constants {
            session.program.write_named(&constant.name, &constant.table.values())?;
        }
        Ok(session)
    }

    /// What the session was made of.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The program on the device, for whoever wants to look further inside.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Steps done, skipped ones included.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// One optimizer step over micro-batches whose gradients are added up: the loss is the mean over the real targets of
    /// all of them. Returns without waiting for the device (except to keep at most three steps under way); results
    /// arrive through [`Session::poll`].
    ///
    /// # Errors
    ///
    /// A batch that doesn't fit the session, more of them than [`SessionConfig::micro_batches`], or a failure of the device.
    pub fn train_step(&mut self, micro_batches: &[Batch], lr: f64) -> Result<(), SessionError> {
        if micro_batches.is_empty() {
            return Err(SessionError::NoBatch);
        }
        let (most, got) = (self.config.micro_batches, micro_batches.len());
        if got as u64 > most {
            return Err(SessionError::MicroBatches { most, got });
        }
        let n_target: u64 = micro_batches.iter().map(Batch::n_targets).sum();
        for batch in micro_batches {
            self.check(batch)?;
        }
        self.program.write(self.hyper, &self.config.optimizer.hyper(lr))?;
        self.program.begin_step();
        for (index, batch) in micro_batches.iter().enumerate() {
            self.write_batch(batch, n_target, index as u64)?;
            self.program.run(Phase::MicroBatch)?;
        }
        self.step += 1;
        self.under_way.push_back((self.step, n_target));
        if let Some((_, values)) = self.ring.run(&self.program, Phase::Update, self.step)? {
            self.arrive(&values);
        }
        Ok(())
    }

    /// Sets the largest loss and gradient norm of a step that counts, from the next one on; 0 for none, as at first. Beyond
    /// them a step changes nothing.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn set_limits(&self, loss: f32, grad_norm: f32) -> Result<(), SessionError> {
        Ok(self.program.write(self.limits, &[loss, grad_norm])?)
    }

    /// Forward and backward of one batch without an update: gradients and, if kept, logits can be read afterwards.
    /// Dropout is that of the next step.
    ///
    /// # Errors
    ///
    /// As [`Session::train_step`].
    pub fn forward_backward(&mut self, batch: &Batch) -> Result<f32, SessionError> {
        self.check(batch)?;
        self.program.begin_step();
        self.write_batch(batch, batch.n_targets(), 0)?;
        self.program.run(Phase::MicroBatch)?;
        Ok(self.program.read_named("loss")?[0])
    }

    fn check(&self, batch: &Batch) -> Result<(), SessionError> {
        let expected = (self.config.batch_size, self.config.t);
        if (batch.b as u64, batch.t as u64) != expected {
            return Err(SessionError::BatchShape { expected, got: (batch.b, batch.t) });
        }
        check_documents(batch, &self.inputs)?;
        check_ids(batch, self.config.model.vocab_size)
    }

    /// Writes a micro-batch of a step that was done before, with that step's dropout. Steps count from 1.
    pub(super) fn write_batch_of(&self, step: u64, batches: &[Batch], micro: usize) -> Result<(), SessionError> {
        self.check(&batches[micro])?;
        let n_target = batches.iter().map(Batch::n_targets).sum();
        self.write_batch_at(step - 1, &batches[micro], n_target, micro as u64)
    }

    fn write_batch(&self, batch: &Batch, n_target: u64, micro: u64) -> Result<(), SessionError> {
        self.write_batch_at(self.step, batch, n_target, micro)
    }

    fn write_batch_at(&self, step: u64, batch: &Batch, n_target: u64, micro: u64) -> Result<(), SessionError> {
        write_batch(&self.program, &self.inputs, batch, n_target)?;
        let seed = self.config.seed;
        // the key takes the low 32 bits of step and micro-batch; the seed is there in full
        let word = |x: u64| (x & 0xffff_ffff) as u32;
        self.program.write_u32(self.inputs.rng, &[word(seed), word(seed >> 32), word(step), word(micro)])?;
        Ok(())
    }

    fn arrive(&mut self, values: &[f32]) {
        let Some((step, n_target)) = self.under_way.pop_front() else { return };
        self.arrived.push_back(StepResult {
            step,
            loss: values[0],
            grad_norm: values[1],
            finite: values[3] != 0.0,
            applied: values[3] > 0.0,
            n_nonfinite: values[4],
            // after the loss and the norm's four numbers
            n_skipped: values[5 + self.skipped.1] as u64,
            n_target,
        });
    }

    /// The oldest result that has arrived, without waiting.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn poll(&mut self) -> Result<Option<StepResult>, SessionError> {
        while let Some((_, values)) = self.ring.poll(&self.program)? {
            self.arrive(&values);
        }
        Ok(self.arrived.pop_front())
    }

    /// The oldest result, waiting for it; `None` when no step is under way.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn wait(&mut self) -> Result<Option<StepResult>, SessionError> {
        if self.arrived.is_empty()
            && let Some((_, values)) = self.ring.wait(&self.program)?
        {
            self.arrive(&values);
        }
        Ok(self.arrived.pop_front())
    }

    /// Names of the parameters, GPT-2's.
    pub fn param_names(&self) -> Vec<String> {
        self.config.model.params().into_iter().map(|param| param.name).collect()
    }

    fn param(&self, name: &str) -> Result<TensorId, SessionError> {
        let is_param = |tensor: &TensorId| self.program.plan().graph.spec(*tensor).role == Role::Param;
        self.program.find(name).ok().filter(is_param).ok_or_else(|| SessionError::NoParam(name.into()))
    }

    /// Sets a parameter, row-major; linear weights are (in, out).
    ///
    /// # Errors
    ///
    /// An unknown name or a wrong number of elements.
    pub fn set_weight(&self, name: &str, values: &[f32]) -> Result<(), SessionError> {
        Ok(self.program.write(self.param(name)?, values)?)
    }

    /// Reads a parameter.
    ///
    /// # Errors
    ///
    /// An unknown name, or a failure of the device.
    pub fn weight(&self, name: &str) -> Result<Vec<f32>, SessionError> {
        Ok(self.program.read(self.param(name)?)?)
    }

    /// Reads the gradient of a parameter as the last step left it: before clipping.
    ///
    /// # Errors
    ///
    /// As [`Session::weight`].
    pub fn gradient(&self, name: &str) -> Result<Vec<f32>, SessionError> {
        self.param(name)?;
        Ok(self.program.read_named(&format!("d {name}"))?)
    }

    /// Where a parameter or what the optimizer keeps of it is: a tensor, the first element and the number of elements.
    pub(super) fn place(&self, part: Part, name: &str) -> Result<(TensorId, u64, u64), SessionError> {
        match part {
            Part::Weight => {
                let param = self.param(name)?;
                Ok((param, 0, self.program.plan().spec(param).shape.numel()))
            }
            Part::State(state) => self.state_place(name, state),
        }
    }

    /// Reads what the optimizer keeps of a parameter under a name of [`Optimizer::element_state`].
    ///
    /// # Errors
    ///
    /// As [`Session::weight`].
    pub fn optimizer_state(&self, name: &str, state: &str) -> Result<Vec<f32>, SessionError> {
        let (slab, start, len) = self.state_place(name, state)?;
        Ok(self.program.read_range(slab, start, len)?)
    }

    /// Sets what the optimizer keeps of a parameter.
    ///
    /// # Errors
    ///
    /// As [`Session::set_weight`].
    pub fn set_optimizer_state(&self, name: &str, state: &str, values: &[f32]) -> Result<(), SessionError> {
        let (slab, start, len) = self.state_place(name, state)?;
        if values.len() as u64 != len {
            return Err(ExecError::Length { name: name.into(), expected: len, got: values.len() as u64 }.into());
        }
        Ok(self.program.write_range(slab, start, values)?)
    }

    fn state_place(&self, name: &str, state: &str) -> Result<(TensorId, u64, u64), SessionError> {
        let param = self.param(name)?;
        let graph = &self.program.plan().graph;
        let found = graph.slabs.iter().find_map(|slab| {
            let member = slab.members.iter().find(|m| m.param == param)?;
            let &(_, tensor) = slab.whole.as_ref()?.state.iter().find(|(known, _)| *known == state)?;
            Some((tensor, member.start))
        });
        let (slab, start) = found.ok_or_else(|| SessionError::NoParam(name.into()))?;
        Ok((slab, start, graph.spec(param).shape.numel()))
    }

    /// Reads what the optimizer keeps once, under a name of [`Optimizer::shared_state`].
    ///
    /// # Errors
    ///
    /// An unknown name, or a failure of the device.
    pub fn shared_state(&self, name: &str) -> Result<Vec<f32>, SessionError> {
        Ok(self.program.read_named(name)?)
    }

    /// Steps so far that changed nothing.
    ///
    /// # Errors
    ///
    /// A failure of the device.
    pub fn n_skipped(&self) -> Result<u64, SessionError> {
        let (counts, at) = self.skipped;
        Ok(self.program.read(counts)?[at] as u64)
    }

    /// Sets what the optimizer keeps once.
    ///
    /// # Errors
    ///
    /// An unknown name or a wrong number of elements.
    pub fn set_shared_state(&self, name: &str, values: &[f32]) -> Result<(), SessionError> {
        Ok(self.program.write_named(name, values)?)
    }

    /// Sets the number of steps done, as when a checkpoint was taken.
    pub fn set_step_count(&mut self, step: u64) {
        self.step = step;
    }

    /// The logits (B, T, V) of the last micro-batch; the session must have been made to keep them.
    ///
    /// # Errors
    ///
    /// [`ExecError::NotKept`], or a failure of the device.
    pub fn logits(&self) -> Result<Vec<f32>, SessionError> {
        let logits = self.logits.ok_or_else(|| ExecError::NotKept("logits".into()))?;
        Ok(self.program.read(logits)?)
    }

    /// The attention probabilities (B, NH, T, T) of a layer in the last micro-batch; the session must have been made to
    /// keep them.
    ///
    /// # Errors
    ///
    /// As [`Session::logits`].
    pub fn attention_map(&self, layer: usize) -> Result<Vec<f32>, SessionError> {
        let map = self.attention_maps.get(layer).ok_or_else(|| ExecError::NoTensor(format!("h.{layer}.attn.att")))?;
        Ok(self.program.read(*map)?)
    }

    /// An evaluator of the parameters as they are at each call.
    ///
    /// # Errors
    ///
    /// A plan that doesn't fit.
    pub fn evaluator(&self) -> Result<Evaluator, SessionError> {
        Evaluator::new(&self.program, &self.config.model, self.config.rows(), self.config.memory)
    }

    /// A generator of `n_row` rows; give it [`Session::program`] as its source.
    pub fn generator(&self, n_row: usize) -> Generator {
        Generator::new(&self.config.model, n_row)
    }
}
