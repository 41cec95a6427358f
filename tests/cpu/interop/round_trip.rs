//! Import, export and import again: the same bytes.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tril::interop::export::{Model, Target, export};
use tril::interop::import::{ImportOptions, import};
use tril::run::{RunDir, Weights};

use crate::common::foreign::{MODELS, imported};

fn again(run: &Path, target: Target, temp: &TempDir) -> RunDir {
    let (dir, config, tokenizer) = RunDir::open(run).unwrap();
    let weights = Weights::best(&dir, &config.model).unwrap();
    let mut model = Model { config: config.model, tokenizer, weights };
    let out = temp.path().join(format!("{target:?}"));
    export(&mut model, target, &out).unwrap();
    let path = if target == Target::Llmc { out.join("model.bin") } else { out };
    // what an export needs for the way back is stored next to it
    import(&path, &temp.path().join(format!("{target:?} again")), &ImportOptions::default()).unwrap().dir
}

#[test]
fn a_model_that_goes_out_and_comes_back_has_the_same_bytes() {
    let mut n_llmc = 0;
    for (name, path, bytes) in MODELS {
        let temp = TempDir::new().unwrap();
        let first = imported(path, bytes, &temp.path().join("run"));
        let model = &first.config.model;
        if !model.bias {
            // the formats have biases, so a re-imported model has them, too
            continue;
        }
        for target in [Target::Hf, Target::Llmc] {
            if target == Target::Llmc && !model.tied {
                continue;
            }
            let second = again(first.dir.root(), target, &temp);
            for file in ["model.safetensors", "config.toml", "tokenizer.json", "checkpoints/00000000/state.safetensors"]
            {
                if file == "config.toml" && target == Target::Llmc && model.dropout > 0.0 {
                    // llm.c has none
                    continue;
                }
                n_llmc += usize::from(file == "config.toml" && target == Target::Llmc);
                let [before, after] = [&first.dir, &second].map(|dir| fs::read(dir.path(file)).unwrap());
                assert!(before == after, "{name} by way of {target:?}: {file}");
            }
        }
    }
    assert!(n_llmc >= 2);
}
