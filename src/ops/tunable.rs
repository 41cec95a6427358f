//! Parts of a model that have more than one kernel or variant, to be tuned.

use std::fmt;

use super::LowerCtx;
use super::attention::FlashProbe;
use super::matmul::Probe;
use crate::kernel::{Caps, Choice, KernelDef};

/// Work of a given shape that several kernels or variants can do. Its `Display` is its key in a choice.
#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// A matrix product.
    Matmul(Probe),
    /// One of the kernels of flash attention.
    Flash(FlashProbe),
}

impl Task {
    /// The family name of the kernels that can do it.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Matmul(_) => "matmul",
            Self::Flash(_) => "attention_flash",
        }
    }

    /// The kernels that can do it; every variant of them is a candidate.
    pub fn kernels(&self) -> Vec<&'static KernelDef> {
        match self {
            Self::Matmul(product) => product.kernels(),
            Self::Flash(flash) => flash.kernels(),
        }
    }

    /// The candidates for the fastest on a device, as `kernel/variant`; some may turn out not to support the shape.
    pub fn candidates(&self, caps: &Caps) -> Vec<String> {
        let hopeless = |kernel: &KernelDef| match self {
            Self::Matmul(product) => product.is_hopeless(kernel, caps),
            Self::Flash(_) => caps.is_cpu && kernel.name.contains("_tiled_"),
        };
        let of = |kernel: &'static KernelDef| {
            let fitting = kernel.variants.iter().filter(|v| v.fits(caps) && caps.is_cpu >= v.name.starts_with("cpu"));
            // if a kernel has a variant for the device's subgroups, its other variants are several times slower
            let for_subgroups = fitting.clone().any(|v| v.subgroup != 0);
            fitting.filter(move |v| v.subgroup != 0 || !for_subgroups).map(|v| format!("{}/{}", kernel.name, v.name))
        };
        self.kernels().into_iter().filter(|kernel| !hopeless(kernel)).flat_map(of).collect()
    }

    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        match self {
            Self::Matmul(product) => product.flops(),
            Self::Flash(flash) => flash.flops(),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matmul(product) => product.fmt(f),
            Self::Flash(flash) => flash.fmt(f),
        }
    }
}

impl From<Probe> for Task {
    fn from(product: Probe) -> Self {
        Self::Matmul(product)
    }
}

impl From<FlashProbe> for Task {
    fn from(flash: FlashProbe) -> Self {
        Self::Flash(flash)
    }
}

impl LowerCtx<'_> {
    /// Notes a task and returns the choice tuned for it, if any.
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
