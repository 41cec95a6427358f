//! Models that can't be imported, and their error messages.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tril::interop::import::{ImportOptions, import};
use tril::interop::{llmc_read, safetensors as reader};

use super::{copy, files};
use crate::common::foreign::{folder, options};

pub type Tensor = (Dtype, Vec<usize>, Vec<u8>);
pub type Tensors = BTreeMap<String, Tensor>;

pub fn load(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    tensors.into_iter().map(|(name, t)| (name, (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect()
}

pub fn store(path: &Path, tensors: &Tensors) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

pub fn edit(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let mut tensors = load(path);
    change(&mut tensors);
    store(path, &tensors);
}

/// Removes the tensors of some names from a file.
pub fn without(from: &Path, to: &Path, is_left_out: impl Fn(&str) -> bool) {
    let mut tensors = load(from);
    tensors.retain(|name, _| !is_left_out(name));
    store(to, &tensors);
}

/// Changes the first element of an F32 tensor.
pub fn set_first(path: &Path, name: &str, value: f32) {
    edit(path, |tensors| tensors.get_mut(name).unwrap().2[..4].copy_from_slice(&value.to_le_bytes()));
}

/// Pads the vocabulary of a folder's model with zeros.
pub fn grow_vocabulary(model: &Path, n: usize) {
    edit(&model.join("model.safetensors"), |tensors| {
        let (_, shape, data) = tensors.get_mut("transformer.wte.weight").unwrap();
        data.resize(n * shape[1] * 4, 0);
        shape[0] = n;
    });
    set_config(model, "vocab_size", json!(n));
}

pub fn set_config(model: &Path, key: &str, value: Value) {
    let path = model.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

/// Changes a copy of a model, and asserts that its import fails with all of these words and leaves nothing behind.
pub fn refused(model: &str, change: impl FnOnce(&Path), words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let (path, run) = (dir.path().join(model), dir.path().join("run"));
    if folder().join(model).is_dir() {
        copy(&folder().join(model), &path);
    } else {
        fs::copy(folder().join(model), &path).unwrap();
    }
    change(&path);
    let error = import(&path, &run, &options(model == "hf_untied")).unwrap_err().to_string();
    assert!(words.iter().all(|word| error.contains(word)) && !error.contains('\n'), "{words:?}: {error}");
    assert!(!run.exists(), "{error}");
}

#[test]
fn settings_that_compute_something_else_are_refused_by_name() {
    let cases = [
        ("model_type", json!("gpt_neox"), "\"gpt2\""),
        ("activation_function", json!("gelu"), "gelu_new"),
        ("activation_function", json!("relu"), "gelu_pytorch_tanh"),
        ("layer_norm_epsilon", json!(1e-6), "1e-5"),
        ("n_inner", json!(48), "4 n_embd"),
        ("scale_attn_weights", json!(false), "true"),
        ("scale_attn_by_inverse_layer_idx", json!(true), "false"),
        ("add_cross_attention", json!(true), "false"),
        ("quantization_config", json!({ "bits": 4 }), "none"),
        ("auto_map", json!({ "AutoModel": "modeling.Own" }), "none"),
    ];
    for (key, value, supported) in cases {
        let shown = if value.is_object() { String::new() } else { value.to_string() };
        let shown = shown.replace("1e-6", "0.000001");
        refused("hf_f32", |model| set_config(model, key, value), &["config.json", key, &shown, supported]);
    }
}

#[test]
fn settings_that_compute_the_same_are_taken() {
    let cases = [
        ("activation_function", json!("gelu_pytorch_tanh")),
        ("activation_function", json!("gelu_fast")),
        ("n_inner", json!(64)),
        ("n_inner", json!(null)),
        ("layer_norm_epsilon", json!(1e-05)),
        ("reorder_and_upcast_attn", json!(true)),
        ("n_ctx", json!(5)),
    ];
    let dir = tempfile::tempdir().unwrap();
    let import = |model: &Path, run: &str| {
        import(model, &dir.path().join(run), &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        files(&dir.path().join(run))
    };
    let unchanged = import(&folder().join("hf_f32"), "run");
    for (i, (key, value)) in cases.into_iter().enumerate() {
        let model = dir.path().join(format!("model{i}"));
        copy(&folder().join("hf_f32"), &model);
        set_config(&model, key, value);
        assert_eq!(import(&model, &format!("run{i}")), unchanged, "{key}");
    }
}

#[test]
fn sizes_that_no_model_has_are_named() {
    let cases = [
        ("n_layer", json!(0), "--n-layer is 0"),
        ("n_layer", json!(u64::MAX), "--n-layer is 18446744073709551615"),
        ("n_head", json!(3), "--n-head is 3"),
        ("n_positions", json!(1_000_000), "--block-size is 1000000"),
        ("vocab_size", json!(-5), "damaged"),
        ("n_embd", json!("sixteen"), "damaged"),
    ];
    for (key, value, words) in cases {
        refused("hf_f32", |model| set_config(model, key, value), &[words]);
    }
    let drop_all = |model: &Path| {
        ["resid_pdrop", "embd_pdrop", "attn_pdrop"].into_iter().for_each(|key| set_config(model, key, json!(1.5)));
    };
    refused("hf_f32", drop_all, &["--dropout is 1.5"]);
}

#[test]
fn tensors_that_do_not_make_the_model_are_named_with_their_file() {
    type Change = fn(&mut Tensors);
    let cases: [(Change, &[&str]); 8] = [
        (|t| drop(t.remove("transformer.h.1.mlp.c_fc.bias")), &["tensor transformer.h.1.mlp.c_fc.bias is missing"]),
        (|t| drop(t.remove("transformer.wpe.weight")), &["tensor transformer.wpe.weight is missing"]),
        (
            |t| drop(t.insert("transformer.h.2.ln_1.weight".into(), (Dtype::F32, vec![16], vec![0; 64]))),
            &["tensor transformer.h.2.ln_1.weight does not belong to a GPT-2 with 2 layers"],
        ),
        (|t| drop(t.insert("score.weight".into(), (Dtype::F32, vec![1], vec![0; 4]))), &["score.weight is none"]),
        (
            |t| t.get_mut("transformer.h.0.attn.c_attn.weight").unwrap().1 = vec![48, 16],
            &["h.0.attn.c_attn.weight has the shape [48, 16], and the model needs [16, 48]"],
        ),
        (
            |t| *t.get_mut("transformer.ln_f.weight").unwrap() = (Dtype::I64, vec![16], vec![0; 128]),
            &["transformer.ln_f.weight is I64; save the model as F64, F32, F16 or BF16"],
        ),
        (
            |t| drop(t.insert("wpe.weight".into(), (Dtype::F32, vec![16, 16], vec![0; 1024]))),
            &["wpe.weight appears twice"],
        ),
        (
            |t| drop(t.insert("lm_head.weight".into(), (Dtype::F32, vec![272, 16], vec![0; 272 * 64]))),
            &["lm_head.weight differs from wte.weight", "tie_word_embeddings"],
        ),
    ];
    for (change, words) in cases {
        let words = [&["model.safetensors"], words].concat();
        refused("hf_f32", |model| edit(&model.join("model.safetensors"), change), &words);
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let name = "transformer.h.1.attn.c_proj.weight";
        refused("hf_f32", |model| set_first(&model.join("model.safetensors"), name, value), &[name, "not finite"]);
    }
    refused(
        "hf_untied",
        |model| edit(&model.join("model.safetensors"), |t| drop(t.remove("lm_head.weight"))),
        &["lm_head.weight is missing", "tie_word_embeddings is false"],
    );
    // the same head, written out, is still tied
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(&folder().join("hf_f32"), &model);
    edit(&model.join("model.safetensors"), |t| {
        drop(t.insert("lm_head.weight".into(), t["transformer.wte.weight"].clone()))
    });
    assert!(import(&model, &dir.path().join("run"), &ImportOptions::default()).unwrap().config.model.tied);
}

#[test]
fn damaged_files_are_named() {
    let weights = |model: &Path| model.join("model.safetensors");
    let cut = |n: usize| {
        move |model: &Path| {
            let bytes = fs::read(weights(model)).unwrap();
            fs::write(weights(model), &bytes[..n.min(bytes.len() - 1)]).unwrap();
        }
    };
    refused("hf_f32", cut(0), &["model.safetensors is empty"]);
    for n in [7, 8, 100, usize::MAX] {
        refused("hf_f32", cut(n), &["model.safetensors is damaged"]);
    }
    for size in [u64::MAX, u64::MAX - 7, 1 << 40, 3] {
        let change = |model: &Path| {
            let mut bytes = fs::read(weights(model)).unwrap();
            bytes[..8].copy_from_slice(&size.to_le_bytes());
            fs::write(weights(model), bytes).unwrap();
        };
        refused("hf_f32", change, &["model.safetensors is damaged"]);
    }
    // too large an offset, and offsets that overlap
    for header in [
        r#"{"a":{"dtype":"F32","shape":[4000000000000000000,4],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}"#,
        "[1, 2]",
        "{",
    ] {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat();
        let read = reader::read_header(Path::new("x.safetensors"), &mut &bytes[..], bytes.len() as u64);
        assert!(read.unwrap_err().to_string().starts_with("x.safetensors is damaged"), "{header}");
    }
    refused(
        "hf_f32",
        |model| fs::write(model.join("config.json"), "{\"n_layer\": }").unwrap(),
        &["config.json is damaged"],
    );
}

#[test]
fn shards_and_their_index_have_to_fit() {
    let index = |model: &Path| model.join("model.safetensors.index.json");
    let change_index = |from: &'static str, to: &'static str| {
        move |model: &Path| {
            let text = fs::read_to_string(index(model)).unwrap();
            assert!(text.contains(from));
            fs::write(index(model), text.replace(from, to)).unwrap();
        }
    };
    refused(
        "hf_bf16_sharded",
        |model| fs::remove_file(model.join("model-00002-of-00003.safetensors")).unwrap(),
        &["model-00002-of-00003"],
    );
    refused(
        "hf_bf16_sharded",
        change_index("model-00001", "../model-00001"),
        &["index.json is damaged", "not a file next to it"],
    );
    refused(
        "hf_bf16_sharded",
        change_index("ln_f.weight\": \"model-00003", "ln_f.weight\": \"model-00001"),
        &["model-00001", "ln_f.weight is missing"],
    );
    refused("hf_bf16_sharded", change_index("weight_map", "weights"), &["index.json is damaged", "weight_map"]);
    refused(
        "hf_bf16_sharded",
        |model| fs::write(index(model), r#"{"weight_map": {}}"#).unwrap(),
        &["lists no tensors"],
    );
    let shard = "model-00003-of-00003.safetensors";
    refused(
        "hf_bf16_sharded",
        |model| without(&model.join(shard), &model.join(shard), |name| name.ends_with("ln_f.bias")),
        &[shard, "ln_f.bias is missing"],
    );
}

#[test]
fn files_of_llmc_are_read_by_their_header() {
    let with = |at: usize, value: i32| {
        move |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
            fs::write(path, bytes).unwrap();
        }
    };
    let cases: [(usize, i32, &str); 11] = [
        (0, 20_240_520, "tokens"),
        (0, 20_240_327, "debugging run"),
        (0, 20_240_328, "a tokenizer"),
        (1, 1, "version 1, but tril reads 3 (f32) and 5 (bf16)"),
        (1, 5, "header declares"),
        (4, -2, "says -2 for layers"),
        (5, 0, "says 0 for heads"),
        (7, 0, "an early llm.c"),
        (7, 255, "padded vocabulary of 255 is less"),
        (6, i32::MAX, "header declares"),
        (5, 3, "--n-head is 3"),
    ];
    for (at, value, words) in cases {
        refused("llmc_f32.bin", with(at, value), &["llmc_f32.bin", words]);
    }
    let cut = |path: &Path| fs::write(path, &fs::read(path).unwrap()[..1020]).unwrap();
    refused("llmc_f32.bin", cut, &["header is truncated"]);
    let nan = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        // after both embeddings: the first layer norm of the first layer
        let at = llmc_read::HEADER_BYTES + 4 * (272 + 16) * 16;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(path, bytes).unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nan.bin");
    fs::copy(folder().join("llmc_f32.bin"), &path).unwrap();
    nan(&path);
    let error = import(&path, &dir.path().join("run"), &options(true)).unwrap_err().to_string();
    assert!(error.contains("h.0.ln_1.weight") && error.contains("not finite"), "{error}");
}

#[test]
fn files_that_are_not_models_are_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let pickle = b"PK\x03\x04 and no archive";
    fs::create_dir(at("old")).unwrap();
    fs::write(at("old/pytorch_model.bin"), pickle).unwrap();
    fs::create_dir(at("shards")).unwrap();
    fs::write(at("shards/pytorch_model-00001-of-00002.bin"), pickle).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("run")).unwrap();
    fs::write(at("run/config.toml"), "").unwrap();
    fs::write(at("text.txt"), "some text").unwrap();
    fs::write(at("nothing"), "").unwrap();
    fs::write(at("unknown"), [0; 64]).unwrap();
    fs::write(at("model.safetensors.index.json"), "{}").unwrap();
    let cases = [
        ("old", "pytorch_model.bin is damaged: it is not a complete zip archive"),
        ("old/pytorch_model.bin", "not a complete zip archive"),
        ("shards", "it holds pytorch_model-00001-of-00002.bin"),
        ("empty", "it holds no model.safetensors,"),
        ("run", "config.toml is damaged"),
        ("text.txt", "is text, not a model: it begins with \"some text\""),
        ("nothing", "is empty"),
        ("unknown", "neither a safetensors file, nor"),
        ("model.safetensors.index.json", "give the folder"),
        ("missing", "check the path"),
    ];
    for (name, words) in cases {
        let error = import(&at(name), &at("out"), &ImportOptions::default()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name) && !at("out").exists(), "{name}: {error}");
    }
}

#[test]
fn a_model_without_a_tokenizer_or_heads_asks_for_the_flag() {
    let remove = |name: &'static str| move |model: &Path| fs::remove_file(model.join(name)).unwrap();
    refused("hf_f32", remove("tokenizer.json"), &["vocabulary of 272", "give one with --tokenizer byte or"]);
    refused("hf_old_f16", remove("merges.txt"), &["--tokenizer"]);
    refused(
        "hf_f32",
        |model| fs::write(model.join("tokenizer.json"), "{}").unwrap(),
        &["tokenizer.json", "--tokenizer"],
    );
    let more = |model: &Path| {
        let path = model.join("vocab.json");
        let mut vocab: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        vocab["more"] = json!(266);
        fs::write(path, vocab.to_string()).unwrap();
    };
    refused("hf_old_f16", more, &["267 ids, but the model has 266", "--tokenizer"]);
    refused("hf_f32", remove("config.json"), &["--n-head"]);
    let dir = tempfile::tempdir().unwrap();
    for (spec, words) in [
        ("char", "learned from a text"),
        ("gpt2", "50257 ids, but the model has 272"),
        ("missing.json", "missing.json"),
    ] {
        let options = ImportOptions { tokenizer: Some(spec.parse().unwrap()), ..ImportOptions::default() };
        let error = import(&folder().join("hf_f32"), &dir.path().join("run"), &options).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("--tokenizer gpt2"), "{error}");
    }
    let options = ImportOptions { n_head: Some(4), ..ImportOptions::default() };
    let error = import(&folder().join("hf_f32"), &dir.path().join("run"), &options).unwrap_err().to_string();
    assert!(error.contains("2 heads, not --n-head 4"), "{error}");
}
