use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Optimizer, Signals};
use crate::graph::{GraphBuilder, GraphError, Phase};
use crate::ops::{Adamw, AdamwCorrections};
use crate::tensor::ParamGroup;

/// AdamW's settings and gradient clipping.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamwConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Decoupled decay of 2-D weights.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 turns clipping off.
    pub max_norm: f64,
}

impl AdamwConfig {
    /// The default settings.
    pub const DEFAULT: Self = Self { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, max_norm: 1.0 };
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Optimizer for AdamwConfig {
    fn element_state(&self, _: ParamGroup) -> &'static [&'static str] {
        &["moment1", "moment2"]
    }

    /// 1 - beta1^t, 1 - beta2^t, updates done, updates skipped.
    fn shared_state(&self) -> &'static [(&'static str, u64)] {
        &[("corrections", 4)]
    }

    fn skipped(&self) -> (&'static str, usize) {
        ("corrections", 3)
    }

    fn hyper(&self, lr: f64) -> Vec<f32> {
        let &Self { beta1, beta2, eps, weight_decay, .. } = self;
        [lr, beta1, beta2, eps, weight_decay, 1.0 - beta1, 1.0 - beta2, 0.0].map(|x| x as f32).to_vec()
    }

    fn update(&self, builder: &mut GraphBuilder, signals: &Signals<'_>) -> Result<(), GraphError> {
        let &Signals { slabs, norm, hyper, shared } = signals;
        let corrections = shared[0];
        let into = [Some((corrections, false))];
        builder.node("adamw.corrections", Arc::new(AdamwCorrections), &[norm, hyper], &into, Phase::Update)?;
        for (i, slab) in slabs.iter().enumerate() {
            let in_place = [slab.params].into_iter().chain(slab.state.iter().map(|&(_, tensor)| tensor));
            let into: Vec<_> = in_place.map(|tensor| Some((tensor, false))).collect();
            let op = Adamw { n_decay: slab.n_decay };
            let inputs = [slab.grads, norm, hyper, corrections];
            builder.node(&format!("adamw.{i}"), Arc::new(op), &inputs, &into, Phase::Update)?;
        }
        Ok(())
    }
}
