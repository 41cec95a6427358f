//! The device: adapters, limits, pipelines. Only this module and `exec` name wgpu types.

mod adapter;
mod compiling;
mod pipelines;
mod unguarded;

pub use adapter::{AdapterReport, DeviceSelector, EmptyName, adapters, find_adapter};
pub use compiling::Compiling;
pub(crate) use pipelines::Pipeline;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::kernel::Caps;
use crate::plan::Pace;

/// Errors of opening or using a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No adapter exists.
    #[error(
        "no GPU adapter found; install a Vulkan driver (on Debian or Ubuntu `apt-get install mesa-vulkan-drivers` gives a software one), or see `tril devices`"
    )]
    NoAdapter,
    /// No adapter has that name or index.
    #[error("no adapter matches --device {wanted}; available: {there}")]
    NoSuchAdapter {
        /// The name or index asked for.
        wanted: String,
        /// The adapters that exist.
        there: String,
    },
    /// The name matches several adapters.
    #[error("--device {wanted} matches several adapters: {matching}; give the index or more of the name")]
    SeveralAdapters {
        /// The name asked for.
        wanted: String,
        /// The matching adapters.
        matching: String,
    },
    /// The adapter can't be opened.
    #[error("{adapter} can't be opened: {reason}; try another with --device")]
    Open {
        /// The adapter.
        adapter: String,
        /// wgpu's reason.
        reason: String,
    },
    /// The device ran out of memory.
    #[error(
        "{device} is out of memory; use a smaller --batch-size, --block-size or model (`tril plan` shows what each takes)"
    )]
    OutOfMemory {
        /// The device.
        device: String,
    },
    /// The device was lost.
    #[error("{device} was lost: {reason}; the last checkpoint is intact; continue with --resume")]
    Lost {
        /// The device.
        device: String,
        /// The driver's reason.
        reason: String,
    },
    /// wgpu reported a bug of tril.
    #[error("{device}: {reason}; this is a bug in tril, please report it with the command line")]
    Validation {
        /// The device.
        device: String,
        /// wgpu's reason.
        reason: String,
    },
}

/// An open device.
#[derive(Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    caps: Caps,
    report: AdapterReport,
    checked: bool,
    pipelines: Mutex<HashMap<pipelines::Key, Arc<pipelines::Pipeline>>>,
    failure: Arc<Mutex<Option<GpuError>>>,
    pace: Mutex<Pace>,
    compiling: compiling::Listener,
}

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Which adapter.
    pub selector: DeviceSelector,
    /// Keep naga's bounds checks in the shaders: slower, but an out-of-bounds access does no harm.
    pub checked: bool,
}

impl Gpu {
    /// Opens a device with all limits that its adapter offers.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if no adapter matches or it can't be opened.
    pub fn open(options: &GpuOptions) -> Result<Arc<Self>, GpuError> {
        let (adapter, report) = adapter::select(&options.selector)?;
        let open_error =
            |e: wgpu::RequestDeviceError| GpuError::Open { adapter: report.name.clone(), reason: e.to_string() };
        let limits = adapter.limits();
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tril"),
            required_features: adapter.features() & wanted,
            required_limits: limits,
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        };
        // a checked device keeps the driver's checks too: naga leaves to the driver what the driver can check
        let unguarded =
            if report.caps.vector_loads && !options.checked { unguarded::open(&adapter, &descriptor) } else { None };
        let (device, queue) = match unguarded {
            Some(opened) => opened,
            None => pollster::block_on(adapter.request_device(&descriptor)).map_err(open_error)?,
        };
        let failure = Arc::new(Mutex::new(None));
        let record = |failure: &Arc<Mutex<Option<GpuError>>>, error: GpuError| {
            // the first failure is the cause; the rest follow from it
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        let (name, seen) = (report.to_string(), failure.clone());
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| record(&seen, gpu_error(&name, &e))));
        let (name, seen) = (report.to_string(), failure.clone());
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                record(&seen, GpuError::Lost { device: name.clone(), reason: message });
            }
        });
        let caps = report.caps.clone();
        let is_cpu = caps.is_cpu;
        Ok(Arc::new(Self {
            device,
            queue,
            caps,
            report,
            checked: options.checked,
            pipelines: Mutex::default(),
            failure,
            pace: Mutex::new(Pace::new(is_cpu)),
            compiling: compiling::Listener::default(),
        }))
    }

    /// The device's limits and properties.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// The adapter's name, driver and backend, as printed with every result.
    pub fn name(&self) -> String {
        self.report.to_string()
    }

    /// The adapter's properties.
    pub fn report(&self) -> &AdapterReport {
        &self.report
    }

    /// Returns the first failure that the driver or wgpu reported outside an error scope, if any.
    ///
    /// # Errors
    ///
    /// That failure.
    pub fn check(&self) -> Result<(), GpuError> {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Whether shaders keep their bounds checks.
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// Waits until all submitted work is done.
    ///
    /// # Errors
    ///
    /// The device is lost, or any failure reported so far.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.poll(wgpu::PollType::wait_indefinitely())
    }

    /// Waits only until a submission is done.
    pub(crate) fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        self.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })
    }

    /// Reads or updates what is known of the device's speed.
    pub(crate) fn with_pace<T>(&self, f: impl FnOnce(&mut Pace) -> T) -> T {
        f(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the device supports timestamps.
    pub fn has_timestamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Loses the device, imitating a driver that resets it: for tests of the recovery.
    pub fn lose(&self) {
        let lost = GpuError::Lost { device: self.name(), reason: "it was destroyed".into() };
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(lost);
        self.device.destroy();
    }

    pub(crate) fn poll(&self, how: wgpu::PollType) -> Result<(), GpuError> {
        let polled = self.device.poll(how);
        self.check()?;
        polled.map(|_| ()).map_err(|e| GpuError::Lost { device: self.name(), reason: e.to_string() })
    }

    /// Runs `make` in error scopes and returns wgpu's errors.
    pub(crate) fn scoped<T>(&self, make: impl FnOnce() -> T) -> Result<T, GpuError> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = make();
        let internal = pollster::block_on(internal.pop());
        let memory = pollster::block_on(memory.pop());
        let validation = pollster::block_on(validation.pop());
        match memory.or(validation).or(internal) {
            Some(error) => Err(gpu_error(&self.name(), &error)),
            None => Ok(made),
        }
    }
}

fn gpu_error(device: &str, error: &wgpu::Error) -> GpuError {
    let device = device.to_string();
    match error {
        wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { device },
        other => GpuError::Validation { device, reason: other.to_string() },
    }
}
