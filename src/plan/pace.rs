//! The amount of work per command buffer: little at first, then as much as the device has proven to do in 0.15 s, or in
//! 8 s on a software device.

/// What is known of a device's speed.
///
/// Windows resets a GPU whose command buffer runs for 2 s, and a GPU's speed is unknown until it has run something. So
/// the first command buffers are small and waited for, each at most [`Pace::GROWTH`] times the largest before it, until
/// their duration limits their size.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Target duration of a command buffer, nanoseconds.
    target_ns: f64,
    /// Nanoseconds per unit of work.
    ns_per_work: Option<f64>,
    /// The most work in a command buffer that is known to have completed.
    proven: u64,
}

impl Pace {
    /// Work of the first command buffer: 32 ms on a device that does 1 GFLOP/s.
    pub const FIRST: u64 = 32_000_000;
    /// The maximum size of the next command buffer relative to the largest proven one.
    pub const GROWTH: u64 = 4;
    /// The target duration of a command buffer on a GPU. The estimate is an average: a command buffer of slow kernels
    /// may take several times as long, and still stays far below 2 s.
    pub const TARGET_NS: f64 = 1.5e8;
    /// The same on a software device, which nothing resets and no screen waits for. There each command buffer costs the
    /// host 200 us of a core that also computes.
    pub const TARGET_NS_CPU: f64 = 8e9;

    /// Starts with nothing known; `is_cpu` means a software device.
    pub fn new(is_cpu: bool) -> Self {
        let target_ns = if is_cpu { Self::TARGET_NS_CPU } else { Self::TARGET_NS };
        Self { target_ns, ns_per_work: None, proven: 0 }
    }

    /// Maximum work for the next command buffer.
    pub fn budget(&self) -> u64 {
        self.affordable().min(self.grown()).max(1)
    }

    /// Whether measuring this command buffer allows a larger one, so that it is worth waiting for.
    pub fn is_ramping(&self) -> bool {
        self.grown() < self.affordable()
    }

    /// Records that `work`, in command buffers of at most `largest`, took at most `ns` nanoseconds.
    pub fn measured(&mut self, work: u64, largest: u64, ns: u64) {
        if work == 0 || ns == 0 {
            return;
        }
        self.proven = self.proven.max(largest);
        let seen = ns as f64 / work as f64;
        // a measurement includes all delays, kernel compilation above all, so it can be too long but never too short
        self.ns_per_work = Some(self.ns_per_work.map_or(seen, |old| {
            let weight = if seen < old { 0.5 } else { 0.1 };
            old + weight * (seen - old)
        }));
    }

    fn affordable(&self) -> u64 {
        self.ns_per_work.map_or(u64::MAX, |ns| (self.target_ns / ns) as u64)
    }

    fn grown(&self) -> u64 {
        self.proven.saturating_mul(Self::GROWTH).max(Self::FIRST)
    }
}

/// How many of the next dispatches fit in a command buffer of at most `budget`; at least one.
pub fn n_within(work: impl IntoIterator<Item = u64>, budget: u64) -> usize {
    let mut total = 0u64;
    let fits = |w: &u64| {
        total = total.saturating_add(*w);
        total <= budget
    };
    work.into_iter().take_while(fits).count().max(1)
}
