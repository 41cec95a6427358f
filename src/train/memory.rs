//! Estimates the memory of a run, compares it with what is available, and suggests what to change.

use std::fmt;

use super::{Session, SessionError};
use crate::graph::{Graph, Recompute};
use crate::kernel::{Caps, Choice};
use crate::model::{CachedGpt, Gpt, Memory, Purpose, ReadBack};
use crate::plan::{Plan, share};
use crate::run::RunConfig;
use crate::units::human_bytes;

/// The memory that a run needs. Units: bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The buffers of the training program: what the plan lists.
    pub training: u64,
    /// What evaluation and samples need in addition: most of their activations share the training program's buffers.
    pub evaluation: u64,
    /// Pieces of tensors in transfer to and from the device.
    pub transfers: u64,
    /// Compiled kernels on the host, an estimate.
    pub kernels: u64,
    /// What the process used before.
    pub process: Process,
}

/// The memory of a process before it creates anything for a model: the program itself, the open driver, the tokens of
/// its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Units: bytes, now.
    pub now: u64,
    /// Units: bytes, the peak so far, as while a text was read.
    pub peak: u64,
    /// Whether the device's driver has no compiled kernels cached, and must compile them.
    pub compiles: bool,
}

impl Process {
    /// The memory of this process; 0 if the system doesn't report it.
    pub fn now() -> Process {
        let now = resident_bytes();
        Process { now, peak: peak_bytes().max(now), compiles: false }
    }
}

impl MemoryEstimate {
    /// Estimates a run. `process` is what the process uses already.
    ///
    /// # Errors
    ///
    /// A configuration that can't be planned on the device.
    pub fn of(config: &RunConfig, caps: &Caps, process: Process) -> Result<Self, SessionError> {
        // a piece and its staging buffer
        const TRANSFERS: u64 = 8 << 20;
        let choice = Choice::default();
        let training = Session::plan(&config.session(), caps, &choice)?;
        let (model, t) = (&config.model, config.model.block_size);
        let (mut evaluation, mut plans) = (0, vec![training]);
        // a program reuses the buffers of another one as far as they are large enough
        let mut add = |graph: Graph, lender: usize| -> Result<usize, SessionError> {
            let plan = Plan::new(graph, caps, &choice)?;
            let shared = share(&plan.buffers, &plans[lender].buffers);
            let own = plan.buffers.iter().zip(shared).filter(|(_, shared)| shared.is_none());
            evaluation += own.map(|(buffer, _)| buffer.bytes).sum::<u64>() + plan.uniform.len() as u64;
            plans.push(plan);
            Ok(plans.len() - 1)
        };
        if config.data.val_fraction > 0.0 {
            let memory = Memory { loss_chunk: config.train.loss_chunk, ..Memory::default() };
            add(Gpt::build(model, Purpose::Loss, config.session().rows(), ReadBack::default(), memory)?.graph, 0)?;
        }
        if config.train.sample_every > 0 {
            // a sample longer than a block continues with half of it
            let again = (t / 2).next_power_of_two().min(t);
            let decode = add(CachedGpt::decode(model, 1)?.graph, 0)?;
            add(CachedGpt::prefill(model, 1, again)?.graph, decode)?;
        }
        // measured: the memory Mesa 22 needs to compile kernels, relative to loading them; the same in Mesa 26
        let is_twice = process.compiles && caps.is_cpu && !caps.vector_loads;
        let kernels = Plan::kernel_bytes(&plans) * if is_twice { 2 } else { 1 };
        let training = plans[0].total_bytes();
        Ok(Self { training, evaluation, transfers: TRANSFERS, kernels, process })
    }

    /// The memory needed on the device.
    pub fn device(&self) -> u64 {
        self.training + self.evaluation + self.transfers
    }

    /// The memory of the process on a device that shares its memory: all of it.
    pub fn total(&self) -> u64 {
        (self.device() + self.kernels + self.process.now).max(self.process.peak)
    }
}

/// The memory available to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBudget {
    /// A device with its own memory, whose size drivers don't report.
    Unknown,
    /// The limit for buffers on a device with its own memory: `--memory`.
    Device(u64),
    /// The limit for the whole process, if the device uses the machine's memory: what is free, or `--memory`.
    Process(u64),
}

/// Whether a device's buffers are in the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharesMemory(pub bool);

impl MemoryBudget {
    /// The memory available on a device that uses the machine's (`shares_memory`) or its own; `limit` is what the
    /// user allows.
    pub fn of(shares: SharesMemory, limit: Option<u64>) -> Self {
        // an estimate guarantees nothing, and others use the machine, too
        const SHARE: f64 = 0.9;
        match (shares.0, limit) {
            (true, Some(limit)) => Self::Process(limit),
            (true, None) => {
                let free = (free_bytes() as f64 * SHARE) as u64;
                if free == 0 { Self::Unknown } else { Self::Process(free + resident_bytes()) }
            }
            (false, Some(limit)) => Self::Device(limit),
            (false, None) => Self::Unknown,
        }
    }

    /// The part of an estimate that counts against this budget, and the budget. Units: bytes.
    fn compare(self, footprint: &MemoryEstimate) -> Option<(u64, u64)> {
        match self {
            Self::Unknown => None,
            Self::Device(there) => Some((footprint.device(), there)),
            Self::Process(there) => Some((footprint.total(), there)),
        }
    }

    /// Whether a run fits; true if unknown.
    pub fn holds(self, footprint: &MemoryEstimate) -> bool {
        self.compare(footprint).is_none_or(|(needs, there)| needs <= there)
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("an unknown amount, until it is allocated"),
            Self::Device(bytes) => write!(f, "{} on the device", human_bytes(*bytes)),
            Self::Process(bytes) => write!(f, "{}", human_bytes(*bytes)),
        }
    }
}

/// Why a run can't start with the given memory or batch.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// More memory than available.
    #[error("this run needs {needs} of memory, but may use {room}; {remedies}")]
    Memory {
        /// The memory it needs, in words.
        needs: String,
        /// The memory available.
        room: MemoryBudget,
        /// Flags with which it fits.
        remedies: String,
    },
    /// A number of tokens that isn't a multiple of the row length.
    #[error("--batch-tokens {tokens} is not a multiple of --block-size {t}; the nearest are {below} and {above}")]
    Rows {
        /// The tokens requested.
        tokens: u64,
        /// Tokens per row.
        t: u64,
        /// The next smaller multiple, at least one row.
        below: u64,
        /// The next larger multiple.
        above: u64,
    },
    /// A plan that can't be made.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// What may change about a run so that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Free {
    /// The rows computed at once, and what is recomputed: for a new run.
    Batch,
    /// Only what is recomputed: a resumed run keeps the rest.
    Recompute,
}

/// Checks that a run fits, before anything is allocated.
///
/// # Errors
///
/// [`FitError::Memory`] with flags that make it fit, if there are any.
pub fn check(
    config: &RunConfig,
    caps: &Caps,
    room: MemoryBudget,
    process: Process,
    free: Free,
) -> Result<MemoryEstimate, FitError> {
    let footprint = MemoryEstimate::of(config, caps, process)?;
    match room.compare(&footprint) {
        Some((needs, there)) if needs > there => {
            let remedies = remedies(config, caps, room, process, free);
            Err(FitError::Memory { needs: human_bytes(needs), room, remedies })
        }
        _ => Ok(footprint),
    }
}

/// Checks that a run fits before its text is read, which needs memory of its own. `config` has the smallest vocabulary
/// that the run may have, and `process` is what the process uses without a text.
///
/// # Errors
///
/// [`FitError::Memory`] with flags that may make it fit.
pub fn check_without_text(
    config: &RunConfig,
    caps: &Caps,
    room: MemoryBudget,
    process: Process,
    free: Free,
) -> Result<(), FitError> {
    let Some((needs, there)) = room.compare(&MemoryEstimate::of(config, caps, process)?) else { return Ok(()) };
    if needs <= there {
        return Ok(());
    }
    let remedies = remedies(config, caps, room, process, free)
        .replace("it fits with", "depending on the size of the text, it may fit with");
    Err(FitError::Memory { needs: format!("at least {}", human_bytes(needs)), room, remedies })
}

/// The flags with which a run needs the least memory, and how much that is in bytes.
fn least(config: &RunConfig, caps: &Caps, room: MemoryBudget, process: Process, free: Free) -> (String, u64) {
    let rows = config.train.batch_size.saturating_mul(config.train.grad_accum);
    let recompute = Recompute::ALL.last().copied().unwrap_or(config.train.recompute);
    let (mut smallest, flags) = match free {
        Free::Batch => {
            let accum = if rows > 1 { format!(" --grad-accum {rows}") } else { String::new() };
            (with_rows(config, 1, rows), format!("--batch-size 1{accum} --recompute {recompute}"))
        }
        Free::Recompute => (config.clone(), format!("--recompute {recompute}")),
    };
    smallest.train.recompute = recompute;
    let needs = MemoryEstimate::of(&smallest, caps, process).ok().and_then(|footprint| room.compare(&footprint));
    (flags, needs.map_or(u64::MAX, |(needs, _)| needs))
}

/// What to do about a run that doesn't fit even with the flags that need the least memory.
fn too_large(flags: &str, least: u64, free: Free) -> String {
    let change = match free {
        Free::Batch => "use a smaller --block-size or model, or raise --memory",
        Free::Recompute => "a resumed run keeps its model and batch, so raise --memory",
    };
    format!("with {flags} it needs {}, which is too much, too: {change}", human_bytes(least))
}

/// Chooses the rows of a micro-batch and the number of micro-batches for this many tokens per step: as many rows as
/// fit.
///
/// # Errors
///
/// [`FitError::Rows`], or [`FitError::Memory`] if not even one row fits.
pub fn choose_batch(
    config: &RunConfig,
    caps: &Caps,
    room: MemoryBudget,
    process: Process,
    tokens: u64,
) -> Result<(u64, u64), FitError> {
    let t = config.row_size().max(1);
    if tokens == 0 || !tokens.is_multiple_of(t) {
        let below = (tokens / t).max(1) * t;
        return Err(FitError::Rows { tokens, t, below, above: below + t });
    }
    let rows = tokens / t;
    let fits = |b: &u64| {
        let config = with_rows(config, *b, rows / b);
        MemoryEstimate::of(&config, caps, process).is_ok_and(|footprint| room.holds(&footprint))
    };
    if let Some(b) = divisors(rows).find(fits) {
        return Ok((b, rows / b));
    }
    // fails with the reason: one row is too much
    check(&with_rows(config, 1, rows), caps, room, process, Free::Batch)?;
    Ok((1, rows))
}

/// The next smaller micro-batch with the same tokens per step.
pub fn smaller_batch(config: &RunConfig) -> Option<RunConfig> {
    let rows = config.train.batch_size * config.train.grad_accum;
    let b = divisors(rows).find(|&b| b < config.train.batch_size)?;
    Some(with_rows(config, b, rows / b))
}

/// Divisors, the largest first; of a huge number, only those small enough for a micro-batch.
fn divisors(n: u64) -> impl Iterator<Item = u64> {
    const MAX_ROWS: u64 = 262_000;
    (1..=n.min(MAX_ROWS)).rev().filter(move |&d| n.is_multiple_of(d))
}

fn with_rows(config: &RunConfig, batch_size: u64, grad_accum: u64) -> RunConfig {
    let train = crate::run::TrainConfig { batch_size, grad_accum, ..config.train.clone() };
    RunConfig { train, ..config.clone() }
}

/// Suggests flags with which the run fits and computes the same steps; those that cost the least time first.
///
/// For a device that turned out to be full, `room` is a little less than what the run needs.
pub fn remedies(config: &RunConfig, caps: &Caps, room: MemoryBudget, process: Process, free: Free) -> String {
    // the memory of a process varies a little from one start to the next
    const MARGIN: u64 = 4 << 20;
    let counted = Process { now: process.now + MARGIN, peak: process.peak + MARGIN, ..process };
    let rows = config.train.batch_size.saturating_mul(config.train.grad_accum);
    let (mut found, mut most) = (vec![], 0);
    let later = Recompute::ALL.into_iter().skip_while(|&r| r != config.train.recompute);
    for (i, recompute) in later.enumerate() {
        let fits = |b: u64| {
            let mut config = with_rows(config, b, rows / b);
            config.train.recompute = recompute;
            MemoryEstimate::of(&config, caps, counted).is_ok_and(|footprint| room.holds(&footprint))
        };
        let again = if i == 0 { String::new() } else { format!("--recompute {recompute}") };
        if i > 0 && fits(config.train.batch_size) {
            found.push(again);
            break;
        }
        let smaller = divisors(rows).filter(|&b| b < config.train.batch_size && free == Free::Batch).find(|&b| fits(b));
        if let Some(b) = smaller.filter(|&b| b > most) {
            most = b;
            found.push(format!("--batch-size {b} --grad-accum {} {again}", rows / b).trim_end().into());
        }
    }
    match found.split_last() {
        None => {
            let (flags, least) = least(config, caps, room, counted, free);
            too_large(&flags, least, free)
        }
        Some((last, [])) => format!("it fits with {last}"),
        Some((last, rest)) => format!("it fits with {}, or with {last}", rest.join(", with ")),
    }
}

/// The resident memory of this process; 0 if the system doesn't report it.
pub fn resident_bytes() -> u64 {
    let Ok(pid) = sysinfo::get_current_pid() else { return 0 };
    let mut system = sysinfo::System::new();
    let memory = sysinfo::ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(sysinfo::ProcessesToUpdate::Some(&[pid]), false, memory);
    system.process(pid).map_or(0, sysinfo::Process::memory)
}

/// The peak memory of this process; 0 if the system doesn't report it.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// The free memory of the machine, or of the process's control group; 0 if the system doesn't report it.
fn free_bytes() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory_specifics(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    system.available_memory().min(limit)
}

/// Parses a number of bytes as in `--memory`: `1500M`, `1.5G`, `800MiB`, `1000000`; K, M and G are 1,024 to the
/// first, second and third power.
///
/// # Errors
///
/// The expected form.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[number.len()..].to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 0,
    };
    match number.trim().parse::<f64>() {
        // more bytes than memory can be addressed with are a mistake
        Ok(n) if n > 0.0 && n * unit as f64 <= 2f64.powi(62) && unit > 0 => Ok((n * unit as f64) as u64),
        _ => Err("expected a size such as 1500M or 1.5G".into()),
    }
}
