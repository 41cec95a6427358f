//! Exports of a trained run.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;

use crate::cli::{ok, states, text, train};

fn tensor(file: &Path, name: &str) -> Vec<u8> {
    let bytes = fs::read(file).unwrap();
    SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data().to_vec()
}

#[test]
fn the_best_model_is_exported_or_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    // later steps only make it worse, so the best model is an early one
    let wild = ["--schedule", "constant", "--lr", "1", "--min-lr", "1"];
    let small: Vec<&str> = wild.iter().copied().chain(["--steps", "6", "--eval-every", "1", "--out", "run"]).collect();
    train(at, &path, &small);
    let run = at.join("run");
    let best = tensor(&run.join("model.safetensors"), "ln_f.weight");
    let last = tensor(&states(&run).pop().unwrap(), "ln_f.weight");
    assert_ne!(best, last);
    let said = ok(at, &["export", "run", "--to", "hf", "--out", "best"]);
    assert!(said.starts_with("the best model of run is in best:"), "{said}");
    let said = ok(at, &["export", "run", "--to", "hf", "--out", "last", "--last"]);
    assert!(said.starts_with("the checkpoint of step 6 of run is in last:"), "{said}");
    let exported = |folder: &str| tensor(&at.join(folder).join("model.safetensors"), "transformer.ln_f.weight");
    assert!(said.contains("window: 16 tokens, prompt included"), "{said}");
    assert_eq!(exported("best"), best);
    assert_eq!(exported("last"), last);
}
