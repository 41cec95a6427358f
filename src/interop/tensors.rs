//! The tensors of another program's model, in one file or in shards, read piece by piece.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::unreadable;
use super::float_format::Number;
use super::saved::Saved;
use super::{InteropError, mistaken, names, safetensors, torch};

/// Elements read at a time.
const PIECE: usize = 1 << 18;

/// Matrices that show how all are stored, with the ratio of their outputs to inputs.
const TELLING: [(&str, u64); 2] = [("h.0.attn.c_attn.weight", 3), ("h.0.mlp.c_fc.weight", 4)];

/// The place of a tensor.
#[derive(Debug)]
struct Place {
    file: usize,
    /// Its name in the file.
    name: String,
    saved: Saved,
}

/// The tensors of a model, by GPT-2's names.
#[derive(Debug)]
pub struct Tensors {
    /// The path for errors about all of it: the one file, or the index.
    path: PathBuf,
    files: Vec<(PathBuf, File)>,
    places: BTreeMap<String, Place>,
    /// Attention heads, if recorded in the file, as tril does.
    pub n_head: Option<u64>,
    /// Settings from a PyTorch checkpoint.
    pub settings: Option<torch::Settings>,
    /// Whether matrices are stored (out, in), as nanoGPT does: reading transposes them.
    pub by_output: bool,
}

impl Tensors {
    /// Opens one file.
    ///
    /// # Errors
    ///
    /// A file that can't be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let mut all = vec![];
        Self::of(path).add(path, &mut all)?.named(all)
    }

    fn of(path: &Path) -> Self {
        Self {
            path: path.into(),
            files: vec![],
            places: BTreeMap::new(),
            n_head: None,
            settings: None,
            by_output: false,
        }
    }

    /// Opens the shards that an index lists.
    ///
    /// # Errors
    ///
    /// A file that can't be read or is damaged, or that lacks one of its tensors.
    pub fn open_sharded(index: &Path) -> Result<Self, InteropError> {
        let map = safetensors::read_index(index, &mistaken::read_small(index)?)?;
        let (mut tensors, mut all) = (Self::of(index), vec![]);
        let folder = index.parent().unwrap_or(Path::new(""));
        let mut shards: Vec<&String> = map.values().collect();
        shards.sort();
        shards.dedup();
        for shard in shards {
            tensors = tensors.add(&folder.join(shard), &mut all)?;
        }
        let there: BTreeMap<&str, usize> = all.iter().map(|place| (place.name.as_str(), place.file)).collect();
        for (name, shard) in &map {
            let file = there.get(name.as_str()).map(|&file| &tensors.files[file].0);
            if file != Some(&folder.join(shard)) {
                return Err(tensor_error(&folder.join(shard), name, "is missing, though the index lists it"));
            }
        }
        tensors.named(all)
    }

    fn add(mut self, path: &Path, all: &mut Vec<Place>) -> Result<Self, InteropError> {
        let io = unreadable(path);
        let head = mistaken::open_weights(path)?;
        let mut file = File::open(path).map_err(&io)?;
        let len = file.metadata().map_err(&io)?.len();
        let saved = if torch::is_torch(&head) {
            let checkpoint = torch::read(path, &mut file, len)?;
            self.settings = self.settings.or(Some(checkpoint.settings));
            checkpoint.tensors
        } else {
            let (header, start) = safetensors::read_header(path, &mut file, len)?;
            let n_head = header.metadata().as_ref().and_then(|meta| meta.get("n_head")?.parse().ok());
            self.n_head = self.n_head.or(n_head);
            safetensors::saved(&header, start)
        };
        let index = self.files.len();
        all.extend(saved.into_iter().map(|(name, saved)| Place { file: index, name, saved }));
        self.files.push((path.into(), file));
        Ok(self)
    }

    /// Gives tensors GPT-2's names.
    fn named(mut self, all: Vec<Place>) -> Result<Self, InteropError> {
        let known = names::of_gpt2(all.iter().map(|place| place.name.as_str())).map_err(|twice| {
            let reason = format!("appears twice, also as {}; save one model to the file", twice.other);
            tensor_error(&self.path, twice.name, reason)
        })?;
        let known: BTreeMap<String, String> = known.into_iter().map(|(known, name)| (name.into(), known)).collect();
        for place in all {
            if let Some(name) = known.get(&place.name) {
                self.places.insert(name.clone(), place);
            }
        }
        self.by_output = TELLING.iter().all(|(name, times)| {
            let shape = self.places.get(*name).map(|place| &place.saved.shape[..]);
            matches!(shape, Some(&[n_out, n_in]) if Some(n_out) == n_in.checked_mul(*times))
        });
        if self.by_output {
            let is_linear =
                |name: &str| name.ends_with(".weight") && (name.contains(".attn.") || name.contains(".mlp."));
            for place in self.places.iter_mut().filter(|(name, _)| is_linear(name)).map(|(_, place)| place) {
                place.saved.shape.reverse();
                place.saved.strides.reverse();
            }
        }
        Ok(self)
    }

    /// GPT-2's names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Makes a tensor readable under a second name, without a copy.
    pub fn alias(&mut self, name: &str, of: &str) {
        if let Some(Place { file, name: there, saved }) = self.places.get(of) {
            let place = Place { file: *file, name: there.clone(), saved: saved.clone() };
            self.places.entry(name.into()).or_insert(place);
        }
    }

    /// A tensor's shape; for a linear layer (in, out).
    ///
    /// # Errors
    ///
    /// There is no such tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<u64>, InteropError> {
        // unsupported tensors may have none
        self.number(name)?;
        Ok(self.place(name)?.saved.shape.clone())
    }

    /// An error about a tensor.
    pub fn wrong(&self, name: &str, reason: impl Into<String>) -> InteropError {
        match self.places.get(name) {
            Some(place) => tensor_error(&self.files[place.file].0, &place.name, reason),
            None => tensor_error(&self.path, &self.name_there(name), reason),
        }
    }

    /// The name that one of GPT-2's tensors has or would have in the file.
    pub fn name_there(&self, name: &str) -> String {
        let file_name = |known: &str| self.places.get(known).map(|place| place.name.as_str());
        if let Some(there) = file_name(name) {
            return there.into();
        }
        names::as_there(name, file_name)
    }

    fn place(&self, name: &str) -> Result<&Place, InteropError> {
        self.places.get(name).ok_or_else(|| self.missing(name))
    }

    /// The error for a missing tensor, which names some others that are there.
    pub fn missing(&self, name: &str) -> InteropError {
        let others: Vec<&str> = self.places.values().map(|place| place.name.as_str()).take(3).collect();
        let others = match others[..] {
            [] => "the file has none".to_string(),
            _ => format!("the file has {} others, such as {}", self.places.len(), others.join(", ")),
        };
        self.wrong(
            name,
            format!("is missing: {others}; save a complete GPT-2 under the names of transformers or nanoGPT"),
        )
    }

    /// Fails on a tensor that is missing, has another shape, or has an unsupported number format.
    ///
    /// # Errors
    ///
    /// [`InteropError::Tensor`].
    pub fn check(&self, name: &str, dims: &[u64]) -> Result<(), InteropError> {
        let shape = self.shape(name)?;
        if shape != dims {
            return Err(self.wrong(name, format!("has the shape {shape:?}, but the model needs {dims:?}")));
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<Number, InteropError> {
        let reason = |what: &String| self.wrong(name, format!("is {what}; save the model as F64, F32, F16 or BF16"));
        self.place(name)?.saved.number.as_ref().map_err(reason).copied()
    }

    /// Whether reading rounds a tensor to f32.
    pub fn is_rounded(&self, name: &str) -> bool {
        matches!(self.number(name), Ok(Number::F64))
    }

    /// Reads a tensor in pieces.
    ///
    /// # Errors
    ///
    /// As [`Tensors::check`], an element that isn't finite, or the error of `sink`.
    pub fn read<E: From<InteropError>>(
        &self,
        name: &str,
        dims: &[u64],
        mut sink: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut stream, mut values) = (Stream::new(self, name, dims)?, vec![]);
        while stream.next(&mut values)? {
            sink(&values)?;
        }
        Ok(())
    }

    /// Whether two tensors of one shape are equal.
    ///
    /// # Errors
    ///
    /// As [`Tensors::read`].
    pub fn equal(&self, a: &str, b: &str, dims: &[u64]) -> Result<bool, InteropError> {
        let mut streams = (Stream::new(self, a, dims)?, Stream::new(self, b, dims)?);
        let (mut of_a, mut of_b) = (vec![], vec![]);
        while streams.0.next(&mut of_a)? && streams.1.next(&mut of_b)? {
            if of_a != of_b {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads a tensor's elements in row-major order.
struct Stream<'a> {
    tensors: &'a Tensors,
    tensor: &'a str,
    place: &'a Place,
    number: Number,
    /// The tensor's whole span in the file, if it isn't row-major there.
    whole: Option<Vec<f32>>,
    next: u64,
    n: u64,
    bytes: Vec<u8>,
}

impl<'a> Stream<'a> {
    fn new(tensors: &'a Tensors, tensor: &'a str, dims: &[u64]) -> Result<Self, InteropError> {
        tensors.check(tensor, dims)?;
        let (place, number) = (tensors.place(tensor)?, tensors.number(tensor)?);
        let n = dims.iter().product();
        let mut stream = Self { tensors, tensor, place, number, whole: None, next: 0, n, bytes: vec![] };
        if !place.saved.is_dense() {
            let mut whole = vec![];
            // the place was checked against the file when it was made
            stream.load(0, place.saved.span().unwrap_or(u64::MAX), &mut whole)?;
            stream.whole = Some(whole);
        }
        Ok(stream)
    }

    /// Reads the next piece; returns whether there was one.
    fn next(&mut self, values: &mut Vec<f32>) -> Result<bool, InteropError> {
        let len = (self.n - self.next).min(PIECE as u64);
        if len == 0 {
            return Ok(false);
        }
        match &self.whole {
            Some(whole) => {
                let saved = &self.place.saved;
                values.clear();
                values.extend((self.next..self.next + len).map(|elem| whole[offset(saved, elem)]));
            }
            None => self.load(self.next, len, values)?,
        }
        self.next += len;
        if values.iter().all(|x| x.is_finite()) {
            return Ok(true);
        }
        let reason = match self.number {
            Number::F64 => "holds numbers that are not finite in F32: the model has diverged, or is too large for F32",
            _ => "holds numbers that are not finite: the model has diverged or is damaged",
        };
        Err(self.tensors.wrong(self.tensor, reason))
    }

    /// Loads elements in the file's order.
    fn load(&mut self, start: u64, len: u64, values: &mut Vec<f32>) -> Result<(), InteropError> {
        let (path, mut file) = (&self.tensors.files[self.place.file].0, &self.tensors.files[self.place.file].1);
        let width = self.number.width() as u64;
        self.bytes.resize((len * width) as usize, 0);
        let at = SeekFrom::Start(self.place.saved.start + start * width);
        file.seek(at).and_then(|_| file.read_exact(&mut self.bytes)).map_err(unreadable(path))?;
        self.number.decode(&self.bytes, values);
        Ok(())
    }
}

/// The offset of an element from the first one in the file.
fn offset(saved: &Saved, elem: u64) -> usize {
    let mut rest = elem;
    let dims = saved.shape.iter().zip(&saved.strides).rev();
    let place = dims.map(|(n, stride)| {
        let at = rest % n;
        rest /= n;
        at * stride
    });
    place.sum::<u64>() as usize
}

fn tensor_error(path: &Path, tensor: &str, reason: impl Into<String>) -> InteropError {
    InteropError::Tensor { path: path.display().to_string(), tensor: tensor.into(), reason: reason.into() }
}
