//! Files that `torch.save` writes: nanoGPT's `ckpt.pt` and `pytorch_model.bin`. Their pickles are read, never run.
//!
//! Source: `torch/serialization.py` and `_rebuild_tensor_v2` of `torch/_utils.py`. Since version 1.6 a file is a zip
//! archive of a pickle and an uncompressed file per storage; before, it is pickles followed by the storages.

mod archive;
mod legacy;
mod pickle;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use pickle::{Built, Pickle, Value};

use super::float_format::Number;
use super::saved::Saved;
use super::{InteropError, names};

/// The maximum size of a pickle. Those of the largest models have a few MiB: weights are stored separately.
const MAX_PICKLE_BYTES: u64 = 64 << 20;

/// Settings stored with the weights, if any.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Settings {
    /// The sizes in nanoGPT's `model_args`, by its names.
    pub sizes: BTreeMap<&'static str, u64>,
    /// Its dropout.
    pub dropout: Option<f32>,
    /// The data set that nanoGPT trained on.
    pub dataset: Option<String>,
}

/// The names of sizes in `model_args`.
const SIZES: [&str; 5] = ["n_layer", "n_head", "n_embd", "block_size", "vocab_size"];

/// The contents of a file.
pub(super) struct Checkpoint {
    pub tensors: Vec<(String, Saved)>,
    pub settings: Settings,
}

/// Numbers in the file that tensors can share.
struct Storage {
    /// Units: bytes from the start of the file.
    start: u64,
    /// Units: bytes.
    len: u64,
}

/// Whether a file's first bytes are those of `torch.save`.
pub(super) fn is_torch(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || legacy::is_legacy(head)
}

/// Reads the contents of a file of `len` bytes, except the numbers.
///
/// # Errors
///
/// A damaged file, or one without the weights of exactly one model.
pub(super) fn read(path: &Path, file: &mut File, len: u64) -> Result<Checkpoint, InteropError> {
    let damaged = |reason: String| InteropError::Damaged { path: path.display().to_string(), reason };
    let not_a_model = |reason: String| InteropError::NotAModel { path: path.display().to_string(), reason };
    let head = super::mistaken::open_weights(path)?;
    let (bytes, storages) = if legacy::is_legacy(&head) {
        legacy::read(file, len).map_err(damaged)?
    } else {
        archive::read(file, len).map_err(damaged)?
    };
    let pickle = Pickle::read(&bytes).map_err(damaged)?;
    let weights = weights(&pickle).map_err(not_a_model)?;
    let mut tensors = vec![];
    for &(name, value) in weights {
        let Value::Text(name) = pickle.value(name) else { continue };
        let saved = tensor(&pickle, value, &storages).map_err(|reason| damaged(format!("tensor {name}: {reason}")))?;
        tensors.push((name.to_string(), saved));
    }
    // with overlapping views, a small file could become a large model
    let bytes = |saved: &Saved| {
        let width = saved.number.as_ref().map_or(0, |number| number.width() as u64);
        saved.shape.iter().try_fold(width, |n, &d| n.checked_mul(d))
    };
    let total = tensors.iter().try_fold(0u64, |sum, (_, saved)| sum.checked_add(bytes(saved)?));
    if total.is_none_or(|total| total > len.saturating_mul(2)) {
        return Err(damaged("its tensors share storage; save them with .contiguous().clone()".into()));
    }
    Ok(Checkpoint { tensors, settings: settings(&pickle) })
}

type Items = [(usize, usize)];

/// Finds the dictionary of a model's tensors: the file's own, or the one part of it that has GPT-2's.
fn weights<'a>(pickle: &'a Pickle<'_>) -> Result<&'a Items, String> {
    let items = match pickle.root() {
        Value::Dict(items) => items,
        Value::Own(Built::Object { class, .. }) => return Err(whole_object(pickle, *class)),
        _ => return Err("it holds no dictionary of tensors; save a model's state_dict()".into()),
    };
    if has_positions(pickle, items) {
        return Ok(items);
    }
    let parts: Vec<(&str, &Value<'_>)> = items.iter().filter_map(|&(key, value)| part(pickle, key, value)).collect();
    let models: Vec<(&str, &Items)> = parts
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Dict(items) if has_positions(pickle, items) => Some((*name, &items[..])),
            _ => None,
        })
        .collect();
    let names = |names: Vec<&str>| names.into_iter().take(8).collect::<Vec<_>>().join(", ");
    match models[..] {
        [(_, items)] => return Ok(items),
        [] => {}
        _ => {
            let names = names(models.iter().map(|(name, _)| *name).collect());
            return Err(format!("it holds several models, {names}; save one of them to a file of its own"));
        }
    }
    let object = parts.iter().find_map(|(name, value)| match (*name, value) {
        ("model" | "module" | "net", Value::Own(Built::Object { class, .. })) => Some(whole_object(pickle, *class)),
        _ => None,
    });
    Err(object.unwrap_or_else(|| {
        format!(
            "none of its parts ({}) holds the weights of a GPT-2, which have a wpe.weight; save a model's state_dict()",
            names(parts.iter().map(|(name, _)| *name).collect())
        )
    }))
}

fn part<'a>(pickle: &'a Pickle<'_>, key: usize, value: usize) -> Option<(&'a str, &'a Value<'a>)> {
    let Value::Text(name) = pickle.value(key) else { return None };
    Some((name, pickle.value(value)))
}

fn has_positions(pickle: &Pickle<'_>, items: &Items) -> bool {
    items.iter().any(|&(key, _)| matches!(pickle.value(key), Value::Text(name) if names::is_positions(name)))
}

fn whole_object(pickle: &Pickle<'_>, class: usize) -> String {
    format!("it holds a Python object, {}, not only its weights; save its state_dict()", name(pickle, class))
}

fn name(pickle: &Pickle<'_>, class: usize) -> String {
    match pickle.value(class) {
        Value::Own(Built::Global(module, name)) => format!("{module}.{name}"),
        _ => "of an unknown class".into(),
    }
}

/// A size or an offset, which is never negative.
fn whole(pickle: &Pickle<'_>, value: Option<&usize>) -> Option<u64> {
    match pickle.value(*value?) {
        Value::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

fn sizes(pickle: &Pickle<'_>, value: Option<&usize>) -> Option<Vec<u64>> {
    let Value::List(list) = pickle.value(*value?) else { return None };
    // more than any tensor has
    const MAX_DIMS: usize = 16;
    (list.len() <= MAX_DIMS).then(|| list.iter().map(|n| whole(pickle, Some(n))).collect())?
}

/// Locates a tensor's numbers. Anything but a tensor of supported numbers counts as an unsupported format.
fn tensor(pickle: &Pickle<'_>, value: usize, storages: &BTreeMap<String, Storage>) -> Result<Saved, String> {
    let other = |what: String| Ok(Saved { number: Err(what), shape: vec![], strides: vec![], start: 0 });
    let call = |value: usize| match pickle.value(value) {
        Value::Own(Built::Object { class, args, .. }) => match pickle.value(*args) {
            Value::List(args) => Some((pickle.value(*class), *class, args)),
            _ => None,
        },
        _ => None,
    };
    let called = match call(value) {
        // a parameter wraps a tensor
        Some((Value::Own(Built::Global("torch._utils", "_rebuild_parameter")), _, args)) => {
            args.first().and_then(|&arg| call(arg))
        }
        called => called,
    };
    let args = match called {
        Some((Value::Own(Built::Global("torch._utils", "_rebuild_tensor_v2")), _, args)) => args,
        Some((_, class, _)) => return other(format!("made by {}", name(pickle, class))),
        None => return other("no tensor".into()),
    };
    let Some(Value::Own(Built::Outside(place))) = args.first().map(|&arg| pickle.value(arg)) else {
        return Err("it has no storage".into());
    };
    let Some(Stored { kind, key }) = stored(pickle, *place) else { return Err("its storage has no name".into()) };
    let (Some(offset), Some(shape), Some(strides)) =
        (whole(pickle, args.get(1)), sizes(pickle, args.get(2)), sizes(pickle, args.get(3)))
    else {
        return Err("its sizes are not numbers".into());
    };
    if shape.len() != strides.len() {
        return Err("it has more or fewer strides than sizes".into());
    }
    let number = number(kind);
    let width = width(kind).ok_or_else(|| format!("its storage is of the unknown kind {kind}"))?;
    let storage = storages.get(key).ok_or_else(|| format!("its storage {key:?} is missing"))?;
    let saved = Saved { number, shape, strides, start: 0 };
    let bytes = |elems: u64| elems.checked_mul(width);
    let (start, span) = (bytes(offset), saved.span().and_then(bytes));
    let is_empty = saved.shape.contains(&0);
    match (start, span) {
        (Some(start), Some(span)) if start.checked_add(span).is_some_and(|end| end <= storage.len) || is_empty => {
            Ok(Saved { start: storage.start.saturating_add(start), ..saved })
        }
        _ => Err(format!("it exceeds its storage of {} bytes", storage.len)),
    }
}

/// A pickle's reference to a storage.
struct Stored<'a> {
    kind: &'a str,
    key: &'a str,
}

/// `("storage", class, key, device, length)`.
fn stored<'a>(pickle: &'a Pickle<'_>, place: usize) -> Option<Stored<'a>> {
    let Value::List(parts) = pickle.value(place) else { return None };
    let [what, class, key, ..] = parts[..] else { return None };
    match (pickle.value(what), pickle.value(class), pickle.value(key)) {
        (Value::Text(what), Value::Own(Built::Global("torch" | "torch.cuda", kind)), Value::Text(key))
            if what == "storage" =>
        {
            Some(Stored { kind, key })
        }
        _ => None,
    }
}

fn number(kind: &str) -> Result<Number, String> {
    match kind {
        "DoubleStorage" => Ok(Number::F64),
        "FloatStorage" => Ok(Number::F32),
        "HalfStorage" => Ok(Number::F16),
        "BFloat16Storage" => Ok(Number::Bf16),
        other => Err(format!("of the kind {}", other.trim_end_matches("Storage"))),
    }
}

/// Bytes of an element.
fn width(kind: &str) -> Option<u64> {
    Some(match kind {
        "ComplexDoubleStorage" => 16,
        "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => 8,
        "FloatStorage" | "IntStorage" | "QInt32Storage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "ByteStorage" | "CharStorage" | "BoolStorage" | "UntypedStorage" | "QInt8Storage" | "QUInt8Storage" => 1,
        _ => return None,
    })
}

fn settings(pickle: &Pickle<'_>) -> Settings {
    let entry = |dict: &str, name: &str| {
        let dict = pickle.get(pickle.root(), dict)?;
        let dict = match dict {
            // a class of settings
            Value::Own(Built::Object { state: Some(state), .. }) => pickle.value(*state),
            other => other,
        };
        pickle.get(dict, name)
    };
    // nanoGPT's config holds the arguments of train.py, model_args the resulting model
    let of_model = |name: &str| entry("model_args", name).or_else(|| entry("config", name));
    let size = |name: &'static str| match of_model(name) {
        Some(Value::Int(n)) => Some((name, u64::try_from(*n).ok()?)),
        _ => None,
    };
    let dropout = match of_model("dropout") {
        Some(Value::Own(Built::Float(p))) => Some(*p as f32),
        Some(Value::Int(0)) => Some(0.0),
        _ => None,
    };
    let dataset = match entry("config", "dataset") {
        Some(Value::Text(name)) => Some(name.to_string()),
        _ => None,
    };
    Settings { sizes: SIZES.into_iter().filter_map(size).collect(), dropout, dataset }
}
