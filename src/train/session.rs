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

/// An error of a session.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// The model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device or the plan.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A batch of another shape.
    #[error("the batch is {got:?} (rows, positions), but the session takes {expected:?}; create another session")]
    BatchShape {
        /// The shape that the session was created for.
        expected: (u64, u64),
        /// The shape of the batch.
        got: (usize, usize),
    },
    /// A step without a single micro-batch.
    #[error("a step needs at least one micro-batch")]
    NoBatch,
    /// A step with more micro-batches than the session was created for.
    #[error(
        "a step has {got} micro-batches, but the session was created for at most {most}; see SessionConfig::micro_batches"
    )]
    MicroBatches {
        /// [`SessionConfig::micro_batches`].
        most: u64,
        /// The micro-batches of the step.
        got: usize,
    },
    /// A token outside the vocabulary.
    #[error("{what} {id} at index {index} is outside the vocabulary of {vocab_size}")]
    Token {
        /// `token` or `target`.
        what: &'static str,
        /// The id.
        id: u32,
        /// Its index in the batch.
        index: usize,
        /// Size of the vocabulary.
        vocab_size: u64,
    },
    /// Documents for a model without a document mask.
    #[error("the batch has documents, but the session has no document_mask; set it, or leave firsts empty")]
    NoMask,
    /// Documents that aren't contiguous.
    #[error("first {first} at index {index} is neither that position nor the first of the position before it")]
    First {
        /// The given first position of the document.
        first: u32,
        /// Its index in the batch.
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

/// A part of a parameter's state in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Weight,
    /// One of the optimizer's element states, by its name.
    State(&'static str),
}

/// A model in training on a device, which holds weights, gradients and optimizer state. A step never waits for it.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    program: Program,
    inputs: GptInputs,
    logits: Option<TensorId>,
    attention_maps: Vec<TensorId>,
    hyper: TensorId,
    limits: TensorId,
    /// The optimizer's shared tensor that counts skipped updates, and the index in it.
    skipped: (TensorId, usize),
    ring: Readback,
    /// Number and real targets of the steps in flight.
    under_way: VecDeque<(u64, u64)>,
    arrived: VecDeque<StepResult>,
    step: u64,
}

/// Steps that may be in flight when a step is recorded: one that runs, and one so that the device never waits.
const QUEUE_DEPTH: usize = 2;

impl Session {
    /// Plans a session: what it needs, without a device.
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

    /// Creates a model with initial weights from the config's seed.
    ///
    /// # Errors
    ///
    /// An invalid model, one that doesn't fit, or a device error.
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

    /// The session's configuration.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The program on the device, for further inspection.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Steps done, including skipped ones.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Runs one optimizer step over micro-batches whose gradients are added up: the loss is the mean over all their
    /// real targets. Returns without waiting for the device (except to keep at most three steps in flight); results
    /// arrive through [`Session::poll`].
    ///
    /// # Errors
    ///
    /// A batch that doesn't fit the session, more of them than [`SessionConfig::micro_batches`], or a device error.
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

    /// Sets the largest loss and gradient norm of a step that updates weights, from the next one on; 0 (default): none.
    /// Steps above them change nothing.
    ///
    /// # Errors
    ///
    /// A device error.
    pub fn set_limits(&self, loss: f32, grad_norm: f32) -> Result<(), SessionError> {
        Ok(self.program.write(self.limits, &[loss, grad_norm])?)
    }

    /// Runs forward and backward on one batch without an update: gradients and, if kept, logits can be read afterwards.
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

    /// Writes a micro-batch of an earlier step, with that step's dropout. Steps count from 1.
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
        // the key takes the low 32 bits of step and micro-batch, and all of the seed
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

    /// Returns the oldest result that has arrived, without waiting.
    ///
    /// # Errors
    ///
    /// A device error.
    pub fn poll(&mut self) -> Result<Option<StepResult>, SessionError> {
        while let Some((_, values)) = self.ring.poll(&self.program)? {
            self.arrive(&values);
        }
        Ok(self.arrived.pop_front())
    }

    /// Returns the oldest result, waiting for it; `None` when no step is in flight.
    ///
    /// # Errors
    ///
    /// A device error.
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
    /// An unknown name, or a device error.
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

    /// Locates a parameter or its optimizer state: a tensor, the first element and the number of elements.
    pub(super) fn place(&self, part: Part, name: &str) -> Result<(TensorId, u64, u64), SessionError> {
        match part {
            Part::Weight => {
                let param = self.param(name)?;
                Ok((param, 0, self.program.plan().spec(param).shape.numel()))
            }
            Part::State(state) => self.state_place(name, state),
        }
    }

    /// Reads a parameter's optimizer state, named as in [`Optimizer::element_state`].
    ///
    /// # Errors
    ///
    /// As [`Session::weight`].
    pub fn optimizer_state(&self, name: &str, state: &str) -> Result<Vec<f32>, SessionError> {
        let (slab, start, len) = self.state_place(name, state)?;
        Ok(self.program.read_range(slab, start, len)?)
    }

    /// Sets a parameter's optimizer state.
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

    /// Reads the optimizer's shared state, named as in [`Optimizer::shared_state`].
    ///
    /// # Errors
    ///
    /// An unknown name, or a device error.
    pub fn shared_state(&self, name: &str) -> Result<Vec<f32>, SessionError> {
        Ok(self.program.read_named(name)?)
    }

    /// Steps so far that changed nothing.
    ///
    /// # Errors
    ///
    /// A device error.
    pub fn n_skipped(&self) -> Result<u64, SessionError> {
        let (counts, at) = self.skipped;
        Ok(self.program.read(counts)?[at] as u64)
    }

    /// Sets the optimizer's shared state.
    ///
    /// # Errors
    ///
    /// An unknown name or a wrong number of elements.
    pub fn set_shared_state(&self, name: &str, values: &[f32]) -> Result<(), SessionError> {
        Ok(self.program.write_named(name, values)?)
    }

    /// Sets the number of steps done, as of a checkpoint.
    pub fn set_step_count(&mut self, step: u64) {
        self.step = step;
    }

    /// Reads the logits (B, T, V) of the last micro-batch; the session must have been created to keep them.
    ///
    /// # Errors
    ///
    /// [`ExecError::NotKept`], or a device error.
    pub fn logits(&self) -> Result<Vec<f32>, SessionError> {
        let logits = self.logits.ok_or_else(|| ExecError::NotKept("logits".into()))?;
        Ok(self.program.read(logits)?)
    }

    /// Reads the attention probabilities (B, NH, T, T) of a layer in the last micro-batch; the session must have been
    /// created to keep them.
    ///
    /// # Errors
    ///
    /// As [`Session::logits`].
    pub fn attention_map(&self, layer: usize) -> Result<Vec<f32>, SessionError> {
        let map = self.attention_maps.get(layer).ok_or_else(|| ExecError::NoTensor(format!("h.{layer}.attn.att")))?;
        Ok(self.program.read(*map)?)
    }

    /// Creates an evaluator, which always uses the current parameters.
    ///
    /// # Errors
    ///
    /// A plan that doesn't fit.
    pub fn evaluator(&self) -> Result<Evaluator, SessionError> {
        Evaluator::new(&self.program, &self.config.model, self.config.rows(), self.config.memory)
    }

    /// Creates a generator of `n_row` rows; give it [`Session::program`] as its source.
    pub fn generator(&self, n_row: usize) -> Generator {
        Generator::new(&self.config.model, n_row)
    }
}
