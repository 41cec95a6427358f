//! The code shared by the Rust peers: presets, batch, flags, timing and the JSON line, the same as in `tril bench`.

use std::error::Error;
use std::fs::read_to_string;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

pub type AnyResult<T> = Result<T, Box<dyn Error>>;

pub const EPS: f64 = 1e-5;
pub const LEARNING_RATE: f64 = 1e-3;
pub const BETA1: f64 = 0.9;
pub const BETA2: f64 = 0.99;
pub const ADAM_EPS: f64 = 1e-8;
pub const WEIGHT_DECAY: f64 = 0.1;
pub const MAX_NORM: f64 = 1.0;

/// A model with learned positions and a tied head, and a batch.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    pub name: &'static str,
    pub n_layer: usize,
    pub n_head: usize,
    pub n_embd: usize,
    pub t: usize,
    pub b: usize,
    pub vocab_size: usize,
    /// Biases in linear and norm layers.
    pub bias: bool,
}

const PRESETS: [Preset; 3] = [
    Preset { name: "xs", n_layer: 4, n_head: 4, n_embd: 128, t: 128, b: 8, vocab_size: 256, bias: false },
    Preset { name: "s", n_layer: 6, n_head: 6, n_embd: 384, t: 256, b: 12, vocab_size: 65, bias: false },
    Preset { name: "gpt2", n_layer: 12, n_head: 12, n_embd: 768, t: 256, b: 1, vocab_size: 50_257, bias: true },
];

impl Preset {
    /// Standard deviations of the initial values of a matrix and of a residual projection.
    pub fn std(&self) -> (f64, f64) {
        (0.02, 0.02 / (2.0 * self.n_layer as f64).sqrt())
    }

    /// The tokens of `tril bench`, and the targets: meaningless, spread over the vocabulary.
    pub fn batch(&self) -> (Vec<u32>, Vec<u32>) {
        let ids: Vec<u32> = (0..=self.b * self.t).map(|i| ((i * 31 + i / 7) % self.vocab_size) as u32).collect();
        (ids[..ids.len() - 1].to_vec(), ids[1..].to_vec())
    }
}

/// Times a training step and prints one JSON line.
#[derive(Debug, Parser)]
pub struct Args {
    /// xs, s or gpt2
    #[arg(long, default_value = "xs", value_parser = preset)]
    pub preset: Preset,
    /// Which backend of the peer, where it has several
    #[arg(long, default_value = "")]
    pub backend: String,
    /// Maximum steps that count
    #[arg(long, default_value_t = 200)]
    steps: usize,
    /// Maximum seconds that count, after three steps
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Steps before the first that counts
    #[arg(long, default_value_t = 4)]
    warm_up: usize,
}

fn preset(name: &str) -> Result<Preset, String> {
    let found = PRESETS.into_iter().find(|p| p.name == name);
    found.ok_or_else(|| format!("unknown preset {name}; available: xs, s, gpt2"))
}

/// The program being measured.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    pub version: &'static str,
    pub backend: String,
    pub device: String,
    pub n_param: usize,
}

impl Args {
    /// Runs `step`, which trains once and reads the loss back, and prints the results.
    pub fn measure(&self, peer: Peer, mut step: impl FnMut() -> AnyResult<f32>) -> AnyResult<()> {
        let began = Instant::now();
        let mut losses = vec![];
        let mut took = vec![];
        let mut first_step_s = 0.0;
        let budget = Duration::from_secs_f64(self.seconds).as_secs_f64();
        while took.len() < self.steps && (took.len() < 3 || took.iter().sum::<f64>() < budget) {
            let started = Instant::now();
            losses.push(step()?);
            let seconds = started.elapsed().as_secs_f64();
            // progress, so that a slow run can be stopped
            eprintln!("step {}: {seconds:.3} s", losses.len());
            if losses.len() == 1 {
                first_step_s = seconds_since_start().unwrap_or(began.elapsed().as_secs_f64());
            }
            if losses.len() > self.warm_up {
                took.push(seconds);
            }
        }
        took.sort_by(f64::total_cmp);
        let line = json!({
            "peer": peer.name,
            "version": peer.version,
            "backend": peer.backend,
            "device": peer.device,
            "preset": self.preset.name,
            "n_param": peer.n_param,
            "batch_size": self.preset.b,
            "t": self.preset.t,
            "steps": took.len(),
            "ms_per_step": took[took.len() / 2] * 1e3,
            "best_ms_per_step": took[0] * 1e3,
            "first_step_s": first_step_s,
            "peak_memory_mib": peak_memory_mib(),
            "first_loss": losses[0],
            "last_loss": losses[losses.len() - 1],
            "steps_done": losses.len(),
        });
        println!("{line}");
        Ok(())
    }
}

/// Seconds since this process began, if Linux reports it; its clock there has 100 ticks a second.
fn seconds_since_start() -> Option<f64> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    Some(uptime - ticks / 100.0)
}

/// Peak resident memory so far, if Linux reports it.
fn peak_memory_mib() -> Option<f64> {
    let status = read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches("kB").trim();
    Some(kib.parse::<f64>().ok()? / 1024.0)
}
