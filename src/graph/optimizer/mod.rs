//! The end of a training step: clipping by the global gradient norm, then the optimizer's update.

mod adamw;

use std::fmt::Debug;
use std::sync::Arc;

pub use adamw::AdamwConfig;

use super::{GraphBuilder, GraphError, Phase, slabs};
use crate::ops::GlobalNorm;
use crate::tensor::{DType, ParamGroup, Role, Shape, TensorId};

/// A rule that turns gradients into new parameters, and the state that it keeps from step to step. Checkpoints, the
/// memory plan and sessions use the names that it gives its state.
pub trait Optimizer: Debug {
    /// State per element of a parameter: names of tensors of the parameter's shape. All begin at 0.
    fn element_state(&self, group: ParamGroup) -> &'static [&'static str];

    /// State kept once: names of tensors and their element counts. All begin at 0.
    fn shared_state(&self) -> &'static [(&'static str, u64)];

    /// The shared tensor and the element of it that count the updates skipped because of a non-finite gradient.
    fn skipped(&self) -> (&'static str, usize);

    /// The values of the input `hyper` for a step with this learning rate; their number is fixed.
    fn hyper(&self, lr: f64) -> Vec<f32>;

    /// Appends the update of all slabs.
    ///
    /// # Errors
    ///
    /// A tensor is too large to index.
    fn update(&self, builder: &mut GraphBuilder, signals: &Signals<'_>) -> Result<(), GraphError>;
}

/// The tensors that an update works with.
#[derive(Debug, Clone, Copy)]
pub struct Signals<'a> {
    /// Parameters, gradients and state.
    pub slabs: &'a [SlabTensors],
    /// Global norm, clip coefficient, and whether the step counts (4), as written by [`GlobalNorm`].
    pub norm: TensorId,
    /// The step's values of [`Optimizer::hyper`].
    pub hyper: TensorId,
    /// The tensors of [`Optimizer::shared_state`].
    pub shared: &'a [TensorId],
}

/// The tensors that cover a whole slab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlabTensors {
    /// The parameters.
    pub params: TensorId,
    /// Their gradients.
    pub grads: TensorId,
    /// The optimizer's state per element, by name.
    pub state: Vec<(&'static str, TensorId)>,
    /// Weight decay applies to the elements before this one.
    pub n_decay: u64,
}

/// The settings of the update.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// The rule.
    pub optimizer: &'a dyn Optimizer,
    /// Largest global gradient norm; 0 means no clipping.
    pub max_norm: f32,
    /// Whether a step has several micro-batches, whose gradients accumulate.
    pub adds_up: bool,
}

impl GraphBuilder {
    /// Appends clipping by global norm and the update of all parameters. Call it after [`GraphBuilder::backward`] of
    /// this loss.
    ///
    /// New tensors: the inputs `hyper` and `limits` (2: the largest loss and norm of a step that counts, 0 for no
    /// limit), the metric `norm` (4: norm, clip coefficient, whether the step counts, count of non-finite elements, as
    /// written by [`GlobalNorm`]), the optimizer's shared state, and the slabs `params.I`, `grads.I` and one for each
    /// of the optimizer's element states, such as `moment1.I`.
    ///
    /// # Errors
    ///
    /// A slab is too large to index.
    pub fn optimizer(&mut self, loss: TensorId, training: Training<'_>) -> Result<(), GraphError> {
        let Training { optimizer, max_norm, adds_up } = training;
        let mut layout = slabs::layout(&self.graph);
        for (i, slab) in layout.iter_mut().enumerate() {
            for member in &mut slab.members {
                member.grad = self.graph.find(&format!("d {}", self.spec(member.param).name));
            }
            let shape = Shape::new(&[slab.n_elem]);
            let mut whole = |name: &str, role| self.tensor(&format!("{name}.{i}"), shape, DType::F32, role);
            let (params, grads) = (whole("params", Role::Param)?, whole("grads", Role::Grad)?);
            // all parameters of a slab have the same state: a rule that treats groups differently has to split their
            // slabs
            let state = optimizer.element_state(ParamGroup::Matrix).iter();
            let state = state.map(|&name| Ok((name, whole(name, Role::OptimizerState)?)));
            let state = state.collect::<Result<_, GraphError>>()?;
            slab.whole = Some(SlabTensors { params, grads, state, n_decay: slab.n_decay });
        }
        let wholes: Vec<SlabTensors> = layout.iter().filter_map(|slab| slab.whole.clone()).collect();
        self.graph.slabs = layout;
        let hyper = self.input("hyper", &[optimizer.hyper(0.0).len() as u64], DType::F32)?;
        let limits = self.input("limits", &[2], DType::F32)?;
        let shared = optimizer.shared_state().iter();
        let shared = shared.map(|&(name, n)| self.tensor(name, Shape::new(&[n]), DType::F32, Role::State));
        let shared = shared.collect::<Result<Vec<_>, _>>()?;
        let norm = self.tensor("norm", Shape::new(&[4]), DType::F32, Role::Metric)?;
        let judged: Vec<TensorId> = [loss, limits].into_iter().chain(wholes.iter().map(|slab| slab.grads)).collect();
        self.node("global_norm", Arc::new(GlobalNorm { max_norm }), &judged, &[Some((norm, false))], Phase::Update)?;
        optimizer.update(self, &Signals { slabs: &wholes, norm, hyper, shared: &shared })?;
        if !adds_up {
            self.graph.store_first();
        }
        Ok(())
    }
}
