//! The command line: parses, calls the library, prints.

/// Prints a line; a closed pipe or a full disk behind standard output must not end a training run, so errors are ignored.
macro_rules! outln {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

mod bench;
mod devices;
mod doctor;
mod eval;
mod export;
mod generate;
mod import;
mod kernels;
mod logits;
mod plan;
mod replay;
mod self_check;
mod settings;
mod token_files;
mod tokenize;
mod train;
mod tune;

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exec::ExecError;
use crate::gpu::GpuError;
use crate::train::{RunError, SessionError};

/// Train GPTs on the GPU that is there: hand-written WGSL on Vulkan, Metal or DX12.
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

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Fails on a file that couldn't be written in the end, before there is anything to lose. One that is there stays as it is.
fn must_be_writable(flag: &str, path: &Path) -> Result<(), String> {
    let opened = File::options().append(true).create(true).open(path);
    opened.map(|_| ()).map_err(|e| format!("{flag} {}: {e}; choose another", path.display()))
}

/// Exit codes for what a script may want to react to.
const DIVERGED: u8 = 3;
const DEVICE_LOST: u8 = 4;
const OUT_OF_MEMORY: u8 = 5;

/// The exit code of an error.
fn code_of(error: &(dyn Error + 'static)) -> u8 {
    let gpu = |error: &GpuError| match error {
        GpuError::Lost { .. } => DEVICE_LOST,
        GpuError::OutOfMemory { .. } => OUT_OF_MEMORY,
        _ => 1,
    };
    let exec = |error: &ExecError| if let ExecError::Gpu(error) = error { gpu(error) } else { 1 };
    match error.downcast_ref::<RunError>() {
        Some(RunError::Diverged { .. }) => DIVERGED,
        Some(RunError::Session(SessionError::Exec(error))) => exec(error),
        _ if error.is::<train::OutOfMemory>() => OUT_OF_MEMORY,
        _ => error.downcast_ref::<ExecError>().map_or(1, exec),
    }
}

/// Runs the command line and returns its exit code: 0 on success, 1 on failure, 2 on wrong usage; 3 where training has
/// diverged, 4 where the device was lost, 5 where it is out of memory.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
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
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(code_of(error.as_ref()))
    })
}
