//! Reads safetensors files of other programs, and the indices of sharded models.
//!
//! Source: the format's description in huggingface/safetensors.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::InteropError;
use super::float_format::Number;
use super::saved::Saved;
use crate::units::count;

/// Reads the header of a file of `len` bytes, and returns where the tensors' data begins. The data must fill the
/// file exactly, so that no tensor exceeds it.
///
/// # Errors
///
/// [`InteropError::Damaged`].
pub fn read_header(path: &Path, input: &mut impl Read, len: u64) -> Result<(Metadata, u64), InteropError> {
    // the format's own limit
    const MAX_HEADER_BYTES: u64 = 100_000_000;
    let damaged = |reason: String| InteropError::Damaged { path: path.display().to_string(), reason };
    let mut size = [0; 8];
    input.read_exact(&mut size).map_err(|_| damaged("it is too short for a safetensors file".into()))?;
    let size = u64::from_le_bytes(size);
    let start = size.checked_add(8).filter(|&start| start <= len && size <= MAX_HEADER_BYTES);
    let start = start
        .ok_or_else(|| damaged(format!("its header should have {}, but the file has {len}", count(size, "byte"))))?;
    let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    input.read_exact(&mut text).map_err(|_| damaged("its header is truncated".into()))?;
    let header: Metadata = serde_json::from_slice(&text).map_err(|e| damaged(format!("its header: {e}")))?;
    let data = header.data_len() as u64;
    if start.checked_add(data) != Some(len) {
        return Err(damaged(format!(
            "its header declares {} of tensors, but the file has {}",
            count(data, "byte"),
            len - start
        )));
    }
    Ok((header, start))
}

/// Parses `model.safetensors.index.json`, or that of a sharded PyTorch model, into the file of each tensor, in the
/// folder of the index.
///
/// # Errors
///
/// [`InteropError::Damaged`] for anything but an index, or for a file in another folder.
pub fn read_index(path: &Path, json: &[u8]) -> Result<BTreeMap<String, String>, InteropError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let damaged = |reason: String| InteropError::Damaged { path: path.display().to_string(), reason };
    let index: Index = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    let is_beside = |file: &str| Path::new(file).file_name().is_some_and(|name| name == file);
    match index.weight_map.iter().find(|(_, file)| !is_beside(file)) {
        Some((tensor, file)) => Err(damaged(format!("{tensor} should be in {file:?}, which is not a file next to it"))),
        None if index.weight_map.is_empty() => Err(damaged("it lists no tensors".into())),
        None => Ok(index.weight_map),
    }
}

/// The tensors of a header, whose data begins at `start`.
pub(super) fn saved(header: &Metadata, start: u64) -> Vec<(String, Saved)> {
    let tensor = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let shape: Vec<u64> = info.shape.iter().map(|&d| d as u64).collect();
        let number = Number::of(info.dtype).ok_or_else(|| format!("{:?}", info.dtype));
        let start = start + info.data_offsets.0 as u64;
        (name, Saved { number, strides: Saved::dense(&shape), shape, start })
    };
    let mut all: Vec<_> = header.tensors().into_iter().map(tensor).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
