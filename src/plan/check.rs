use std::collections::HashSet;

use super::{Plan, Step};
use crate::kernel::{Access, Range};
use crate::tensor::Role;

/// A limit of the device that the plan exceeds, or a bug of ours, found before anything is allocated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A buffer exceeds the device's maximum.
    #[error(
        "{label} needs a buffer of {bytes} bytes, and {device} allows {limit}; use a smaller --batch-size, --block-size or model"
    )]
    Buffer {
        /// The buffer.
        label: String,
        /// Its size.
        bytes: u64,
        /// `max_buffer_size`.
        limit: u64,
        /// The device.
        device: String,
    },
    /// A dispatch exceeds a limit.
    #[error(
        "{kernel} at {label}: {what} is {value}, and {device} allows {limit}; use a smaller --batch-size, --block-size or model"
    )]
    Limit {
        /// The kernel.
        kernel: &'static str,
        /// The node.
        label: String,
        /// The limit.
        what: String,
        /// The value that the dispatch needs.
        value: u64,
        /// The value that the device allows.
        limit: u64,
        /// The device.
        device: String,
    },
    /// A bug of ours, found by checking the plan.
    #[error("{kernel} at {label}: {what}; this is a bug in tril, please report it with the command line")]
    Internal {
        /// The kernel.
        kernel: &'static str,
        /// The node.
        label: String,
        /// The fault.
        what: String,
    },
}

/// Checks every rule that wgpu enforces, and ours: bounds, alignment, aliasing, reads before writes.
pub fn check(plan: &Plan) -> Result<(), PlanError> {
    let caps = &plan.caps;
    for buffer in &plan.buffers {
        if buffer.bytes > caps.max_buffer_bytes {
            return Err(PlanError::Buffer {
                label: buffer.label.clone(),
                bytes: buffer.bytes,
                limit: caps.max_buffer_bytes,
                device: caps.name.clone(),
            });
        }
    }
    let mut written = HashSet::new();
    for step in &plan.steps {
        check_limits(plan, step)?;
        check_bindings(plan, step)?;
        let internal = |what: String| internal(step, what);
        let node = &plan.graph.nodes[step.node];
        for input in &node.inputs {
            let spec = plan.spec(*input);
            let host_or_kept = !matches!(spec.role, Role::Activation | Role::Output);
            if !host_or_kept && !written.contains(input) {
                return Err(internal(format!("{} is read before it is written", spec.name)));
            }
        }
        written.extend(node.outputs.iter().copied());
    }
    Ok(())
}

fn check_limits(plan: &Plan, step: &Step) -> Result<(), PlanError> {
    let (caps, dispatch) = (&plan.caps, &step.dispatch);
    let workgroup = dispatch.variant.workgroup;
    let invocations = workgroup.iter().map(|&n| u64::from(n)).product();
    let most_groups = dispatch.groups.iter().copied().max().unwrap_or(0).into();
    let bind_bytes = dispatch.bind.iter().map(|r| plan.spec(r.tensor).bytes_of(r.len)).max().unwrap_or(0);
    let limits = [
        ("storage buffers", dispatch.bind.len() as u64, caps.max_storage_buffers.into()),
        ("workgroups in one dimension", most_groups, caps.max_workgroups.into()),
        ("invocations per workgroup", invocations, caps.max_invocations.into()),
        ("workgroup memory in bytes", dispatch.variant.workgroup_bytes.into(), caps.max_workgroup_bytes.into()),
        ("largest binding in bytes", bind_bytes, caps.max_binding_bytes),
    ];
    let wanted = dispatch.variant.subgroup;
    if wanted != 0 && wanted != caps.subgroup {
        return Err(internal(step, format!("variant {} is for subgroups of {wanted}", dispatch.variant.name)));
    }
    let sizes = (0..3).map(|i| ("workgroup size", workgroup[i].into(), u64::from(caps.max_workgroup_size[i])));
    for (what, value, limit) in limits.into_iter().chain(sizes) {
        if value > limit {
            return Err(PlanError::Limit {
                kernel: dispatch.kernel.name,
                label: step.label.clone(),
                what: what.into(),
                value,
                limit,
                device: caps.name.clone(),
            });
        }
    }
    Ok(())
}

fn check_bindings(plan: &Plan, step: &Step) -> Result<(), PlanError> {
    let dispatch = &step.dispatch;
    let bindings = dispatch.kernel.bindings;
    if bindings.len() != dispatch.bind.len() {
        return Err(internal(step, format!("{} bindings for {}", dispatch.bind.len(), bindings.len())));
    }
    let bytes = |r: &Range| {
        let (place, spec) = (plan.places[r.tensor.0], plan.spec(r.tensor));
        let at = |elem: u64| place.offset_bytes + spec.bytes_of(elem);
        (place.buffer, at(r.start), at(r.start + r.len))
    };
    for (i, (binding, range)) in bindings.iter().zip(&dispatch.bind).enumerate() {
        let spec = plan.spec(range.tensor);
        let (buffer, start, end) = bytes(range);
        if range.start + range.len > spec.shape.numel() || range.len == 0 || end > plan.buffers[buffer].bytes {
            return Err(internal(step, format!("{} leaves {} {}", binding.name, spec.name, spec.shape)));
        }
        let is_aligned = start.is_multiple_of(plan.caps.storage_align);
        if !is_aligned || !spec.bytes_of(range.len).is_multiple_of(binding.elem_bytes.into()) {
            return Err(internal(
                step,
                format!("{} is bound to {} at byte {start}, unaligned", binding.name, spec.name),
            ));
        }
        for (other, other_range) in bindings.iter().zip(&dispatch.bind).take(i) {
            let (other_buffer, other_start, other_end) = bytes(other_range);
            let both_write = binding.access == Access::ReadWrite && other.access == Access::ReadWrite;
            let overlap = start < other_end && other_start < end;
            // wgpu allows one use of a whole buffer per dispatch; reading and writing are two
            if buffer == other_buffer && (binding.access != other.access || both_write && overlap) {
                return Err(internal(step, format!("{} and {} share a buffer", other.name, binding.name)));
            }
        }
    }
    Ok(())
}

fn internal(step: &Step, what: String) -> PlanError {
    PlanError::Internal { kernel: step.dispatch.kernel.name, label: step.label.clone(), what }
}
