use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::phases::{self, Shows};
use super::settings::DeviceArgs;
use crate::train::evidence::{self, Replayed};

/// Replay a step that produced NaN or infinity, and report the first op that did.
///
/// When a step's loss or gradients aren't finite, `tril train` keeps the batch, the last checkpoint before the step and
/// a first report in RUN/nonfinite. This command trains from that checkpoint up to the step, runs the step op by op on
/// the kept batch, and prints the first op whose output isn't finite and the gradients' norms by layer. It needs the
/// run's text only if the steps in between had too many tokens (over a million) to be kept too. Nothing is written.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Folder in RUN/nonfinite.
    #[arg(value_name = "RUN/nonfinite/STEP")]
    path: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &ReplayArgs) -> Outcome {
    let gpu = args.device.open()?;
    errln!("device: {}", gpu.name());
    phases::show(if args.json { Shows::Lines } else { Shows::Live });
    phases::begin("replaying the step");
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
