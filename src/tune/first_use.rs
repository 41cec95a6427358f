//! Tuning before a run: what a device is asked to measure by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cache, Entry, OnDevice, Shapes, Tuned, Which, shapes, tune};
use crate::exec::ExecError;
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::train::{Session, SessionConfig, SessionError};

/// How long measuring at first use may take: a GPU does all shapes of a model within it, a slow driver's compiler may not.
const FIRST_USE: Duration = Duration::from_secs(20);

/// The shapes of training sessions, and how often each occurs.
///
/// # Errors
///
/// A configuration that can't be planned on the device.
pub fn shapes_of(gpu: &Gpu, sessions: &[SessionConfig]) -> Result<Shapes, SessionError> {
    let mut all = BTreeMap::new();
    for session in sessions {
        let plan = Session::plan(session, gpu.caps(), &Choice::default())?;
        for (key, (task, n)) in shapes(&plan.graph, gpu.caps()) {
            all.entry(key).or_insert((task, 0)).1 += n;
        }
    }
    Ok(all)
}

/// Finds the fastest known kernels for some shapes. A GPU measures what the cache lacks. A software device measures nothing: what
/// the kind of device suggests is mostly within a tenth of the best, and compiling all the others takes longer than a short run
/// would gain. So first `learn` may fill the cache in another way, and returns whether it did.
///
/// # Errors
///
/// A failure of the device.
pub fn at_first_use(
    gpu: &Arc<Gpu>,
    cache: &mut Cache,
    shapes: &Shapes,
    learn: impl FnOnce(&Cache) -> Result<bool, ExecError>,
    mut on: impl FnMut(&str, &Entry),
) -> Result<Tuned, ExecError> {
    let (started, before) = (Instant::now(), cache.len());
    let which = if gpu.caps().is_cpu { Which::Cached } else { Which::Missing };
    if which == Which::Cached && learn(cache)? {
        cache.reread();
    }
    let mut tuned = tune(shapes, which, FIRST_USE, cache, &mut OnDevice::new(gpu), &mut on)?;
    if which == Which::Cached {
        (tuned.n_measured, tuned.took) = (cache.len() - before.min(cache.len()), started.elapsed());
    }
    Ok(tuned)
}
