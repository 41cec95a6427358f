//! Safetensors files of other programs, alone or in shards, read piece by piece.
//!
//! Source: the format's description in huggingface/safetensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use super::InteropError;
use super::error::unreadable;
use super::number::Number;

/// Elements that are read at a time.
const PIECE: usize = 1 << 18;

/// What all names begin with in files of models with a head.
const PREFIX: &str = "transformer.";

/// Reads the header of a file that has `len` bytes in all, and says where the tensors' data begins. The data must fill the
/// file exactly, so that no tensor is larger than it.
///
/// # Errors
///
/// [`InteropError::Damaged`].
pub fn read_header(path: &Path, input: &mut impl Read, len: u64) -> Result<(Metadata, u64), InteropError> {
    // the format's own limit
    const MOST_HEADER_BYTES: u64 = 100_000_000;
    let damaged = |reason: String| InteropError::Damaged { path: path.display().to_string(), reason };
    let mut size = [0; 8];
    input.read_exact(&mut size).map_err(|_| damaged("it is too short for a safetensors file".into()))?;
    let size = u64::from_le_bytes(size);
    let start = size.checked_add(8).filter(|&start| start <= len && size <= MOST_HEADER_BYTES);
    let start = start.ok_or_else(|| damaged(format!("its header should have {size} bytes, and the file has {len}")))?;
    let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    input.read_exact(&mut text).map_err(|_| damaged("its header is cut off".into()))?;
    let header: Metadata = serde_json::from_slice(&text).map_err(|e| damaged(format!("its header: {e}")))?;
    let data = header.data_len() as u64;
    if start.checked_add(data) != Some(len) {
        return Err(damaged(format!("its header tells of {data} bytes of tensors, and there are {}", len - start)));
    }
    Ok((header, start))
}

/// Reads `model.safetensors.index.json`: the file of each tensor. Files lie in the folder of the index.
///
/// # Errors
///
/// [`InteropError::Damaged`] on anything but an index, or on a file somewhere else.
pub fn read_index(path: &Path, json: &[u8]) -> Result<BTreeMap<String, String>, InteropError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let damaged = |reason: String| InteropError::Damaged { path: path.display().to_string(), reason };
    let index: Index = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    let is_beside = |file: &str| Path::new(file).file_name().is_some_and(|name| name == file);
    match index.weight_map.iter().find(|(_, file)| !is_beside(file)) {
        Some((tensor, file)) => Err(damaged(format!("{tensor} should be in {file:?}, which is not a file beside it"))),
        None if index.weight_map.is_empty() => Err(damaged("it lists no tensors".into())),
        None => Ok(index.weight_map),
    }
}

/// A tensor's place.
#[derive(Debug)]
struct Place {
    file: usize,
    /// Its name in the file.
    name: String,
    info: TensorInfo,
    /// Units: bytes from the start of the file.
    start: u64,
}

/// The tensors of a model, by GPT-2's names.
#[derive(Debug)]
pub struct Tensors {
    /// What errors about the whole are about: the one file, or the index.
    path: PathBuf,
    files: Vec<(PathBuf, File)>,
    places: BTreeMap<String, Place>,
    /// Attention heads, where the file says so, as tril's do.
    pub n_head: Option<u64>,
}

impl Tensors {
    /// Opens one file.
    ///
    /// # Errors
    ///
    /// A file that can't be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let mut tensors = Self::of(path);
        tensors.add(path)?;
        Ok(tensors)
    }

    fn of(path: &Path) -> Self {
        Self { path: path.into(), files: vec![], places: BTreeMap::new(), n_head: None }
    }

    /// Opens the shards that an index lists.
    ///
    /// # Errors
    ///
    /// A file that can't be read or is damaged, or that lacks a tensor it should have.
    pub fn open_sharded(index: &Path) -> Result<Self, InteropError> {
        let map = read_index(index, &std::fs::read(index).map_err(unreadable(index))?)?;
        let mut tensors = Self::of(index);
        let folder = index.parent().unwrap_or(Path::new(""));
        let mut shards: Vec<&String> = map.values().collect();
        shards.sort();
        shards.dedup();
        for shard in shards {
            tensors.add(&folder.join(shard))?;
        }
        for (name, shard) in &map {
            let place = tensors.places.get(bare(name));
            if place.is_none_or(|place| tensors.files[place.file].0 != folder.join(shard)) {
                return Err(tensor_error(&folder.join(shard), name, "is missing, though the index says it is there"));
            }
        }
        Ok(tensors)
    }

    fn add(&mut self, path: &Path) -> Result<(), InteropError> {
        let io = unreadable(path);
        let mut file = File::open(path).map_err(&io)?;
        let len = file.metadata().map_err(&io)?.len();
        let (header, start) = read_header(path, &mut file, len)?;
        let n_head = header.metadata().as_ref().and_then(|meta| meta.get("n_head")?.parse().ok());
        self.n_head = self.n_head.or(n_head);
        for (name, info) in header.tensors() {
            let place = Place {
                file: self.files.len(),
                name: name.clone(),
                info: info.clone(),
                start: start + info.data_offsets.0 as u64,
            };
            if let Some(other) = self.places.insert(bare(&name).into(), place) {
                let other = format!("is there twice, also as {}", other.name);
                return Err(tensor_error(path, &name, other));
            }
        }
        self.files.push((path.into(), file));
        Ok(())
    }

    /// Names without prefix, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// A tensor's shape.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn shape(&self, name: &str) -> Result<Vec<u64>, InteropError> {
        Ok(self.place(name)?.info.shape.iter().map(|&d| d as u64).collect())
    }

    /// An error about a tensor.
    pub fn wrong(&self, name: &str, reason: impl Into<String>) -> InteropError {
        match self.places.get(name) {
            Some(place) => tensor_error(&self.files[place.file].0, &place.name, reason),
            None => tensor_error(&self.path, name, reason),
        }
    }

    fn place(&self, name: &str) -> Result<&Place, InteropError> {
        self.places.get(name).ok_or_else(|| self.wrong(name, "is missing; get the whole model again"))
    }

    /// Fails on a tensor that is missing, has another shape, or holds numbers that aren't read.
    ///
    /// # Errors
    ///
    /// [`InteropError::Tensor`].
    pub fn check(&self, name: &str, dims: &[u64]) -> Result<(), InteropError> {
        let shape = self.shape(name)?;
        if shape != dims {
            return Err(self.wrong(name, format!("has the shape {shape:?}, and the model needs {dims:?}")));
        }
        self.number(name).map(|_| ())
    }

    fn number(&self, name: &str) -> Result<Number, InteropError> {
        let dtype = self.place(name)?.info.dtype;
        let reason = || format!("is {dtype:?}; F32, F16 and BF16 are read, save the model in one of them");
        Number::of(dtype).ok_or_else(|| self.wrong(name, reason()))
    }

    /// A whole tensor in pieces.
    ///
    /// # Errors
    ///
    /// As [`Tensors::check`], an element that isn't finite, or whatever `sink` says.
    pub fn read<E: From<InteropError>>(
        &self,
        name: &str,
        dims: &[u64],
        mut sink: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check(name, dims)?;
        let n = dims.iter().product();
        let (mut start, mut bytes, mut values) = (0u64, vec![], vec![]);
        while start < n {
            let len = (n - start).min(PIECE as u64) as usize;
            self.piece(name, start, len, (&mut bytes, &mut values))?;
            sink(&values)?;
            start += len as u64;
        }
        Ok(())
    }

    /// Whether two tensors of one shape hold the same numbers.
    ///
    /// # Errors
    ///
    /// As [`Tensors::read`].
    pub fn equal(&self, a: &str, b: &str, dims: &[u64]) -> Result<bool, InteropError> {
        self.check(b, dims)?;
        let (mut start, mut bytes, mut other, mut is_equal) = (0, vec![], vec![], true);
        self.read::<InteropError>(a, dims, |values| {
            if is_equal {
                self.piece(b, start, values.len(), (&mut bytes, &mut other))?;
                is_equal = values == &other[..];
                start += values.len() as u64;
            }
            Ok(())
        })?;
        Ok(is_equal)
    }

    fn piece(
        &self,
        name: &str,
        start: u64,
        len: usize,
        (bytes, values): (&mut Vec<u8>, &mut Vec<f32>),
    ) -> Result<(), InteropError> {
        let (place, number) = (self.place(name)?, self.number(name)?);
        let (path, mut file) = (&self.files[place.file].0, &self.files[place.file].1);
        bytes.resize(len * number.width(), 0);
        let at = SeekFrom::Start(place.start + start * number.width() as u64);
        file.seek(at).and_then(|_| file.read_exact(bytes)).map_err(unreadable(path))?;
        number.decode(bytes, values);
        if values.iter().all(|x| x.is_finite()) {
            return Ok(());
        }
        Err(self.wrong(name, "holds numbers that are not finite: the model has diverged or is damaged"))
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn tensor_error(path: &Path, tensor: &str, reason: impl Into<String>) -> InteropError {
    InteropError::Tensor { path: path.display().to_string(), tensor: tensor.into(), reason: reason.into() }
}
