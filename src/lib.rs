//! Train decoder-only transformers on any GPU that wgpu supports, with hand-written WGSL.
//!
//! Modules are listed in layer order: each may import only from those above it, and a test enforces it.

pub mod units;

pub mod files;

pub mod tensor;

pub mod reference;

pub mod data;

pub mod kernel;

pub mod ops;

pub mod graph;

pub mod plan;

pub mod emit;

pub mod gpu;

pub mod exec;

pub mod speed;

pub mod model;

pub mod generate;

pub mod run;

pub mod train;

pub mod interop;

pub mod bench;

pub mod doctor;

pub mod tune;

pub mod job;

pub mod cli;

/// The guide's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../GUIDE.md")]
struct Guide;
