//! Each op on the device against its reference, one file per stem.

mod attention;
mod column_sum;
mod dropout;
mod golden;
mod matmul;
mod residual;

use golden::Golden;
use tril::doctor::{cases, verify};

/// Runs the case table of a stem and reports every failing case.
fn check(stem: &str) {
    let (_, cases) = cases::all().into_iter().find(|(name, _)| *name == stem).unwrap();
    assert!(!cases.is_empty());
    let failures: Vec<String> =
        cases.iter().filter_map(|c| verify(&crate::gpu(), c).err().map(|e| format!("{}: {e}", c.name))).collect();
    assert!(failures.is_empty(), "{stem} on {}:\n{}", crate::gpu().name(), failures.join("\n"));
}
