use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::tensor::TensorId;

/// The lifetime of an activation: from the first to the last node that touches it, both included, so that an op's input
/// and output never share memory by accident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The activation.
    pub tensor: TensorId,
    /// First node.
    pub first: usize,
    /// Last node.
    pub last: usize,
    /// Every node that touches it, in order.
    pub nodes: Vec<usize>,
    /// Size in bytes.
    pub bytes: u64,
}

impl Interval {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether some node touches both, so that they need different buffers.
    fn works_with(&self, other: &Self) -> bool {
        let (short, long) = if self.nodes.len() < other.nodes.len() { (self, other) } else { (other, self) };
        short.nodes.iter().any(|n| long.nodes.binary_search(n).is_ok())
    }
}

/// The slot of each activation, its offset there, and the size of each slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// Slot of each interval, in the order given.
    pub slot: Vec<usize>,
    /// Offset of each interval in its slot, bytes.
    pub offset: Vec<u64>,
    /// Size of each slot.
    pub bytes: Vec<u64>,
}

/// Offsets are multiples of this: the largest binding alignment of any device.
const ALIGN: u64 = 256;

/// Shares slots by lifetime: one activation at a time in a slot or, if that wastes more than 3 % over the maximum alive
/// at once, several side by side. The result depends on the intervals alone.
///
/// Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288, sections 4
/// and 5.
pub fn assign(intervals: &[Interval]) -> Slots {
    let whole = one_at_a_time(intervals);
    let taken = |s: &Slots| s.bytes.iter().sum::<u64>();
    if taken(&whole) as f64 <= most_alive(intervals) as f64 * 1.03 {
        return whole;
    }
    let shared = side_by_side(intervals);
    if taken(&shared) < taken(&whole) { shared } else { whole }
}

fn largest_first(intervals: &[Interval]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| (Reverse(intervals[i].bytes), intervals[i].first, intervals[i].tensor));
    order
}

/// Places the largest activation first, each into the tightest slot that is free during its whole lifetime.
fn one_at_a_time(intervals: &[Interval]) -> Slots {
    let mut slots = Slots { slot: vec![0; intervals.len()], offset: vec![0; intervals.len()], bytes: vec![] };
    let mut tenants: Vec<Vec<usize>> = vec![];
    for i in largest_first(intervals) {
        // each slot was made for an equal or larger tensor, so every free one fits; the last made is the tightest
        let is_free = |s: &usize| !tenants[*s].iter().any(|&j| intervals[j].meets(&intervals[i]));
        let s = (0..tenants.len()).rev().find(is_free).unwrap_or_else(|| {
            tenants.push(vec![]);
            slots.bytes.push(intervals[i].bytes);
            tenants.len() - 1
        });
        tenants[s].push(i);
        slots.slot[i] = s;
    }
    slots
}

/// Places the largest activation first, each into the tightest gap of any slot that holds nothing it is used with.
fn side_by_side(intervals: &[Interval]) -> Slots {
    let mut slots = Slots { slot: vec![0; intervals.len()], offset: vec![0; intervals.len()], bytes: vec![] };
    let mut tenants: Vec<Vec<usize>> = vec![];
    for i in largest_first(intervals) {
        let gap = |s: usize| -> Option<(u64, usize, u64)> {
            let mut there: Vec<usize> =
                tenants[s].iter().copied().filter(|&j| intervals[j].meets(&intervals[i])).collect();
            if there.iter().any(|&j| intervals[j].works_with(&intervals[i])) {
                return None;
            }
            there.sort_by_key(|&j| slots.offset[j]);
            let starts = there.iter().map(|&j| slots.offset[j]).chain([slots.bytes[s]]);
            let mut free_from = 0;
            let mut best = None;
            for (k, end) in starts.enumerate() {
                let room = end.saturating_sub(free_from);
                if room >= intervals[i].bytes && best.is_none_or(|(b, _, _)| room < b) {
                    best = Some((room, s, free_from));
                }
                if let Some(&j) = there.get(k) {
                    free_from = free_from.max((slots.offset[j] + intervals[j].bytes).next_multiple_of(ALIGN));
                }
            }
            best
        };
        let found = (0..tenants.len()).filter_map(gap).min_by_key(|&(room, s, _)| (room, Reverse(s)));
        let (s, offset) = found.map(|(_, s, offset)| (s, offset)).unwrap_or_else(|| {
            tenants.push(vec![]);
            slots.bytes.push(intervals[i].bytes);
            (tenants.len() - 1, 0)
        });
        tenants[s].push(i);
        slots.slot[i] = s;
        slots.offset[i] = offset;
    }
    slots
}

/// The most bytes alive at once: no sharing takes less.
pub fn most_alive(intervals: &[Interval]) -> u64 {
    let mut change = BTreeMap::<usize, (u64, u64)>::new();
    for i in intervals {
        change.entry(i.first).or_default().0 += i.bytes;
        change.entry(i.last + 1).or_default().1 += i.bytes;
    }
    let (mut alive, mut most) = (0u64, 0u64);
    for (born, dead) in change.into_values() {
        alive = alive + born - dead;
        most = most.max(alive);
    }
    most
}
