use crate::tensor::TensorId;

/// When an activation is alive: from the first to the last node that touches it, both included, so that an op's input
/// and output never share a slot by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The activation.
    pub tensor: TensorId,
    /// First node.
    pub first: usize,
    /// Last node.
    pub last: usize,
    /// Size.
    pub bytes: u64,
}

/// Which slot each activation lives in, and how large each slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// Slot of each interval, in the order given.
    pub slot: Vec<usize>,
    /// Size of each slot.
    pub bytes: Vec<u64>,
}

/// Greedy by size over shared objects: the largest activation first, each into the slot that is free during its whole
/// lifetime and fits tightest. The result depends on the intervals alone.
///
/// Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288, section 4.
pub fn assign(intervals: &[Interval]) -> Slots {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(intervals[i].bytes), intervals[i].first, intervals[i].tensor));
    let mut slot = vec![0; intervals.len()];
    let mut bytes: Vec<u64> = vec![];
    let mut tenants: Vec<Vec<usize>> = vec![];
    for i in order {
        let overlaps = |j: &usize| intervals[*j].first <= intervals[i].last && intervals[i].first <= intervals[*j].last;
        // slots were made by larger or equal tensors, so every free one fits; the last made is the tightest
        let free = (0..tenants.len()).rev().find(|&s| !tenants[s].iter().any(overlaps));
        let s = free.unwrap_or_else(|| {
            tenants.push(vec![]);
            bytes.push(intervals[i].bytes);
            tenants.len() - 1
        });
        tenants[s].push(i);
        slot[i] = s;
    }
    Slots { slot, bytes }
}
