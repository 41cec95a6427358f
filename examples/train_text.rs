//! A whole training through the library, as `tril train` does it: text in, a run on the disk out.
//!
//! `cargo run --release --example train_text -- input.txt`

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use tril::job::{Progress, TrainJob};
use tril::train::Event;

#[allow(dead_code, reason = "a test uses the rest")]
fn main() -> Result<(), Box<dyn Error>> {
    let out = train(std::env::args_os().skip(1).map(Into::into).collect(), None, 200)?;
    println!("generate text with: tril generate {}", out.display());
    Ok(())
}

/// Trains a small model; a test runs it, too.
pub fn train(paths: Vec<PathBuf>, out: Option<PathBuf>, steps: u64) -> Result<PathBuf, Box<dyn Error>> {
    let mut job = TrainJob { out, ..TrainJob::of_preset("nano", paths)? };
    job.config.train.steps = steps;
    job.config.train.eval_every = 50;
    // set it from a signal handler or another thread to stop early; the run can be resumed
    let stop = AtomicBool::new(false);
    let trained = job.run(&stop, &mut |progress| match progress {
        Progress::Device(gpu) => println!("device: {}", gpu.name()),
        Progress::Created { root, .. } => println!("run: {}", root.display()),
        Progress::Training(Event::Eval { step, loss, .. }) => println!("step {step}: validation loss {loss:.4}"),
        _ => {}
    })?;
    Ok(trained.root)
}
