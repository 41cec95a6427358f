use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Outcome, llvmpipe_width};
use crate::gpu::{GpuError, adapters};

/// List the adapters, with the limits and features that matter.
///
/// Pass an adapter's index, or part of its name, to the --device flag of other commands.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// Print one JSON object per line.
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
        if let Some(line) = llvmpipe_width::line(a) {
            outln!("   vectors          {line}");
        }
        let features: Vec<String> = a.features.iter().map(|&(name, has)| feature(name, has, a.subgroup_size)).collect();
        outln!("   features         {}", features.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// A feature and whether the device has it; for subgroups also their size.
fn feature(name: &str, has: bool, (min, max): (u32, u32)) -> String {
    match (name, has) {
        ("subgroups", true) if min == max => format!("subgroups of {min}"),
        ("subgroups", true) => format!("subgroups of {min} to {max}"),
        (_, true) => name.to_string(),
        (_, false) => format!("no {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::feature;

    #[test]
    fn only_subgroups_have_sizes() {
        for (name, has, sizes, text) in [
            ("subgroups", true, (16, 16), "subgroups of 16"),
            ("subgroups", true, (8, 32), "subgroups of 8 to 32"),
            ("subgroups", false, (0, 0), "no subgroups"),
            ("f16", true, (16, 16), "f16"),
            ("cooperative matrices", false, (16, 16), "no cooperative matrices"),
        ] {
            assert_eq!(feature(name, has, sizes), text);
        }
    }
}
