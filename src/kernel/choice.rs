use std::collections::BTreeMap;

use super::{Caps, KernelDef, Variant};

/// The kernels that do one thing in different ways, each for a kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Tiles in workgroup memory, for GPUs.
    Tiled,
    /// Each invocation by itself, for software devices.
    Direct,
    /// Numbers passed around a subgroup, for software devices.
    Shuffle,
    /// Straight-line code, for software devices with vector loads.
    Straight,
}

impl Family {
    /// The family of that name in a kernel's: `matmul_tiled4` is of `tiled`.
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

/// Which variant of each kernel to use: pinned by name, tuned for a task, or by the kind of device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    pinned: BTreeMap<String, String>,
    preferred: Option<&'static str>,
    /// `kernel/variant` by the key of a task.
    tuned: BTreeMap<String, String>,
}

impl Choice {
    /// Pins a kernel to a variant by name; a kernel without a variant of that name keeps its usual choice.
    #[must_use]
    pub fn pin(mut self, kernel: &str, variant: &str) -> Self {
        self.pinned.insert(kernel.into(), variant.into());
        self
    }

    /// What a GPU would run, on any device: the `default` variants and the tiled matmul and attention. Slow on a software
    /// device, and there the way to test them.
    pub fn gpu_family() -> Self {
        Self { preferred: Some("default"), ..Self::default() }.pin("matmul", "tiled").pin("attention_flash", "tiled")
    }

    /// The name pinned to a kernel or to a family of kernels.
    pub fn pinned(&self, kernel: &str) -> Option<&str> {
        self.pinned.get(kernel).map(String::as_str)
    }

    /// The family pinned to what several do.
    pub fn family(&self, stem: &str) -> Option<Family> {
        self.pinned(stem).and_then(Family::named)
    }

    /// Whether a device can run every variant that is pinned.
    pub fn fits(&self, caps: &Caps) -> bool {
        let pinned = |kernel: &KernelDef| self.pinned(kernel.name).and_then(|name| kernel.variant(name));
        super::ALL.iter().filter_map(|kernel| pinned(kernel)).all(|variant| variant.fits(caps))
    }

    /// What was measured to be fastest: `kernel/variant` by the key of a task ([`crate::ops::Task`]).
    pub fn of_tuned(tuned: BTreeMap<String, String>) -> Self {
        Self { tuned, ..Self::default() }
    }

    /// What was tuned, by the keys of the tasks.
    pub fn tuned(&self) -> &BTreeMap<String, String> {
        &self.tuned
    }

    /// For a task that was tuned, a choice with its family of kernels and its kernel pinned to what was found. What was
    /// pinned by hand stays. The family of `matmul_direct_vec4` is `matmul`, and its name there is `direct`: what comes behind says only how it loads.
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

    /// The variant for a kernel on a device: the pinned one, else on a software device the first whose name begins with
    /// `cpu` and that fits, else the first that fits. The plan's check rejects one that doesn't fit.
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
