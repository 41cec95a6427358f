//! How much work goes into one command buffer: little at first, then as much as the device has shown to do in 0.15 s, or on
//! a software device in 8 s.

/// What a device has shown of its speed.
///
/// Windows resets a GPU whose command buffer runs for 2 s, and nobody knows how fast a GPU is before it has run something.
/// So the first command buffers are small and waited for, each at most [`Pace::GROWTH`] times the largest that was, until
/// their size is limited by the time that they take.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Nanoseconds that a command buffer should take.
    target_ns: f64,
    /// Nanoseconds of a unit of work.
    ns_per_work: Option<f64>,
    /// The most work of a command buffer that is known to have ended.
    proven: u64,
}

impl Pace {
    /// Work of the very first command buffer: 32 ms on a device that does 1 GFLOP/s.
    pub const FIRST: u64 = 32_000_000;
    /// How many times the largest proven command buffer the next one may be.
    pub const GROWTH: u64 = 4;
    /// The time that a command buffer should take on a GPU. The estimate is an average: a command buffer of slow kernels may
    /// take several times as long, and is still far from 2 s.
    pub const TARGET_NS: f64 = 1.5e8;
    /// The same on a software device, which nothing resets and no screen waits for. Each command buffer takes the host 200 us
    /// there, of the time of a core that computes.
    pub const TARGET_NS_CPU: f64 = 8e9;

    /// Nothing known yet; `is_cpu`: of a software device.
    pub fn new(is_cpu: bool) -> Self {
        let target_ns = if is_cpu { Self::TARGET_NS_CPU } else { Self::TARGET_NS };
        Self { target_ns, ns_per_work: None, proven: 0 }
    }

    /// The most work that the next command buffer should have.
    pub fn budget(&self) -> u64 {
        self.affordable().min(self.grown()).max(1)
    }

    /// Whether a larger command buffer may follow once this one was measured: then it is worth waiting for.
    pub fn is_ramping(&self) -> bool {
        self.grown() < self.affordable()
    }

    /// Takes in that `work`, in command buffers of at most `largest`, took at most `ns` nanoseconds.
    pub fn measured(&mut self, work: u64, largest: u64, ns: u64) {
        if work == 0 || ns == 0 {
            return;
        }
        self.proven = self.proven.max(largest);
        let seen = ns as f64 / work as f64;
        // a measurement holds all that kept the device from working, kernels being compiled above all: it can be too long,
        // and never too short
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

/// How many of the next dispatches go into a command buffer of at most `budget`: one at least.
pub fn n_within(work: impl IntoIterator<Item = u64>, budget: u64) -> usize {
    let mut total = 0u64;
    let fits = |w: &u64| {
        total = total.saturating_add(*w);
        total <= budget
    };
    work.into_iter().take_while(fits).count().max(1)
}
