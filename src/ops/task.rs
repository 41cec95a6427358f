//! What of a model can be done by several kernels or variants, and so is worth measuring.

use std::fmt;

use super::LowerCtx;
use super::matmul::Product;
use crate::kernel::{Caps, Choice};

/// Some work of a shape that several kernels or variants can do. Its `Display` is the key under which a choice has it.
#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// A matrix product.
    Product(Product),
}

impl Task {
    /// The name under which the kernels that can do it are chosen from.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Product(_) => "matmul",
        }
    }

    /// What may be the fastest on a device, as `kernel/variant`.
    pub fn candidates(&self, caps: &Caps) -> Vec<String> {
        match self {
            Self::Product(product) => product.candidates(caps),
        }
    }

    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        match self {
            Self::Product(product) => product.flops(),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(product) => product.fmt(f),
        }
    }
}

impl From<Product> for Task {
    fn from(product: Product) -> Self {
        Self::Product(product)
    }
}

impl LowerCtx<'_> {
    /// Notes a task, and gives the choice that was tuned for it, if any.
    pub(super) fn tuned(&self, task: &Task) -> Option<Choice> {
        if let Some(noted) = self.noted {
            noted.borrow_mut().push(*task);
        }
        if self.choice.tuned().is_empty() {
            return None;
        }
        self.choice.for_task(task.family(), &task.to_string())
    }
}
