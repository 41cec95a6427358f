//! Weights under other names, and other files in place of a model's.

use std::fs;
use std::path::Path;

use serde_json::json;
use tril::interop::import::{ImportOptions, import};

use super::wrong::{Tensors, edit, load, refused, set_config};
use super::{copy, files};
use crate::common::foreign::folder;

/// Imports a copy of `hf_f32` with other tensors: its weights, its notes, and whether it is tied and has biases.
fn changed(change: impl FnOnce(&mut Tensors)) -> (Vec<u8>, Vec<String>, (bool, bool)) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(&folder().join("hf_f32"), &model);
    edit(&model.join("model.safetensors"), change);
    let made = import(&model, &dir.path().join("run"), &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let weights = fs::read(made.dir.path("model.safetensors")).unwrap();
    (weights, made.notes, (made.config.model.tied, made.config.model.bias))
}

fn renamed(name: impl Fn(&str) -> String) -> impl FnOnce(&mut Tensors) {
    move |tensors| *tensors = std::mem::take(tensors).into_iter().map(|(old, tensor)| (name(&old), tensor)).collect()
}

const WTE: &str = "transformer.wte.weight";

#[test]
fn names_of_wrappers_are_those_without() {
    let (plain, ..) = changed(|_| {});
    for prefix in ["_orig_mod.", "module.", "module._orig_mod.", "model.", "_forward_module.model.", "net.gpt."] {
        let (weights, notes, _) = changed(renamed(|name| format!("{prefix}{name}")));
        assert!(weights == plain && notes.is_empty(), "{prefix}: {notes:?}");
    }
    // each block compiled separately, and a head next to the transformer
    let (weights, ..) = changed(|tensors| {
        renamed(|name| name.replace(".attn.", "._orig_mod.attn.").replace("transformer.", "model.transformer."))(
            tensors,
        );
        let head = tensors["model.transformer.wte.weight"].clone();
        tensors.insert("model.lm_head.weight".into(), head);
    });
    assert!(weights == plain);
}

#[test]
fn a_tied_table_is_found_under_either_name() {
    let (plain, ..) = changed(|_| {});
    let (weights, notes, kind) = changed(|tensors| {
        let table = tensors.remove(WTE).unwrap();
        tensors.insert("lm_head.weight".into(), table);
    });
    assert!(weights == plain && kind == (true, true) && notes[0].contains("as lm_head.weight"), "{notes:?}");
    let (weights, notes, _) = changed(|tensors| {
        tensors.insert("_orig_mod.lm_head.weight".into(), tensors[WTE].clone());
    });
    assert!(weights == plain && notes.is_empty(), "{notes:?}");
    // without a config.json both may differ, and neither may be missing
    let alone = |change: fn(&mut Tensors)| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.safetensors");
        fs::copy(folder().join("hf_f32/model.safetensors"), &file).unwrap();
        edit(&file, change);
        let options = ImportOptions { n_head: Some(2), ..crate::common::foreign::options(true) };
        import(&file, &dir.path().join("run"), &options).map(|made| made.config.model.tied).map_err(|e| e.to_string())
    };
    let other = alone(|tensors| {
        let mut table = tensors[WTE].clone();
        table.2[..4].copy_from_slice(&1.5f32.to_le_bytes());
        tensors.insert("lm_head.weight".into(), table);
    });
    assert_eq!(other, Ok(false));
    let error = alone(|tensors| drop(tensors.remove(WTE))).unwrap_err();
    assert!(error.contains("wte.weight is missing: the file has 27 others, such as transformer.h.0."), "{error}");
    refused(
        "hf_untied",
        |model| edit(&model.join("model.safetensors"), |tensors| drop(tensors.remove(WTE))),
        &["wte.weight is missing"],
    );
}

#[test]
fn biases_are_all_there_or_none() {
    let (_, _, (_, bias)) = changed(|tensors| tensors.retain(|name, _| !name.ends_with(".bias")));
    assert!(!bias);
    refused(
        "hf_f32",
        |model| {
            edit(&model.join("model.safetensors"), |tensors| {
                tensors.retain(|name, _| !name.ends_with("c_fc.bias") && !name.ends_with("ln_f.bias"));
            });
        },
        &[
            "tensor transformer.h.0.mlp.c_fc.bias is missing, and so are 2 more, from transformer.h.1.mlp.c_fc.bias on",
            "all biases or none",
        ],
    );
}

#[test]
fn two_models_in_a_file_are_named() {
    refused(
        "hf_f32",
        |model| {
            edit(&model.join("model.safetensors"), |tensors| {
                let again: Vec<_> =
                    tensors.iter().map(|(name, tensor)| (format!("ema.{name}"), tensor.clone())).collect();
                tensors.extend(again);
            });
        },
        &["transformer.wpe.weight appears twice, also as ema.transformer.wpe.weight", "save one model"],
    );
}

/// As `nn.Linear` stores them, in a safetensors file.
#[test]
fn matrices_stored_output_by_input_are_turned() {
    let (plain, ..) = changed(|_| {});
    let (weights, notes, _) = changed(|tensors| {
        for (name, (_, shape, data)) in tensors.iter_mut() {
            if name.ends_with(".weight") && (name.contains(".attn.") || name.contains(".mlp.")) {
                let (rows, columns) = (shape[0], shape[1]);
                let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| 4 * (r * columns + c)));
                *data = turned.flat_map(|at| data[at..at + 4].to_vec()).collect();
                *shape = vec![columns, rows];
            }
        }
    });
    assert!(weights == plain && notes.len() == 1 && notes[0].contains("GELU"), "{notes:?}");
}

#[test]
fn pointers_and_pages_in_the_place_of_files_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n";
    let page = "<!doctype html>\n<html><head><title>404</title>";
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        for (text, words) in
            [(pointer, "is a Git LFS pointer, not the file itself; run git lfs pull"), (page, "is a web page")]
        {
            refused("hf_f32", |model| fs::write(model.join(name), text).unwrap(), &[name, words]);
        }
    }
    let error = r#"{"error":"Invalid credentials"}"#;
    refused(
        "hf_f32",
        |model| fs::write(model.join("model.safetensors"), error).unwrap(),
        &["is text, not a model", "Invalid"],
    );
    refused(
        "hf_f32",
        |model| fs::write(model.join("config.json"), error).unwrap(),
        &["config.json", "no size of a model"],
    );
    for name in ["model-00002-of-00003.safetensors", "model.safetensors.index.json"] {
        refused("hf_bf16_sharded", |model| fs::write(model.join(name), pointer).unwrap(), &[name, "git lfs pull"]);
    }
    for name in ["vocab.json", "merges.txt"] {
        refused("hf_old_f16", |model| fs::write(model.join(name), pointer).unwrap(), &[name, "git lfs pull"]);
    }
    for name in ["llmc_f32.bin", "torch_views.pt"] {
        refused(name, |model| fs::write(model, pointer).unwrap(), &[name, "git lfs pull"]);
    }
    refused(
        "torch_old",
        |model| fs::write(model.join("pytorch_model.bin"), pointer).unwrap(),
        &["pytorch_model.bin", "git lfs pull"],
    );
}

#[test]
fn missing_tensors_are_reported_with_names_from_the_file() {
    let words = ["wte.weight is missing: the file has", "others, such as layers.0"];
    let others = |model: &Path| {
        let path = model.join("model.safetensors");
        let n = load(&path).len();
        edit(&path, |tensors| {
            let taken = std::mem::take(tensors).into_values();
            *tensors = (0..n).map(|i| format!("layers.{i:02}.weight")).zip(taken).collect();
        });
    };
    refused("hf_f32", others, &words);
    refused(
        "hf_f32",
        |model| set_config(model, "n_layer", json!(3)),
        &["tensor transformer.h.2.ln_1.weight is missing"],
    );
}

/// Every file of an import matches that of the same model in another file.
#[test]
fn a_folder_with_several_files_of_weights_takes_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let (model, run) = (dir.path().join("model"), dir.path().join("run"));
    copy(&folder().join("hf_f32"), &model);
    fs::write(model.join("pytorch_model.bin"), "version https://git-lfs.github.com/spec/v1").unwrap();
    import(&model, &run, &ImportOptions::default()).unwrap();
    assert!(files(&run).contains_key("model.safetensors"));
}
