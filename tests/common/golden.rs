//! Reads the golden files in `assets/golden`. A tensor that isn't there fails the test that asks for it.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use tril::data::Batch;
use tril::model::{ModelConfig, Positions};

/// One golden file.
pub struct Golden {
    stem: String,
    bytes: Vec<u8>,
}

/// Where the goldens are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/golden")
}

#[allow(dead_code, reason = "each test binary uses its own part of this")]
impl Golden {
    /// Opens the file of an op or a model by its stem.
    pub fn open(stem: &str) -> Golden {
        Golden::read(&folder().join(format!("{stem}.safetensors")))
    }

    /// Opens any file.
    pub fn read(path: &Path) -> Golden {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Golden { stem: path.file_stem().unwrap().to_string_lossy().into_owned(), bytes }
    }

    /// The names of an op's cases; its tensors are named `<case>.<tensor>`.
    pub fn cases(&self) -> Vec<String> {
        self.meta("cases").split(',').map(str::to_owned).collect()
    }

    /// A tensor's values, whatever number type holds them.
    pub fn f64(&self, name: &str) -> Vec<f64> {
        let tensors = self.tensors();
        let tensor = self.tensor(&tensors, name);
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            Dtype::U32 => data.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            other => panic!("{}: {name} is {other:?}", self.stem),
        }
    }

    /// A tensor of f32 values or of f64 values that are exact in f32, as all inputs are.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        let exact = |value: f64| {
            let narrow = value as f32;
            assert!(f64::from(narrow) == value || value.is_nan(), "{}: {name} has {value:e}, not an f32", self.stem);
            narrow
        };
        self.f64(name).into_iter().map(exact).collect()
    }

    /// A tensor of whole numbers: tokens, targets, random words.
    pub fn u32(&self, name: &str) -> Vec<u32> {
        let tensors = self.tensors();
        let tensor = self.tensor(&tensors, name);
        assert_eq!(tensor.dtype(), Dtype::U32, "{}: {name}", self.stem);
        tensor.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// A tensor of whole numbers as sizes.
    pub fn sizes(&self, name: &str) -> Vec<usize> {
        self.u32(name).into_iter().map(|size| size as usize).collect()
    }

    /// The only value of a tensor without dimensions.
    pub fn scalar(&self, name: &str) -> f64 {
        let values = self.f64(name);
        assert_eq!(values.len(), 1, "{}: {name} is no scalar", self.stem);
        values[0]
    }

    /// A tensor's shape, empty for a scalar.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.tensor(&self.tensors(), name).shape().to_vec()
    }

    /// Whether a tensor is there, for the optional ones such as a bias.
    pub fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    /// What follows `prefix` in the names that begin with it, sorted: `names("grad.")` are a model's parameters.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let tensors = self.tensors();
        let mut names: Vec<String> =
            tensors.names().iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect();
        assert!(!names.is_empty(), "{}: no tensor begins with {prefix}", self.stem);
        names.sort();
        names
    }

    /// A value of the file's metadata.
    pub fn meta(&self, key: &str) -> String {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).unwrap();
        let value = metadata.metadata().as_ref().and_then(|map| map.get(key).cloned());
        value.unwrap_or_else(|| panic!("{}: no metadata {key}", self.stem))
    }

    /// A value of the file's metadata as a number or a flag.
    pub fn parsed<T: std::str::FromStr>(&self, key: &str) -> T {
        let text = self.meta(key);
        text.parse().unwrap_or_else(|_| panic!("{}: metadata {key} is {text}", self.stem))
    }

    /// The configuration of a golden model, without dropout.
    pub fn model(&self) -> ModelConfig {
        ModelConfig {
            n_layer: self.parsed("n_layer"),
            n_head: self.parsed("n_head"),
            n_embd: self.parsed("n_embd"),
            block_size: self.parsed("block_size"),
            vocab_size: self.parsed("vocab_size"),
            bias: self.parsed("bias"),
            tied: self.parsed("tied"),
            positions: if self.parsed("learned_positions") { Positions::Learned } else { Positions::Sinusoidal },
            dropout: 0.0,
        }
    }

    /// The batch of a golden model.
    pub fn batch(&self) -> Batch {
        let (tokens, targets) = (self.u32("tokens"), self.u32("targets"));
        Batch { tokens, targets, firsts: vec![], b: self.parsed("b"), t: self.parsed("t") }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|error| panic!("{}: {error}", self.stem))
    }

    fn tensor<'a>(&self, tensors: &SafeTensors<'a>, name: &str) -> safetensors::tensor::TensorView<'a> {
        tensors.tensor(name).unwrap_or_else(|_| panic!("{} has no tensor {name}", self.stem))
    }
}
