//! Files written by `torch.save`.

use std::fs;
use std::path::{Path, PathBuf};

use tril::data::TokenizerSpec;
use tril::interop::import::{ImportOptions, import};

use super::copy;
use super::wrong::refused;
use crate::common::foreign::{folder, imported, options};

const CHECKPOINT: &str = "nanogpt/out/ckpt.pt";

#[test]
fn nanogpts_checkpoint_has_sizes_dropout_and_the_place_of_its_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let made = imported(CHECKPOINT, false, &dir.path().join("run"));
    let m = &made.config.model;
    assert_eq!((m.n_layer, m.n_head, m.n_embd, m.block_size, m.vocab_size), (2, 3, 24, 16, 29));
    assert!(!m.bias && m.tied && m.dropout == 0.2 && made.format == "GPT-2 of PyTorch");
    assert!(made.tokenizer_from.ends_with("data/tiny/meta.pkl") && made.n_token == 29, "{}", made.tokenizer_from);
    assert!(made.notes.len() == 1 && made.notes[0].contains("GELU"), "{:?}", made.notes);
    // its folder works as well
    let again = imported("nanogpt/out", false, &dir.path().join("again"));
    let weights = |made: &tril::interop::import::Imported| fs::read(made.dir.path("model.safetensors")).unwrap();
    assert!(weights(&made) == weights(&again));
}

#[test]
fn without_its_data_set_a_checkpoint_asks_for_the_tokenizer_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (alone, run) = (dir.path().join("ckpt.pt"), dir.path().join("run"));
    fs::copy(folder().join(CHECKPOINT), &alone).unwrap();
    let error = import(&alone, &run, &ImportOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("data/tiny/meta.pkl, which is not there") && error.contains("--tokenizer PATH/meta.pkl"),
        "{error}"
    );
    let meta = folder().join("nanogpt/data/tiny/meta.pkl");
    let given = ImportOptions { tokenizer: Some(TokenizerSpec::File(meta.clone())), ..ImportOptions::default() };
    assert_eq!(import(&alone, &run, &given).unwrap().n_token, 29);
    fs::copy(&meta, dir.path().join("meta.pkl")).unwrap();
    assert_eq!(import(&alone, &dir.path().join("beside"), &ImportOptions::default()).unwrap().n_token, 29);
    let other = ImportOptions { n_head: Some(4), ..ImportOptions::default() };
    let error = import(&alone, &dir.path().join("x"), &other).unwrap_err().to_string();
    assert!(error.contains("3 heads, not --n-head 4"), "{error}");
}

/// Replaces bytes of a file by as many others.
fn replaced<'a>(from: &'a [u8], to: &'a [u8]) -> impl FnOnce(&Path) + 'a {
    assert_eq!(from.len(), to.len());
    move |path| {
        let mut bytes = fs::read(path).unwrap();
        let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{}", from.escape_ascii());
        places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        // the archive has a checksum of the pickle, too
        fs::write(path, fixed(bytes)).unwrap();
    }
}

/// Writes the right checksum of `data.pkl` in its two places.
fn fixed(mut bytes: Vec<u8>) -> Vec<u8> {
    let find = |bytes: &[u8], what: &[u8], from: usize| (from..bytes.len()).find(|&at| bytes[at..].starts_with(what));
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 0;
    while let Some(entry) = find(&bytes, b"PK\x01\x02", at) {
        at = entry + 46;
        if find(&bytes[at..at + 40], b"data.pkl", 0).is_none() {
            continue;
        }
        let (local, len) = (word(&bytes, entry + 42), word(&bytes, entry + 24));
        let half = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
        let start = local + 30 + half(local + 26) + half(local + 28);
        let crc = crc32fast::hash(&bytes[start..start + len]).to_le_bytes();
        bytes[entry + 16..entry + 20].copy_from_slice(&crc);
        // the data may be followed by a descriptor, which is ignored if the directory has the same information
        bytes[local + 14..local + 18].copy_from_slice(&crc);
        break;
    }
    bytes
}

#[test]
fn incomplete_and_mixed_checkpoints_are_explained() {
    let cases: [(&[u8], &[u8], &[&str]); 8] = [
        (b"module.transformer.wpe", b"module.transformer.xpe", &["(epoch, model_state_dict, config)", "state_dict()"]),
        (b"_rebuild_tensor_v2", b"_rebuild_tensor_v9", &["made by torch._utils._rebuild_tensor_v9"]),
        (b"_rebuild_parameter", b"_rebuild_parameteX", &["made by torch._utils._rebuild_parameteX"]),
        (b"BFloat16Storage", b"BFloat99Storage", &["is damaged", "unknown kind BFloat99Storage"]),
        (b"M\x00\x01K\x10\x86", b"M\x00\x02K\x10\x86", &["is damaged", "exceeds its storage of 8192 bytes"]),
        (b"n_head", b"n_bead", &["--n-head"]),
        (b"h.1.attn.c_attn.bias", b"h.1.attn.c_attn.bIas", &["h.1.attn.c_attn.bias is missing"]),
        (b"h.1.ln_1.weight", b"h.2.ln_1.weight", &["h.1.ln_1.weight is missing"]),
    ];
    for (from, to, words) in cases {
        refused("torch_views.pt", replaced(from, to), &[&["torch_views.pt"], words].concat());
    }
    let cut = |share: usize| {
        move |path: &Path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() * share / 100]).unwrap();
        }
    };
    for share in [10, 50, 99] {
        refused("torch_views.pt", cut(share), &["torch_views.pt is damaged", "not a complete zip archive"]);
        refused(
            "torch_old",
            |model| cut(share)(&model.join("pytorch_model.bin")),
            &["pytorch_model.bin is damaged", "truncated"],
        );
    }
}

#[test]
fn code_in_a_pickle_is_never_run() {
    let dir = tempfile::tempdir().unwrap();
    // os.system("touch ..."), as a complete legacy file
    let victim = dir.path().join("victim");
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let call = format!("\u{2}cposix\nsystem\n(S'touch {}'\ntR.", victim.display());
    let file = dir.path().join("evil.pt");
    fs::write(&file, [&magic[..], b"\x80", call.as_bytes()].concat()).unwrap();
    let error = import(&file, &dir.path().join("run"), &options(true)).unwrap_err().to_string();
    assert!(error.contains("evil.pt") && !victim.exists() && !dir.path().join("run").exists(), "{error}");
}

/// A transformers folder with weights in shards of `torch.save`, and an index.
#[test]
fn shards_of_pytorch_are_found_by_their_index() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(&folder().join("torch_old"), &model);
    let whole = imported("torch_old", false, &dir.path().join("whole"));
    fs::rename(model.join("pytorch_model.bin"), model.join("pytorch_model-00001-of-00001.bin")).unwrap();
    let names = ["wte.weight", "h.1.mlp.c_proj.bias"].map(|name| (name, "pytorch_model-00001-of-00001.bin"));
    let index = serde_json::json!({ "weight_map": names.into_iter().collect::<std::collections::BTreeMap<_, _>>() });
    let path: PathBuf = model.join("pytorch_model.bin.index.json");
    fs::write(path, index.to_string()).unwrap();
    let made = import(&model, &dir.path().join("run"), &ImportOptions::default()).unwrap();
    let weights = |dir: &tril::run::RunDir| fs::read(dir.path("model.safetensors")).unwrap();
    assert!(weights(&made.dir) == weights(&whole.dir));
}
