//! Models in F64.

use std::fs;

use safetensors::tensor::Dtype;
use tril::interop::import::{ImportOptions, Imported, import};

use super::copy;
use super::wrong::{Tensors, edit, load, refused};
use crate::common::foreign::{folder, imported};

const NOTE: &str = "its F64 weights were rounded to F32";

/// F32 numbers as F64, moved by less than half the distance to the next F32.
fn widened(bytes: &[u8]) -> Vec<u8> {
    let wide = |x: f32| (f64::from(x) * (1.0 + 1e-9)).to_le_bytes();
    bytes.as_chunks().0.iter().flat_map(|&b| wide(f32::from_le_bytes(b))).collect()
}

fn widen(tensors: &mut Tensors) {
    for (dtype, _, data) in tensors.values_mut() {
        (*dtype, *data) = (Dtype::F64, widened(data));
    }
}

fn same_weights(a: &Imported, b: &Imported) -> bool {
    let [a, b] = [a, b].map(|made| fs::read(made.dir.path("model.safetensors")).unwrap());
    a == b
}

#[test]
fn safetensors_in_f64_are_rounded_and_the_import_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(&folder().join("hf_f32"), &model);
    edit(&model.join("model.safetensors"), widen);
    let made = import(&model, &dir.path().join("run"), &ImportOptions::default()).unwrap();
    let narrow = imported("hf_f32", false, &dir.path().join("narrow"));
    assert!(same_weights(&made, &narrow));
    assert_eq!(made.notes.iter().filter(|note| *note == NOTE).count(), 1, "{:?}", made.notes);
    assert!(!narrow.notes.iter().any(|note| note.contains("F64")), "{:?}", narrow.notes);
}

#[test]
fn numbers_beyond_those_of_f32_are_refused() {
    let change = |tensors: &mut Tensors| {
        widen(tensors);
        tensors.get_mut("transformer.ln_f.bias").unwrap().2[..8].copy_from_slice(&1e39f64.to_le_bytes());
    };
    refused(
        "hf_f32",
        |model| edit(&model.join("model.safetensors"), change),
        &["transformer.ln_f.bias holds numbers that are not finite in F32"],
    );
}

/// A file of `torch.save` before PyTorch 1.6, with an F64 storage for each tensor.
fn saved(tensors: &Tensors) -> Vec<u8> {
    let text = |s: &str| [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
    let int = |n: usize| [b"J", &(n as u32).to_le_bytes()[..]].concat();
    let tuple = |sizes: &[usize]| [b"(", &sizes.iter().flat_map(|&n| int(n)).collect::<Vec<u8>>()[..], b"t"].concat();
    let tensor = |(name, (_, shape, data)): (&String, &(Dtype, Vec<usize>, Vec<u8>))| {
        let strides: Vec<usize> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
        let storage =
            [text("storage"), b"ctorch\nDoubleStorage\n".to_vec(), text(name), text("cpu"), int(data.len() / 8)];
        let call = [&b"ctorch._utils\n_rebuild_tensor_v2\n(("[..], &storage.concat(), b"tQ"].concat();
        [text(name), call, int(0), tuple(shape), tuple(&strides), b"\x89}tR".to_vec()].concat()
    };
    let storage =
        |(_, _, data): &(Dtype, Vec<usize>, Vec<u8>)| [&(data.len() as u64 / 8).to_le_bytes()[..], data].concat();
    let head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}(";
    [
        head.to_vec(),
        tensors.iter().flat_map(tensor).collect(),
        b"u.\x80\x02](".to_vec(),
        tensors.keys().flat_map(|name| text(name)).collect(),
        b"e.".to_vec(),
        tensors.values().flat_map(storage).collect(),
    ]
    .concat()
}

#[test]
fn files_of_torch_save_in_f64_are_rounded_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(&folder().join("hf_f32"), &model);
    let mut tensors = load(&model.join("model.safetensors"));
    widen(&mut tensors);
    fs::remove_file(model.join("model.safetensors")).unwrap();
    fs::write(model.join("pytorch_model.bin"), saved(&tensors)).unwrap();
    let made = import(&model, &dir.path().join("run"), &ImportOptions::default()).unwrap();
    assert!(same_weights(&made, &imported("hf_f32", false, &dir.path().join("narrow"))));
    assert_eq!(made.format, "GPT-2 of PyTorch");
    assert_eq!(made.notes.iter().filter(|note| *note == NOTE).count(), 1, "{:?}", made.notes);
}
