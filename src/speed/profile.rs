use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Peaks;
use crate::exec::{HostTime, Timings};
use crate::ops::Cost;
use crate::plan::Plan;
use crate::units::count;

/// Measurements around the timed dispatches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spans {
    /// Number of steps with timed dispatches, and of as many untimed steps.
    pub n_step: u64,
    /// Wall time of the untimed steps.
    pub plain: Duration,
    /// Wall time of the timed steps.
    pub timed: Duration,
    /// The host's cost of the untimed steps.
    pub host: HostTime,
}

/// One op, or one kernel of an op.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The op's name, or `kernel/variant`.
    pub name: String,
    /// Total dispatches.
    pub calls: u64,
    /// Total nanoseconds.
    pub ns: u64,
    /// Total minimum work. A kernel's is its share of the op's by invocations, so only an op's rates are shown.
    pub cost: Cost,
}

impl Row {
    fn add(&mut self, ns: u64, cost: Cost) {
        self.calls += 1;
        self.ns += ns;
        self.cost.flops += cost.flops;
        self.cost.bytes += cost.bytes;
    }

    /// Floating-point operations per second.
    pub fn flops_per_s(&self) -> f64 {
        self.cost.flops as f64 * 1e9 / self.ns.max(1) as f64
    }

    /// Bytes per second, each tensor counted once.
    pub fn bytes_per_s(&self) -> f64 {
        self.cost.bytes as f64 * 1e9 / self.ns.max(1) as f64
    }

    /// Its rates as fractions of the peaks, from 0 to 1: operations, bytes.
    fn of_peaks(&self, peaks: Peaks) -> [f64; 2] {
        [self.flops_per_s() / peaks.flops_per_s, self.bytes_per_s() / peaks.bytes_per_s].map(|share| share.min(1.0))
    }
}

/// Below this many nanoseconds an op's time is mostly the clock's resolution, so its rates mean nothing.
const MIN_NS: u64 = 20_000;

/// Raises the peaks to the rates that ops reached, and names what reached each.
fn raised(mut peaks: Peaks, rows: &[(Row, Vec<Row>)]) -> (Peaks, [String; 2]) {
    let mut by = ["a matrix product".to_string(), "adding tensors".to_string()];
    for (op, _) in rows.iter().filter(|(op, _)| op.ns >= MIN_NS) {
        let of = |peak: &mut f64, by: &mut String, rate: f64| {
            if rate > *peak {
                (*peak, *by) = (rate, op.name.clone());
            }
        };
        of(&mut peaks.flops_per_s, &mut by[0], op.flops_per_s());
        of(&mut peaks.bytes_per_s, &mut by[1], op.bytes_per_s());
    }
    (peaks, by)
}

/// Where the time of some training steps went.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The device.
    pub device: String,
    /// Its peak rates: as measured, or as reached by an op of these steps if that is more.
    pub peaks: Peaks,
    /// The op that reached each peak.
    pub peaks_of: [String; 2],
    /// The measurements around the timed dispatches.
    pub spans: Spans,
    /// Whether the times are from the device's timestamps.
    pub by_device: bool,
    /// Ops by time, each with its kernels.
    pub rows: Vec<(Row, Vec<Row>)>,
    /// The longest dispatch: nanoseconds, and its place in the model.
    pub longest: (u64, String),
    trace: Vec<Value>,
}

impl Profile {
    /// Sums up the timings of a plan's dispatches.
    pub fn new(plan: &Plan, timings: &Timings, spans: Spans, peaks: Peaks, device: &str) -> Self {
        let mut ops: BTreeMap<&str, (Row, BTreeMap<String, Row>)> = BTreeMap::new();
        let mut longest = (0, String::new());
        let mut trace = vec![
            json!({ "ph": "M", "pid": 1, "name": "process_name", "args": { "name": format!("tril on {device}") } }),
            json!({ "ph": "M", "pid": 1, "tid": 1, "name": "thread_name", "args": { "name": "dispatches" } }),
        ];
        let row = |name: &str| Row { name: name.into(), calls: 0, ns: 0, cost: Cost::default() };
        for timed in &timings.dispatches {
            let step = &plan.steps[timed.step];
            let dispatch = &step.dispatch;
            let kernel = format!("{}/{}", dispatch.kernel.name, dispatch.variant.name);
            let (op, kernels) = ops.entry(step.op).or_insert_with(|| (row(step.op), BTreeMap::new()));
            op.add(timed.ns, step.cost);
            kernels.entry(kernel.clone()).or_insert_with(|| row(&kernel)).add(timed.ns, step.cost);
            if timed.ns > longest.0 {
                longest = (timed.ns, format!("{kernel} at {}", step.label));
            }
            trace.push(json!({
                "ph": "X", "pid": 1, "tid": 1, "name": kernel, "cat": step.op,
                "ts": timed.start_ns as f64 / 1e3, "dur": timed.ns as f64 / 1e3,
                "args": { "at": step.label, "workgroups": dispatch.groups, "flops": step.cost.flops, "bytes": step.cost.bytes },
            }));
        }
        let by_time = |a: &Row, b: &Row| (b.ns, &a.name).cmp(&(a.ns, &b.name));
        let mut rows: Vec<(Row, Vec<Row>)> = ops
            .into_values()
            .map(|(op, kernels)| {
                let mut kernels: Vec<Row> = kernels.into_values().collect();
                kernels.sort_by(by_time);
                (op, kernels)
            })
            .collect();
        rows.sort_by(|a, b| by_time(&a.0, &b.0));
        let (peaks, peaks_of) = raised(peaks, &rows);
        Self { device: device.into(), peaks, peaks_of, spans, by_device: timings.by_device, rows, longest, trace }
    }

    /// Total nanoseconds of all dispatches.
    pub fn busy_ns(&self) -> u64 {
        self.rows.iter().map(|(op, _)| op.ns).sum()
    }

    /// One event per dispatch, in Chrome's trace format, which <https://ui.perfetto.dev> opens. Times are microseconds.
    pub fn trace(&self) -> Value {
        json!({ "traceEvents": self.trace, "displayTimeUnit": "ms", "otherData": { "device": self.device } })
    }

    /// The table's values.
    pub fn to_json(&self) -> Value {
        let n = self.spans.n_step.max(1) as f64;
        let ms = |ns: u64| ns as f64 / n / 1e6;
        let ops: Vec<Value> = self
            .rows
            .iter()
            .map(|(op, kernels)| {
                let kernels: Vec<Value> = kernels
                    .iter()
                    .map(|k| json!({ "kernel": k.name, "calls_per_step": k.calls as f64 / n, "ms_per_step": ms(k.ns) }))
                    .collect();
                let [of_matmul_peak, of_copy_peak] = op.of_peaks(self.peaks);
                json!({
                    "op": op.name, "calls_per_step": op.calls as f64 / n, "ms_per_step": ms(op.ns),
                    "share": op.ns as f64 / self.busy_ns().max(1) as f64, "gflops": op.flops_per_s() / 1e9,
                    "gbytes_per_s": op.bytes_per_s() / 1e9, "of_matmul_peak": of_matmul_peak, "of_copy_peak": of_copy_peak,
                    "kernels": kernels,
                })
            })
            .collect();
        json!({
            "device": self.device, "steps": self.spans.n_step, "by_device_timestamps": self.by_device,
            "step_ms": self.spans.plain.as_secs_f64() * 1e3 / n, "timed_step_ms": self.spans.timed.as_secs_f64() * 1e3 / n,
            "kernels_ms": ms(self.busy_ns()), "host_us_per_dispatch": self.spans.host.us_per_dispatch(),
            "dispatches_per_step": self.spans.host.n_dispatch as f64 / n,
            "command_buffers_per_step": self.spans.host.n_submit as f64 / n,
            "peak_gflops": self.peaks.flops_per_s / 1e9, "peak_gbytes_per_s": self.peaks.bytes_per_s / 1e9,
            "peak_gflops_of": self.peaks_of[0], "peak_gbytes_per_s_of": self.peaks_of[1],
            "longest_dispatch_ms": self.longest.0 as f64 / 1e6, "longest_dispatch": self.longest.1, "ops": ops,
        })
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.spans.n_step.max(1) as f64;
        let (busy, ms) = (self.busy_ns().max(1), |ns: u64| ns as f64 / n / 1e6);
        writeln!(f, "{} on {}", count(self.spans.n_step, "step"), self.device)?;
        if !self.by_device {
            writeln!(
                f,
                "(no device timestamps: each dispatch was submitted and waited for alone, and its time includes that)"
            )?;
        }
        writeln!(
            f,
            "{:<36} {:>6} {:>9} {:>7} {:>9} {:>7} {:>8}",
            "per step", "calls", "ms", "share", "GFLOP/s", "GB/s", "of peak"
        )?;
        for (op, kernels) in &self.rows {
            let [flops, bytes] = op.of_peaks(self.peaks);
            let of_peak =
                if flops >= bytes { format!("{:.0}% F", flops * 100.0) } else { format!("{:.0}% B", bytes * 100.0) };
            writeln!(
                f,
                "{:<36} {:>6.0} {:>9.3} {:>6.1}% {:>9.2} {:>7.2} {of_peak:>8}",
                op.name,
                op.calls as f64 / n,
                ms(op.ns),
                op.ns as f64 * 100.0 / busy as f64,
                op.flops_per_s() / 1e9,
                op.bytes_per_s() / 1e9
            )?;
            for kernel in kernels {
                let share = kernel.ns as f64 * 100.0 / busy as f64;
                let name = format!("  {}", kernel.name);
                writeln!(f, "{name:<36} {:>6.0} {:>9.3} {share:>6.1}%", kernel.calls as f64 / n, ms(kernel.ns))?;
            }
        }
        let step = |wall: Duration| wall.as_secs_f64() * 1e3 / n;
        let (plain, timed) = (step(self.spans.plain), step(self.spans.timed));
        writeln!(
            f,
            "all kernels      {:.3} ms, the longest {:.3} ms ({})",
            ms(busy),
            self.longest.0 as f64 / 1e6,
            self.longest.1
        )?;
        let share = ms(busy) / plain.max(1e-9) * 100.0;
        writeln!(
            f,
            "step             {plain:.3} ms untimed, of which kernels are {share:.0}%; {timed:.3} ms while timed"
        )?;
        let host = self.spans.host;
        writeln!(
            f,
            "host             {:.2} us per dispatch; {:.0} dispatches in {:.0} command buffers",
            host.us_per_dispatch(),
            host.n_dispatch as f64 / n,
            host.n_submit as f64 / n
        )?;
        write!(
            f,
            "peak             highest seen here: {:.1} GFLOP/s (F) in {}, {:.1} GB/s (B) in {}",
            self.peaks.flops_per_s / 1e9,
            self.peaks_of[0],
            self.peaks.bytes_per_s / 1e9,
            self.peaks_of[1]
        )
    }
}
