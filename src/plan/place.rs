use super::Step;
use super::slots::{Interval, assign};
use crate::graph::{Graph, SLAB_ALIGN_ELEMS, SLAB_DTYPE};
use crate::tensor::{Role, TensorId};

/// One buffer of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferPlan {
    /// Its name: that of a slab or tensor, or `slot.I`.
    pub label: String,
    /// The role of its contents.
    pub role: Role,
    /// Its size.
    pub bytes: u64,
}

/// The location of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into the plan's buffers.
    pub buffer: usize,
    /// Offset of its first element.
    pub offset_bytes: u64,
}

/// Places every tensor: parameters, gradients and the optimizer's state in slabs; activations in slots shared by
/// tensors with disjoint lifetimes; everything else in a buffer of its own, with `guard_bytes` of room on both sides.
pub fn place(graph: &Graph, steps: &[Step], guard_bytes: u64) -> (Vec<BufferPlan>, Vec<Place>) {
    let mut buffers: Vec<BufferPlan> = vec![];
    let mut places: Vec<Option<Place>> = vec![None; graph.tensors.len()];
    let mut add = |label: String, role, bytes: u64| {
        // an empty buffer can't be bound
        buffers.push(BufferPlan { label, role, bytes: bytes.max(1).next_multiple_of(16) });
        buffers.len() - 1
    };

    for (i, slab) in graph.slabs.iter().enumerate() {
        let bytes = slab.n_elem.max(SLAB_ALIGN_ELEMS) * SLAB_DTYPE.bytes();
        let has_grads = slab.members.iter().any(|m| m.grad.is_some());
        let params = add(format!("params.{i}"), Role::Param, bytes);
        let grads = has_grads.then(|| add(format!("grads.{i}"), Role::Grad, bytes));
        for member in &slab.members {
            let offset_bytes = member.start * SLAB_DTYPE.bytes();
            places[member.param.0] = Some(Place { buffer: params, offset_bytes });
            if let (Some(buffer), Some(grad)) = (grads, member.grad) {
                places[grad.0] = Some(Place { buffer, offset_bytes });
            }
        }
        if let Some(whole) = &slab.whole {
            let mut put = |tensor: TensorId, buffer| places[tensor.0] = Some(Place { buffer, offset_bytes: 0 });
            put(whole.params, params);
            grads.into_iter().for_each(|grads| put(whole.grads, grads));
            for &(name, tensor) in &whole.state {
                put(tensor, add(format!("{name}.{i}"), Role::OptimizerState, bytes));
            }
        }
    }

    let intervals = lifetimes(graph, steps);
    let slots = assign(&intervals);
    let first_slot: Vec<usize> =
        slots.bytes.iter().enumerate().map(|(i, &bytes)| add(format!("slot.{i}"), Role::Activation, bytes)).collect();
    for (interval, (slot, &offset_bytes)) in intervals.iter().zip(slots.slot.iter().zip(&slots.offset)) {
        places[interval.tensor.0] = Some(Place { buffer: first_slot[*slot], offset_bytes });
    }

    for (spec, place) in graph.tensors.iter().zip(&mut places) {
        if place.is_none() && spec.role != Role::Activation {
            let buffer = add(spec.name.clone(), spec.role, spec.bytes() + 2 * guard_bytes);
            *place = Some(Place { buffer, offset_bytes: guard_bytes });
        }
    }
    // an activation that no node touches may be anywhere
    let anywhere = Place { buffer: 0, offset_bytes: 0 };
    (buffers, places.into_iter().map(|place| place.unwrap_or(anywhere)).collect())
}

/// Finds buffers of another plan to reuse, if the two plans never run at once: parameters, constants and state with the
/// same name and size are shared, and activations use the other's slots if those are large enough.
pub fn share(wanted: &[BufferPlan], there: &[BufferPlan]) -> Vec<Option<usize>> {
    let mut shared = vec![None; wanted.len()];
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(wanted[i].bytes));
    let mut free: Vec<usize> = (0..there.len()).filter(|&i| there[i].role == Role::Activation).collect();
    free.sort_by_key(|&i| there[i].bytes);
    for i in order {
        let buffer = &wanted[i];
        match buffer.role {
            Role::Param | Role::Const | Role::State => shared[i] = there.iter().position(|b| b == buffer),
            Role::Activation => {
                if let Some(at) = free.iter().position(|&j| there[j].bytes >= buffer.bytes) {
                    shared[i] = Some(free.remove(at));
                }
            }
            _ => {}
        }
    }
    shared
}

/// The nodes that touch each activation. Scratch that the device's kernels don't use takes almost no memory.
pub(super) fn lifetimes(graph: &Graph, steps: &[Step]) -> Vec<Interval> {
    let mut is_bound = vec![false; graph.tensors.len()];
    for range in steps.iter().flat_map(|s| &s.dispatch.bind) {
        is_bound[range.tensor.0] = true;
    }
    let mut intervals: Vec<Option<Interval>> = vec![None; graph.tensors.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for &tensor in node.inputs.iter().chain(&node.outputs) {
            let spec = graph.spec(tensor);
            if spec.role == Role::Activation {
                let bytes = if is_bound[tensor.0] { spec.bytes() } else { spec.dtype.bytes() };
                let fresh = || Interval { tensor, first: index, last: index, nodes: vec![], bytes };
                let interval = intervals[tensor.0].get_or_insert_with(fresh);
                interval.last = index;
                interval.nodes.push(index);
            }
        }
    }
    // an activation that no node touches has no lifetime
    intervals.into_iter().flatten().collect()
}
