use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::phases::{self, Shows};
use super::settings::DeviceArgs;
use crate::train::evidence::{self, Replayed};

/// Do a step again whose loss or gradients weren't finite, and say where that began.
///
/// Where a step gives something that isn't finite, `tril train` keeps the batch, the last checkpoint before the step and a first
/// report in RUN/nonfinite. This trains from that checkpoint up to the step, runs the step op by op with the batch that was kept,
/// and prints the first op whose output isn't finite and the gradients' norms by layer. The run's text is needed only where the
/// steps in between have too many tokens (a million) to be kept as well. Nothing is written.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A folder in RUN/nonfinite.
    #[arg(value_name = "RUN/nonfinite/STEP")]
    path: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &ReplayArgs) -> Outcome {
    let gpu = args.device.open()?;
    errln!("device: {}", gpu.name());
    phases::show(if args.json { Shows::Lines } else { Shows::Live });
    phases::begin("doing the step again");
    phases::follow(&gpu);
    let Replayed { evidence, note } = evidence::replay(&gpu, &args.path)?;
    phases::end();
    if let Some(note) = note {
        errln!("warning: {note}");
    }
    if args.json {
        outln!("{}", serde_json::to_string(&evidence)?);
    } else {
        outln!("{}", evidence.to_string().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
