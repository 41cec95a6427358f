//! Reads model files of llm.c.
//!
//! Source: `write_model` and `gpt2_build_from_checkpoint` of karpathy/llm.c. Each kind of tensor is stored for all
//! layers before the next, and matrices are (out, in).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::InteropError;
use super::error::unreadable;
use super::float_format::Number;

/// The magic number of a model file.
pub const MAGIC: i32 = 20_240_326;
/// Units: bytes.
pub const HEADER_BYTES: usize = 1024;
/// The magic numbers of llm.c's other files.
const OTHERS: [(i32, &str); 4] = [
    (20_240_327, "the state of a debugging run"),
    (20_240_328, "a tokenizer"),
    (20_240_520, "tokens"),
    (20_240_801, "tokens"),
];

/// Elements read at a time, if a tensor needn't be in memory as a whole.
const PIECE: usize = 1 << 18;

/// The header of a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    number: Number,
    /// Positions, tril's block size.
    pub max_seq_len: u64,
    /// Tokens.
    pub vocab_size: u64,
    /// Transformer blocks.
    pub n_layer: u64,
    /// Attention heads.
    pub n_head: u64,
    /// Channels.
    pub channels: u64,
    /// Rows of the token embedding, including padding.
    pub padded_vocab_size: u64,
}

/// Whether a file's first bytes are those of an llm.c file.
pub fn is_llmc(bytes: &[u8]) -> bool {
    let magic = bytes.first_chunk().map(|&b| i32::from_le_bytes(b));
    magic.is_some_and(|magic| magic == MAGIC || OTHERS.iter().any(|(other, _)| *other == magic))
}

/// Parses the header of a model file of `len` bytes, and checks that its tensors fill the file exactly.
///
/// # Errors
///
/// Another kind of llm.c file, another version, or sizes that don't fit the file.
pub fn parse_header(path: &Path, bytes: &[u8], len: u64) -> Result<Header, InteropError> {
    let name = || path.display().to_string();
    let damaged = |reason: String| InteropError::Damaged { path: name(), reason };
    let no_model = |reason: String| InteropError::NotAModel { path: name(), reason };
    let header = bytes.get(..HEADER_BYTES).ok_or_else(|| damaged("its header is truncated".into()))?;
    let words: Vec<i32> = header.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b)).collect();
    if let Some((_, what)) = OTHERS.iter().find(|(other, _)| *other == words[0]) {
        return Err(no_model(format!("it is an llm.c file, but of {what}; give the model's file")));
    }
    let number = match (words[0], words[1]) {
        // for a while, version 3 had another layout, without padding
        (MAGIC, 3) if words[7] == 0 => {
            return Err(no_model(
                "it is an early llm.c model in another layout; write it again with a newer llm.c".into(),
            ));
        }
        (MAGIC, 3) => Number::F32,
        (MAGIC, 5) => Number::Bf16,
        (MAGIC, version) => {
            return Err(no_model(format!(
                "it is an llm.c model of version {version}, but tril reads 3 (f32) and 5 (bf16); write it again with a newer llm.c"
            )));
        }
        _ => return Err(no_model("it is not an llm.c model".into())),
    };
    let size = |at: usize, what: &str| {
        let value = u64::try_from(words[at]).ok().filter(|&n| n > 0);
        value.ok_or_else(|| damaged(format!("its header says {} for {what}", words[at])))
    };
    let header = Header {
        number,
        max_seq_len: size(2, "the length of the context")?,
        vocab_size: size(3, "the vocabulary")?,
        n_layer: size(4, "layers")?,
        n_head: size(5, "heads")?,
        channels: size(6, "channels")?,
        padded_vocab_size: size(7, "the padded vocabulary")?,
    };
    if header.padded_vocab_size < header.vocab_size {
        let (padded, v) = (header.padded_vocab_size, header.vocab_size);
        return Err(damaged(format!("its padded vocabulary of {padded} is smaller than its vocabulary of {v}")));
    }
    let total = header.bytes();
    if total != Some(len) {
        let total = total.map_or("more".into(), |n| n.to_string());
        return Err(damaged(format!("its header declares {total} bytes, but the file has {len}")));
    }
    Ok(header)
}

impl Header {
    /// The kinds of tensors in the file's order: name within a layer or the model, elements of one, whether each layer
    /// has one. `None` if a size overflows.
    fn kinds(&self) -> Option<[(&'static str, u64, u64); 16]> {
        let (c, l) = (self.channels, self.n_layer);
        let cc = c.checked_mul(c)?;
        Some([
            ("wte.weight", self.padded_vocab_size.checked_mul(c)?, 1),
            ("wpe.weight", self.max_seq_len.checked_mul(c)?, 1),
            ("ln_1.weight", c, l),
            ("ln_1.bias", c, l),
            ("attn.c_attn.weight", cc.checked_mul(3)?, l),
            ("attn.c_attn.bias", c.checked_mul(3)?, l),
            ("attn.c_proj.weight", cc, l),
            ("attn.c_proj.bias", c, l),
            ("ln_2.weight", c, l),
            ("ln_2.bias", c, l),
            ("mlp.c_fc.weight", cc.checked_mul(4)?, l),
            ("mlp.c_fc.bias", c.checked_mul(4)?, l),
            ("mlp.c_proj.weight", cc.checked_mul(4)?, l),
            ("mlp.c_proj.bias", c, l),
            ("ln_f.weight", c, 1),
            ("ln_f.bias", c, 1),
        ])
    }

    /// Units: bytes of the whole file.
    fn bytes(&self) -> Option<u64> {
        let add = |sum: u64, (_, len, n): (_, u64, u64)| sum.checked_add(len.checked_mul(n)?);
        let elems = self.kinds()?.into_iter().try_fold(0, add)?;
        elems.checked_mul(self.number.width() as u64)?.checked_add(HEADER_BYTES as u64)
    }

    /// Units: the number of elements before a tensor.
    fn place(&self, name: &str) -> Option<u64> {
        let (layer, kind) = match name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) {
            Some((layer, kind)) => (layer.parse().ok()?, kind),
            None => (0, name),
        };
        let mut before = 0;
        for (other, len, n) in self.kinds()? {
            if other == kind {
                return (layer < n).then_some(before + layer * len);
            }
            before += len * n;
        }
        None
    }
}

/// A model file.
#[derive(Debug)]
pub struct Model {
    /// Its header.
    pub header: Header,
    path: PathBuf,
    file: File,
}

impl Model {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    ///
    /// As [`parse_header`], and the operating system's error.
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let io = unreadable(path);
        let file = File::open(path).map_err(&io)?;
        let len = file.metadata().map_err(&io)?.len();
        let mut bytes = vec![];
        (&file).take(HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(&io)?;
        Ok(Self { header: parse_header(path, &bytes, len)?, path: path.into(), file })
    }

    /// Reads a tensor in pieces, matrices of linear layers as (in, out); of a padded embedding only the rows of tokens.
    ///
    /// # Errors
    ///
    /// A missing tensor, an element that isn't finite, or the error of `sink`.
    pub fn read<E: From<InteropError>>(
        &self,
        name: &str,
        dims: &[u64],
        mut sink: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let error = |reason: &str| InteropError::Tensor {
            path: self.path.display().to_string(),
            tensor: name.into(),
            reason: reason.into(),
        };
        let place =
            self.header.place(name).ok_or_else(|| error("is missing; llm.c's models have none of that name"))?;
        let number = self.header.number;
        let mut file = &self.file;
        let at = HEADER_BYTES as u64 + place * number.width() as u64;
        file.seek(SeekFrom::Start(at)).map_err(unreadable(&self.path))?;
        let (mut bytes, mut values) = (vec![], vec![]);
        let mut next = |len: usize, values: &mut Vec<f32>| {
            bytes.resize(len * number.width(), 0);
            file.read_exact(&mut bytes).map_err(unreadable(&self.path))?;
            number.decode(&bytes, values);
            if values.iter().all(|x| x.is_finite()) {
                return Ok(());
            }
            Err(error("holds numbers that are not finite: the model has diverged or is damaged"))
        };
        let n = dims.iter().product::<u64>() as usize;
        match *dims {
            [n_in, n_out] if name.starts_with("h.") => {
                let (n_in, n_out) = (n_in as usize, n_out as usize);
                let mut whole = Vec::with_capacity(n);
                for _ in 0..n_out {
                    next(n_in, &mut values)?;
                    whole.extend_from_slice(&values);
                }
                let mut row = vec![0.0; n_out];
                for i in 0..n_in {
                    row.iter_mut().enumerate().for_each(|(o, x)| *x = whole[o * n_in + i]);
                    sink(&row)?;
                }
            }
            _ => {
                let mut left = n;
                while left > 0 {
                    let len = left.min(PIECE);
                    next(len, &mut values)?;
                    sink(&values)?;
                    left -= len;
                }
            }
        }
        Ok(())
    }
}
