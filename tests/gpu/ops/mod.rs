//! Each op on the device against its reference, one file per stem.

mod adamw;
mod attention;
mod column_sum;
mod cross_entropy;
mod dropout;
mod embedding;
mod gelu;
mod global_norm;
mod golden;
mod layernorm;
mod matmul;
mod pinned;
mod residual;
mod sample;

use golden::Golden;
use tril::doctor::{cases, verify};
use tril::kernel::Choice;

/// Barriers are slow on a software device: there, the kernels of a GPU leave out cases of more elements than this.
const MANY: u64 = 100_000;

/// Runs the case table of a stem, with the device's own kernels and with those that a GPU would run, and reports every
/// failing case. A case that pins a kernel runs with that one alone, and only where it fits.
fn check(stem: &str) {
    let (_, cases) = cases::all().into_iter().find(|(name, _)| *name == stem).unwrap();
    assert!(!cases.is_empty());
    let mut failures = vec![];
    for mut case in cases {
        let n_elem: u64 = case.inputs.iter().map(|(shape, _)| shape.numel()).sum();
        let caps = crate::gpu().caps().clone();
        let is_pinned = case.choice != Choice::default();
        for (family, choice) in [("own", case.choice.clone()), ("GPU", Choice::gpu_family())] {
            if !choice.fits(&caps) || family == "GPU" && (is_pinned || caps.is_cpu && n_elem > MANY) {
                continue;
            }
            case.choice = choice;
            if let Err(e) = verify(&crate::gpu(), &case) {
                failures.push(format!("{} ({family} kernels): {e}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{stem} on {}:\n{}", crate::gpu().name(), failures.join("\n"));
}
