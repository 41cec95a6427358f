//! Word of kernels being compiled, for whoever waits for them.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Gpu;
use super::pipelines::key;
use crate::kernel::Dispatch;

/// How far the kernels of a program are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiling {
    /// Handed to the driver.
    Kernels {
        /// Those that are done.
        done: u64,
        /// Those that the program needs and that weren't there.
        of: u64,
    },
    /// In their first run, in which a software device compiles them.
    FirstRun {
        /// Whether a kernel is left that hasn't been run before.
        compiles: bool,
        /// Dispatches that were run.
        done: u64,
        /// Dispatches in all.
        of: u64,
    },
}

type Hear = Box<dyn Fn(Compiling) + Send>;

/// Who is told.
#[derive(Default)]
pub(super) struct Listener(Mutex<Option<Hear>>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Gpu {
    /// Has a function be told from now on how far the kernels of each program are.
    pub fn on_compiling(&self, hear: impl Fn(Compiling) + Send + 'static) {
        *self.compiling.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hear));
    }

    pub(crate) fn tell(&self, how_far: Compiling) {
        if let Some(hear) = &*self.compiling.0.lock().unwrap_or_else(PoisonError::into_inner) {
            hear(how_far);
        }
    }

    /// Makes the pipelines of dispatches that aren't there yet. Call it inside an error scope.
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
