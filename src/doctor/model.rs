use std::collections::BTreeMap;
use std::sync::Arc;

use super::verify::share;
use super::{Data, Interpreted, Report, interpret};
use crate::data::Batch;
use crate::gpu::Gpu;
use crate::graph::GraphError;
use crate::model::{Memory, ModelConfig, Positions, ReadBack};
use crate::reference::IGNORE;
use crate::reference::compare::{Mismatch, Tolerance, canary, compare};
use crate::train::{AdamwConfig, Session, SessionConfig, SessionError};

/// Why the whole model failed.
#[derive(Debug, thiserror::Error)]
pub enum ModelFailure {
    /// The model can't be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Its graph can't be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A value is wrong.
    #[error("{what}: {mismatch}")]
    Wrong {
        /// The tensor: logits, loss, or a gradient.
        what: String,
        /// Where and by how much.
        mismatch: Mismatch,
    },
}

/// Checks a small GPT with awkward sizes: its logits, loss and every gradient against the f64 reference.
///
/// # Errors
///
/// [`ModelFailure`] with the first wrong tensor.
pub fn check_model(gpu: &Arc<Gpu>) -> Result<Report, ModelFailure> {
    // about 40 roundings of values of order 1 lie between the weights and a logit or a gradient, each within 6e-8 of
    // its operand; exp of the moderate numbers here adds about 1e-6 on the least exact device known
    let tolerance = Tolerance { abs: 2e-6, rel: 2e-5 };
    let mut report = Report { max_error: 0.0, worst: 0.0, n_dispatch: 0 };
    let mut check = |what: &str, got: &[f32], want: &[f64]| -> Result<(), ModelFailure> {
        let wrong = |mismatch| ModelFailure::Wrong { what: what.into(), mismatch };
        let stats = compare(got, want, tolerance).map_err(wrong)?;
        report.max_error = report.max_error.max(share(stats.max_abs, want));
        report.worst = report.worst.max(stats.max_used);
        canary(got, want, tolerance).map_err(wrong)
    };
    let n_dispatch = compare_model(gpu, &AWKWARD, &mut |_| Ok(()), &mut check)?;
    Ok(Report { n_dispatch, ..report })
}

/// Checks within seconds whether a device computes a model correctly: two small GPTs, so that kernels for awkward sizes
/// and for vectors take part; on a software device, where compiling takes most of the time, only the one for vectors.
/// It finds plain errors; [`check_model`] is as strict as rounding allows. `tamper` lets tests make a session wrong.
///
/// # Errors
///
/// As [`check_model`].
pub fn self_check(
    gpu: &Arc<Gpu>,
    tamper: &mut dyn FnMut(&Session) -> Result<(), SessionError>,
) -> Result<(), ModelFailure> {
    let tolerance = Tolerance { abs: 2e-5, rel: 1e-3 };
    let mut check = |what: &str, got: &[f32], want: &[f64]| {
        let wrong = |mismatch| ModelFailure::Wrong { what: what.into(), mismatch };
        compare(got, want, tolerance).map(|_| ()).map_err(wrong)
    };
    // a software device compiles for five seconds per model, and its first step must not wait for that twice
    let models: &[&Sizes] = if gpu.caps().is_cpu { &[&EVEN] } else { &[&EVEN, &AWKWARD] };
    models.iter().try_for_each(|sizes| compare_model(gpu, sizes, tamper, &mut check).map(|_| ()))?;
    // the run uses other kernels, and on a software device each takes megabytes
    gpu.forget_pipelines();
    Ok(())
}

/// Sizes of a model and its batch.
struct Sizes {
    n_layer: u64,
    n_head: u64,
    n_embd: u64,
    vocab_size: u64,
    b: u64,
    t: u64,
}

const AWKWARD: Sizes = Sizes { n_layer: 2, n_head: 3, n_embd: 18, vocab_size: 29, b: 3, t: 11 };
const EVEN: Sizes = Sizes { n_layer: 1, n_head: 2, n_embd: 64, vocab_size: 96, b: 2, t: 32 };

type Check<'a> = dyn FnMut(&str, &[f32], &[f64]) -> Result<(), ModelFailure> + 'a;

/// Passes each tensor of a model to `check`, from the device and from the reference; returns the number of dispatches.
fn compare_model(
    gpu: &Arc<Gpu>,
    sizes: &Sizes,
    tamper: &mut dyn FnMut(&Session) -> Result<(), SessionError>,
    check: &mut Check<'_>,
) -> Result<usize, ModelFailure> {
    let &Sizes { n_layer, n_head, n_embd, vocab_size, b, t } = sizes;
    let positions = Positions::Learned;
    let (block_size, bias, tied, dropout) = (t, true, true, 0.0);
    let model = ModelConfig { n_layer, n_head, n_embd, block_size, vocab_size, bias, tied, positions, dropout };
    let config = SessionConfig {
        model: model.clone(),
        batch_size: b,
        t,
        micro_batches: 1,
        optimizer: AdamwConfig::default(),
        seed: 5,
        keep: ReadBack { logits: true, attention: false },
        memory: Memory::default(),
        document_mask: false,
    };
    let mut session = Session::new(gpu, config)?;
    let mut params = BTreeMap::new();
    for (index, (name, dims)) in model.param_shapes().into_iter().enumerate() {
        let Data::F32(values) = Data::uniform(index as u64, dims.iter().product(), 0.3) else { continue };
        session.set_weight(&name, &values)?;
        params.insert(name, values.into_iter().map(f64::from).collect::<Vec<f64>>());
    }
    tamper(&session)?;
    let (n, v) = ((b * t) as usize, vocab_size as usize);
    let ids = |salt: usize| (0..n).map(move |i| ((i * 7 + i / 5 + salt) % v) as u32);
    let targets = ids(3).enumerate().map(|(i, id)| if i % 6 == 5 { IGNORE } else { id }).collect();
    let batch = Batch { tokens: ids(0).collect(), targets, firsts: vec![], b: b as usize, t: t as usize };
    let loss = session.forward_backward(&batch)?;

    let Interpreted { loss: want_loss, logits: want_logits, gradients } = interpret(&model, &params, &batch)?;
    check("loss", &[loss], &[want_loss])?;
    check("logits", &session.logits()?, &want_logits)?;
    for (name, want) in &gradients {
        check(&format!("gradient of {name}"), &session.gradient(name)?, want)?;
    }
    Ok(session.program().plan().steps.len())
}
