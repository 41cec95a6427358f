//! The command line: parses, calls the library, prints.

#[macro_use]
mod stdout;

mod bench;
mod device;
mod devices;
mod doctor;
mod estimate;
mod eval;
mod export;
mod generate;
mod import;
mod itself;
mod kernels;
mod llvmpipe_width;
mod logits;
mod misuse;
mod numbers;
mod phases;
mod plan;
mod prompt;
mod reading;
mod replay;
mod run_text;
mod self_check;
mod settings;
mod signals;
mod token_files;
mod tokenize;
mod train;
mod tune;
mod which;
mod wrap;

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::misuse::is_misuse;
use crate::exec::ExecError;
use crate::files::unfinished::{self, Unfinished};
use crate::gpu::GpuError;
use crate::train::{RunError, SessionError};

/// Train GPTs on whatever GPU you have: hand-written WGSL on Vulkan, Metal or DX12.
#[derive(Debug, Parser)]
#[command(name = "tril", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// each command's help is the documentation of its arguments
#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Generate(generate::GenerateArgs),
    Eval(eval::EvalArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Logits(logits::LogitsArgs),
    Tokenize(tokenize::TokenizeArgs),
    Replay(replay::ReplayArgs),
    Plan(Box<plan::PlanArgs>),
    Kernels(Box<kernels::KernelsArgs>),
    Bench(bench::BenchArgs),
    Devices(devices::DevicesArgs),
    Doctor(doctor::DoctorArgs),
    Tune(Box<tune::TuneArgs>),
}

impl Command {
    /// Whether to look up or measure a software device's vector width; `None` if the command opens no device.
    fn vectors(&self) -> Option<llvmpipe_width::Need> {
        match self {
            Self::Tokenize(_) | Self::Import(_) | Self::Export(_) => None,
            Self::Devices(_) => Some(llvmpipe_width::Need::Known),
            _ => Some(llvmpipe_width::Need::Measured),
        }
    }
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Fails early if `path` can't be written. An existing file is left as it is; a file that this creates counts as
/// unfinished.
fn must_be_writable(flag: &str, path: &Path) -> Result<Option<Unfinished>, String> {
    let is_new = !path.exists();
    let opened = File::options().append(true).create(true).open(path);
    opened.map_err(|e| format!("{flag} {}: {e}; choose another", path.display()))?;
    Ok(is_new.then(|| Unfinished::new(path)))
}

/// Exit codes that a script may want to react to.
const MISUSE: u8 = 2;
const DIVERGED: u8 = 3;
const DEVICE_LOST: u8 = 4;
const OUT_OF_MEMORY: u8 = 5;

/// The exit code of an error.
fn code_of(error: &(dyn Error + 'static)) -> u8 {
    if is_misuse(error) {
        return MISUSE;
    }
    let run = error.downcast_ref::<RunError>();
    if error.is::<train::OutOfMemory>() {
        return OUT_OF_MEMORY;
    }
    if matches!(run, Some(RunError::Diverged { .. })) {
        return DIVERGED;
    }
    let of_run = if let Some(RunError::Session(session)) = run { Some(session) } else { None };
    let session = of_run.or_else(|| error.downcast_ref());
    let of_session = if let Some(SessionError::Exec(exec)) = session { Some(exec) } else { None };
    let exec = of_session.or_else(|| error.downcast_ref());
    let of_exec = if let Some(ExecError::Gpu(gpu)) = exec { Some(gpu) } else { None };
    match of_exec.or_else(|| error.downcast_ref()) {
        Some(GpuError::Lost { .. }) => DEVICE_LOST,
        Some(GpuError::OutOfMemory { .. }) => OUT_OF_MEMORY,
        _ => 1,
    }
}

/// Runs the command line and returns its exit code: 0 on success or after training was stopped and saved; 1 on failure,
/// also to write standard output; 2 on wrong usage; 3 if training diverged; 4 if the device was lost; 5 if it is out of
/// memory. A signal that ends any other command gives 128 plus its number.
pub fn main() -> ExitCode {
    signals::survive_file_limits();
    let matches = numbers::with_negative(Cli::command()).try_get_matches();
    let matches = matches.unwrap_or_else(|e| numbers::reworded(e).exit());
    let command = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit()).command;
    let watched = signals::watch().map_err(Box::from);
    if let (Some(need), Some((_, flags))) = (command.vectors(), matches.subcommand()) {
        llvmpipe_width::widen(need, flags);
    }
    if matches!(command, Command::Train(_)) {
        stdout::report_at_once();
    }
    let outcome = watched.and_then(|()| match command {
        Command::Train(args) => train::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Tune(args) => tune::run(&args),
    });
    phases::end_training();
    unfinished::wait_if_ending();
    let code = outcome.unwrap_or_else(|error| {
        // the terminal may be gone; the exit code still reports the error
        errln!("error: {error}");
        ExitCode::from(code_of(error.as_ref()))
    });
    match stdout::write_error().filter(|_| code == ExitCode::SUCCESS) {
        None => code,
        Some(error) => {
            errln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_errors_keep_their_exit_code_when_wrapped() {
        let device = || "a device".to_string();
        for (gpu, code) in [
            (GpuError::Lost { device: device(), reason: String::new() }, 4),
            (GpuError::OutOfMemory { device: device() }, 5),
            (GpuError::NoAdapter, 1),
        ] {
            let exec = ExecError::Gpu(gpu.clone());
            let session = SessionError::Exec(exec.clone());
            let run = RunError::Session(session.clone());
            let errors: [Box<dyn Error>; 4] = [gpu.into(), exec.into(), session.into(), run.into()];
            assert_eq!(errors.map(|error| code_of(error.as_ref())), [code; 4]);
        }
        let wanted = || "x".to_string();
        for gpu in [
            GpuError::NoSuchAdapter { wanted: wanted(), there: String::new() },
            GpuError::SeveralAdapters { wanted: wanted(), matching: String::new() },
        ] {
            assert_eq!(code_of(&gpu), 2);
        }
        assert_eq!(code_of(&RunError::Diverged { reason: String::new() }), 3);
        assert_eq!(code_of(&RunError::Unsaved { reason: String::new() }), 1);
    }
}
