//! Progress reports while kernels are compiled.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Gpu;
use super::pipelines::key;
use crate::kernel::Dispatch;

/// Progress of compiling a program's kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiling {
    /// The driver is compiling the kernels.
    Kernels {
        /// Kernels compiled so far.
        done: u64,
        /// Kernels that the program needs and that were missing.
        of: u64,
    },
    /// The kernels are in their first run, in which a software device compiles them.
    FirstRun {
        /// Whether a kernel is left that hasn't run before.
        compiles: bool,
        /// Dispatches run so far.
        done: u64,
        /// Total dispatches.
        of: u64,
    },
}

type Hear = Box<dyn Fn(Compiling) + Send>;

/// The function to call, if any.
#[derive(Default)]
pub(super) struct Listener(Mutex<Option<Hear>>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Gpu {
    /// Sets the function to call from now on with the progress of compiling each program's kernels.
    pub fn on_compiling(&self, hear: impl Fn(Compiling) + Send + 'static) {
        *self.compiling.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hear));
    }

    pub(crate) fn tell(&self, how_far: Compiling) {
        if let Some(hear) = &*self.compiling.0.lock().unwrap_or_else(PoisonError::into_inner) {
            hear(how_far);
        }
    }

    /// Creates the missing pipelines of these dispatches. Call it inside an error scope.
    pub(crate) fn compile<'a>(&self, dispatches: impl Iterator<Item = &'a Dispatch>) {
        let mut missing: Vec<&Dispatch> = vec![];
        for dispatch in dispatches.filter(|dispatch| !self.has_pipeline(dispatch)) {
            if missing.iter().all(|other| key(other) != key(dispatch)) {
                missing.push(dispatch);
            }
        }
        let of = missing.len() as u64;
        for (dispatch, done) in missing.into_iter().zip(1..) {
            self.pipeline(dispatch);
            self.tell(Compiling::Kernels { done, of });
        }
    }
}
