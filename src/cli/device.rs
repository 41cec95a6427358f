//! Which device a command uses.

use std::sync::Arc;

use clap::Args;

use crate::gpu::{AdapterReport, DeviceSelector, Gpu, GpuError, GpuOptions, find_adapter};

/// Which device, and how its shaders are compiled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device")]
pub(super) struct DeviceArgs {
    /// Adapter by index or by part of its name, as `tril devices` lists them [default: the fastest kind there is].
    #[arg(long, value_name = "NAME|INDEX")]
    device: Option<DeviceSelector>,
    /// Keep bounds checks in the shaders: slower, for hunting down a driver's fault.
    #[arg(long)]
    checked: bool,
}

impl DeviceArgs {
    pub fn options(&self) -> GpuOptions {
        GpuOptions { selector: self.device.clone().unwrap_or_default(), checked: self.checked }
    }

    /// The adapter, without opening it.
    pub fn find(&self) -> Result<AdapterReport, GpuError> {
        find_adapter(&self.options().selector)
    }

    pub fn open(&self) -> Result<Arc<Gpu>, GpuError> {
        Gpu::open(&self.options())
    }

    /// The flags that give these.
    pub fn as_flags(&self) -> Vec<String> {
        let device = self.device.iter().map(|device| format!("--device={device}"));
        device.chain(self.checked.then(|| "--checked".to_string())).collect()
    }
}
