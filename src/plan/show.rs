use std::collections::BTreeMap;
use std::fmt;

use super::Plan;
use crate::graph::Phase;
use crate::tensor::Role;
use crate::units::{count, human_bytes};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device           {}", self.caps.name)?;
        let mut roles: BTreeMap<Role, u64> = self.bytes_by_role();
        writeln!(f, "memory           {} in {}", human_bytes(self.total_bytes()), count(self.buffers.len(), "buffer"))?;
        while let Some((role, bytes)) = roles.pop_first() {
            writeln!(f, "  {:<14} {:>12}", role.to_string(), human_bytes(bytes))?;
        }
        for (phase, name) in [(Phase::MicroBatch, "micro-batch"), (Phase::Update, "update")] {
            let (n, cost) = (self.n_dispatch(phase), self.cost.get(&phase).copied().unwrap_or_default());
            if n > 0 {
                let gflop = cost.flops as f64 / 1e9;
                let (n, moved) = (count(n as u64, "dispatch"), human_bytes(cost.bytes));
                writeln!(f, "{name:<16} {n}, {gflop:.3} GFLOP, {moved} moved at least")?;
            }
        }
        let mut kernels: BTreeMap<String, usize> = BTreeMap::new();
        for step in &self.steps {
            let name = format!("{}/{}", step.dispatch.kernel.name, step.dispatch.variant.name);
            *kernels.entry(name).or_insert(0) += 1;
        }
        let width = kernels.keys().map(String::len).max().unwrap_or(0);
        writeln!(f, "kernels")?;
        for (name, n) in kernels {
            writeln!(f, "  {name:<width$} {n:>5}")?;
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
