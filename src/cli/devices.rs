use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Outcome;
use crate::gpu::{GpuError, adapters};

/// List the adapters, with the limits and features that matter.
///
/// Lists the adapters; the index is what --device takes.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DevicesArgs) -> Outcome {
    let adapters = adapters();
    if adapters.is_empty() {
        return Err(GpuError::NoAdapter.into());
    }
    for (index, a) in adapters.iter().enumerate() {
        let c = &a.caps;
        if args.json {
            let features: serde_json::Map<_, _> =
                a.features.iter().map(|(n, has)| (n.to_string(), json!(has))).collect();
            let line = json!({
                "index": index, "name": a.name, "backend": a.backend, "driver": a.driver, "kind": a.kind,
                "max_binding_bytes": c.max_binding_bytes, "max_buffer_bytes": c.max_buffer_bytes,
                "max_storage_buffers": c.max_storage_buffers, "max_workgroup_bytes": c.max_workgroup_bytes,
                "max_invocations": c.max_invocations, "subgroup_size": a.subgroup_size, "features": features,
            });
            outln!("{line}");
            continue;
        }
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        outln!("{index}  {} [{}]", a.name, a.kind);
        outln!("   backend          {}, driver {}", a.backend, a.driver);
        outln!("   largest          binding {}, buffer {}", mib(c.max_binding_bytes), mib(c.max_buffer_bytes));
        outln!(
            "   workgroup        {} invocations, {} KiB memory; {} storage buffers per kernel",
            c.max_invocations,
            c.max_workgroup_bytes >> 10,
            c.max_storage_buffers
        );
        let yes_no: Vec<String> =
            a.features.iter().map(|(n, has)| format!("{n} {}", if *has { "yes" } else { "no" })).collect();
        outln!("   features         {} (size {} to {})", yes_no.join(", "), a.subgroup_size.0, a.subgroup_size.1);
    }
    Ok(ExitCode::SUCCESS)
}
