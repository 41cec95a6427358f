use super::{GraphBuilder, GraphError, Phase, slabs};
use crate::ops::{Adamw, AdamwCorrections, GlobalNorm};
use crate::tensor::{DType, Role, Shape, TensorId};

/// What of the optimizer is fixed when the graph is built; the rest comes each step in the input `hyper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerConfig {
    /// Largest global gradient norm; 0 means no clipping.
    pub max_norm: f32,
    /// Whether a step has several micro-batches, whose gradients are added up.
    pub adds_up: bool,
}

impl GraphBuilder {
    /// Appends clipping by global norm and AdamW over all parameters, after [`GraphBuilder::backward`] of this loss.
    ///
    /// New tensors: the input `hyper` (8: lr, beta1, beta2, eps, weight_decay, 1 - beta1, 1 - beta2, unused), the input
    /// `limits` (2: the largest loss and norm of a step that counts, 0 for none), the metric `norm` (4: norm, clip coefficient,
    /// whether the step counts, count of non-finite elements, as [`GlobalNorm`] has them), the state `corrections` (4:
    /// 1 - beta1^t, 1 - beta2^t, updates done, updates skipped), and the slabs `params.I`, `grads.I`, `moment1.I`,
    /// `moment2.I`.
    ///
    /// # Errors
    ///
    /// A slab too large to index.
    pub fn optimizer(&mut self, loss: TensorId, config: OptimizerConfig) -> Result<(), GraphError> {
        let mut layout = slabs::layout(&self.graph);
        for (i, slab) in layout.iter_mut().enumerate() {
            for member in &mut slab.members {
                member.grad = self.graph.find(&format!("d {}", self.spec(member.param).name));
            }
            let shape = Shape::new(&[slab.n_elem]);
            let mut whole = [TensorId(0); 4];
            for (place, (name, role)) in whole.iter_mut().zip(SLAB_NAMES) {
                *place = self.tensor(&format!("{name}.{i}"), shape, DType::F32, role)?;
            }
            slab.whole = Some(whole);
        }
        let wholes: Vec<([TensorId; 4], u64)> = layout.iter().filter_map(|s| s.whole.map(|w| (w, s.n_decay))).collect();
        self.graph.slabs = layout;
        let hyper = self.input("hyper", &[8], DType::F32)?;
        let limits = self.input("limits", &[2], DType::F32)?;
        let corrections = self.tensor("corrections", Shape::new(&[4]), DType::F32, Role::State)?;
        let norm = self.tensor("norm", Shape::new(&[4]), DType::F32, Role::Metric)?;
        let grads = wholes.iter().map(|(w, _)| w[1]);
        let judged: Vec<TensorId> = [loss, limits].into_iter().chain(grads).collect();
        let op = GlobalNorm { max_norm: config.max_norm };
        self.node("global_norm", Box::new(op), &judged, &[Some((norm, false))], Phase::Update)?;
        let into = [Some((corrections, false))];
        self.node("adamw.corrections", Box::new(AdamwCorrections), &[norm, hyper], &into, Phase::Update)?;
        for (i, ([params, grads, moment1, moment2], n_decay)) in wholes.into_iter().enumerate() {
            let into = [params, moment1, moment2].map(|t| Some((t, false)));
            let inputs = [grads, norm, hyper, corrections];
            self.node(&format!("adamw.{i}"), Box::new(Adamw { n_decay }), &inputs, &into, Phase::Update)?;
        }
        if !config.adds_up {
            self.graph.store_first();
        }
        Ok(())
    }
}

const SLAB_NAMES: [(&str, Role); 4] =
    [("params", Role::Param), ("grads", Role::Grad), ("moment1", Role::Moment), ("moment2", Role::Moment)];
