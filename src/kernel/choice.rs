use std::collections::BTreeMap;

use super::{Caps, KernelDef, Variant};

/// Kernels that compute the same thing in different ways, each for a kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Tiles in workgroup memory, for GPUs.
    Tiled,
    /// Each invocation on its own, for software devices.
    Direct,
    /// Values passed between the lanes of a subgroup, for software devices.
    Shuffle,
    /// Straight-line code, for software devices with vector loads.
    Straight,
}

impl Family {
    /// The family named in a kernel's name: `matmul_tiled4` belongs to `tiled`.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "tiled" => Self::Tiled,
            "direct" => Self::Direct,
            "shuffle" => Self::Shuffle,
            "straight" => Self::Straight,
            _ => return None,
        })
    }
}

/// Which variant of each kernel to use: pinned by name, tuned for a task, or chosen by the kind of device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    pinned: BTreeMap<String, String>,
    preferred: Option<&'static str>,
    /// The tuned `kernel/variant`, by the key of a task.
    tuned: BTreeMap<String, String>,
}

impl Choice {
    /// Pins a kernel to a variant by name. A kernel without such a variant keeps its usual choice.
    #[must_use]
    pub fn pin(mut self, kernel: &str, variant: &str) -> Self {
        self.pinned.insert(kernel.into(), variant.into());
        self
    }

    /// The choice of a GPU, for any device: the `default` variants and the tiled matmul and attention. It is slow on a
    /// software device, and the way to test these kernels there.
    pub fn gpu_family() -> Self {
        Self { preferred: Some("default"), ..Self::default() }.pin("matmul", "tiled").pin("attention_flash", "tiled")
    }

    /// The name pinned to a kernel or to a family of kernels.
    pub fn pinned(&self, kernel: &str) -> Option<&str> {
        self.pinned.get(kernel).map(String::as_str)
    }

    /// The family pinned for a stem.
    pub fn family(&self, stem: &str) -> Option<Family> {
        self.pinned(stem).and_then(Family::named)
    }

    /// Whether a device can run every pinned variant.
    pub fn fits(&self, caps: &Caps) -> bool {
        let pinned = |kernel: &KernelDef| self.pinned(kernel.name).and_then(|name| kernel.variant(name));
        super::ALL.iter().filter_map(|kernel| pinned(kernel)).all(|variant| variant.fits(caps))
    }

    /// A choice from tuning results: the fastest `kernel/variant` by the key of a task ([`crate::ops::Task`]).
    pub fn of_tuned(tuned: BTreeMap<String, String>) -> Self {
        Self { tuned, ..Self::default() }
    }

    /// The tuning results, by the keys of the tasks.
    pub fn tuned(&self) -> &BTreeMap<String, String> {
        &self.tuned
    }

    /// The choice for a tuned task, with the kernel's family and the kernel itself pinned to the result. Whatever was
    /// pinned by hand stays. The family of `matmul_direct_vec4` is `matmul`, and its name there is `direct`: the suffix
    /// only says how it loads.
    pub fn for_task(&self, family: &str, key: &str) -> Option<Self> {
        let (kernel, variant) = self.tuned.get(key)?.split_once('/')?;
        let member = kernel.strip_prefix(family)?.trim_start_matches('_').split('_').next()?;
        let member = member.trim_end_matches(|c: char| c.is_ascii_digit());
        if self.pinned(family).is_some() || self.pinned(kernel).is_some() {
            return None;
        }
        let pinned = Self { pinned: self.pinned.clone(), preferred: self.preferred, tuned: BTreeMap::new() };
        Some(pinned.pin(family, member).pin(kernel, variant))
    }

    /// The variant of a kernel to use on a device: the pinned one, else on a software device the first that fits and
    /// whose name begins with `cpu`, else the first that fits. The plan's check rejects a pinned one that doesn't fit.
    pub fn variant(&self, kernel: &'static KernelDef, caps: &Caps) -> &'static Variant {
        if let Some(variant) = self.pinned.get(kernel.name).and_then(|name| kernel.variant(name)) {
            return variant;
        }
        if let Some(variant) = self.preferred.and_then(|name| kernel.variant(name)).filter(|v| v.fits(caps)) {
            return variant;
        }
        let mut fitting = kernel.variants.iter().filter(|v| v.fits(caps));
        let for_cpu = fitting.clone().find(|v| caps.is_cpu && v.name.starts_with("cpu"));
        for_cpu.or_else(|| fitting.next()).unwrap_or(&kernel.variants[0])
    }
}
