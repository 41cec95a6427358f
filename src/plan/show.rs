use std::collections::BTreeMap;
use std::fmt;

use super::Plan;
use crate::graph::Phase;
use crate::tensor::Role;

/// Bytes in the unit that a person would use.
pub(crate) fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        10_000_000..=9_999_999_999 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device           {}", self.caps.name)?;
        let mut roles: BTreeMap<Role, u64> = self.bytes_by_role();
        writeln!(f, "memory           {} in {} buffers", human_bytes(self.total_bytes()), self.buffers.len())?;
        while let Some((role, bytes)) = roles.pop_first() {
            writeln!(f, "  {:<14} {:>12}", role.to_string(), human_bytes(bytes))?;
        }
        for (phase, name) in [(Phase::MicroBatch, "micro-batch"), (Phase::Update, "update")] {
            let (n, cost) = (self.n_dispatch(phase), self.cost.get(&phase).copied().unwrap_or_default());
            if n > 0 {
                let gflop = cost.flops as f64 / 1e9;
                writeln!(f, "{name:<16} {n} dispatches, {gflop:.3} GFLOP, {} moved at least", human_bytes(cost.bytes))?;
            }
        }
        let mut kernels: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for step in &self.steps {
            *kernels.entry((step.dispatch.kernel.name, step.dispatch.variant.name)).or_insert(0) += 1;
        }
        writeln!(f, "kernels")?;
        for ((kernel, variant), n) in kernels {
            writeln!(f, "  {:<34} {n:>5}", format!("{kernel}/{variant}"))?;
        }
        let (bytes, name) = self.largest_binding();
        write!(
            f,
            "largest binding  {} ({name}), the device allows {}",
            human_bytes(bytes),
            human_bytes(self.caps.max_binding_bytes)
        )
    }
}
