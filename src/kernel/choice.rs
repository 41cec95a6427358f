use std::collections::BTreeMap;

use super::{Caps, KernelDef, Variant};

/// Which variant of each kernel to use: pinned by name, or by the kind of device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    pinned: BTreeMap<String, String>,
}

impl Choice {
    /// Pins a kernel to a variant by name; a kernel without a variant of that name keeps its usual choice.
    #[must_use]
    pub fn pin(mut self, kernel: &str, variant: &str) -> Self {
        self.pinned.insert(kernel.into(), variant.into());
        self
    }

    /// The name pinned to a kernel or to a family of kernels.
    pub fn pinned(&self, kernel: &str) -> Option<&str> {
        self.pinned.get(kernel).map(String::as_str)
    }

    /// The variant for a kernel on a device: the pinned one, else `cpu` on a software device, else the first that the
    /// device's workgroup limits allow. The plan's check rejects one that doesn't fit.
    pub fn variant(&self, kernel: &'static KernelDef, caps: &Caps) -> &'static Variant {
        if let Some(variant) = self.pinned.get(kernel.name).and_then(|name| kernel.variant(name)) {
            return variant;
        }
        if let Some(variant) = kernel.variant("cpu").filter(|_| caps.is_cpu) {
            return variant;
        }
        let fits = |v: &&Variant| {
            v.workgroup.iter().product::<u32>() <= caps.max_invocations && v.workgroup_bytes <= caps.max_workgroup_bytes
        };
        kernel.variants.iter().find(fits).unwrap_or(&kernel.variants[0])
    }
}
