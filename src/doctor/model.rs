use std::collections::BTreeMap;
use std::sync::Arc;

use super::verify::share;
use super::{Data, Report};
use crate::data::Batch;
use crate::gpu::Gpu;
use crate::model::{Keep, Memory, ModelConfig, Positions};
use crate::reference::compare::{Mismatch, Tolerance, canary, compare};
use crate::reference::{self, IGNORE};
use crate::train::{AdamwConfig, Session, SessionConfig, SessionError};

/// Why the whole model failed.
#[derive(Debug, thiserror::Error)]
pub enum ModelFailure {
    /// It can't be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A wrong value.
    #[error("{what}: {mismatch}")]
    Wrong {
        /// Logits, loss, or a gradient.
        what: String,
        /// Where and by how much.
        mismatch: Mismatch,
    },
}

/// A small GPT with awkward sizes: its logits, loss and every gradient against the f64 reference.
///
/// # Errors
///
/// [`ModelFailure`] with the first tensor that is wrong.
pub fn check_model(gpu: &Arc<Gpu>) -> Result<Report, ModelFailure> {
    let model = ModelConfig {
        n_layer: 2,
        n_head: 3,
        n_embd: 18,
        block_size: 11,
        vocab_size: 29,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout: 0.0,
    };
    let (b, t) = (3, 11);
    let config = SessionConfig {
        model: model.clone(),
        batch_size: b,
        t,
        optimizer: AdamwConfig::default(),
        seed: 5,
        keep: Keep { logits: true, attention: false },
        memory: Memory::default(),
        document_mask: false,
    };
    let mut session = Session::new(gpu, config)?;
    let mut params = BTreeMap::new();
    for (index, (name, dims)) in model.params().into_iter().enumerate() {
        let Data::F32(values) = Data::uniform(index as u64, dims.iter().product(), 0.3) else { continue };
        session.set_weight(&name, &values)?;
        params.insert(name, values.into_iter().map(f64::from).collect::<Vec<f64>>());
    }
    let n = (b * t) as usize;
    let ids = |salt: usize| (0..n).map(move |i| ((i * 7 + i / 5 + salt) % 29) as u32);
    let targets = ids(3).enumerate().map(|(i, id)| if i % 6 == 5 { IGNORE } else { id }).collect();
    let batch = Batch { tokens: ids(0).collect(), targets, firsts: vec![], b: b as usize, t: t as usize };
    let loss = session.forward_backward(&batch)?;

    let shape = reference::model::Config {
        n_layer: 2,
        n_head: 3,
        n_embd: 18,
        block_size: 11,
        vocab_size: 29,
        bias: true,
        tied: true,
        learned_positions: true,
    };
    let exact = |ids: &[u32]| ids.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let (want_loss, want_logits, want_grads) = reference::model::forward_backward(
        shape,
        &params,
        reference::model::Batch {
            tokens: &exact(&batch.tokens),
            targets: &exact(&batch.targets),
            spans: None,
            b: b as usize,
            t: t as usize,
        },
    );
    let mut report = Report { max_error: 0.0, worst: 0.0, n_dispatch: session.program().plan().steps.len() };
    // some 40 roundings of values of order 1 lie between the weights and a logit or a gradient, each within 6e-8 of its
    // operand; exp of the moderate numbers here adds 1e-6 or so on the coarsest device known
    let tolerance = Tolerance { abs: 2e-6, rel: 2e-5 };
    let mut check = |what: &str, got: &[f32], want: &[f64]| -> Result<(), ModelFailure> {
        let wrong = |mismatch| ModelFailure::Wrong { what: what.into(), mismatch };
        let stats = compare(got, want, tolerance).map_err(wrong)?;
        report.max_error = report.max_error.max(share(stats.max_abs, want));
        report.worst = report.worst.max(stats.max_used);
        canary(got, want, tolerance).map_err(wrong)
    };
    check("loss", &[loss], &[want_loss])?;
    check("logits", &session.logits()?, &want_logits)?;
    for (name, want) in &want_grads {
        check(&format!("gradient of {name}"), &session.gradient(name)?, want)?;
    }
    Ok(report)
}
