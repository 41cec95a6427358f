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
mod generate;
mod kernels;
mod plan;
mod settings;
mod train;
mod tune;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Plan(Box<plan::PlanArgs>),
    Kernels(Box<kernels::KernelsArgs>),
    Bench(bench::BenchArgs),
    Devices(devices::DevicesArgs),
    Doctor(doctor::DoctorArgs),
    Tune(Box<tune::TuneArgs>),
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command line and returns its exit code: 0 on success, 1 on failure, 2 on wrong usage.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Tune(args) => tune::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
