//! Which device a command uses.

use std::sync::Arc;

use clap::Args;

use crate::gpu::{AdapterReport, DeviceSelector, Gpu, GpuError, GpuOptions, find_adapter};

/// The device to use, and how to compile its shaders.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device")]
pub(super) struct DeviceArgs {
    /// Adapter, by its index or part of its name in `tril devices` [default: the fastest kind available].
    #[arg(long, value_name = "NAME|INDEX")]
    device: Option<DeviceSelector>,
    /// Keep bounds checks in the shaders: slower, to track down a driver bug.
    #[arg(long)]
    checked: bool,
}

impl DeviceArgs {
    pub fn options(&self) -> GpuOptions {
        GpuOptions { selector: self.device.clone().unwrap_or_default(), checked: self.checked }
    }

    /// Finds the adapter without opening it.
    pub fn find(&self) -> Result<AdapterReport, GpuError> {
        find_adapter(&self.options().selector)
    }

    pub fn open(&self) -> Result<Arc<Gpu>, GpuError> {
        Gpu::open(&self.options())
    }

    /// The command-line flags that select the same device and options.
    pub fn as_flags(&self) -> Vec<String> {
        let device = self.device.iter().map(|device| format!("--device={device}"));
        device.chain(self.checked.then(|| "--checked".to_string())).collect()
    }
}
