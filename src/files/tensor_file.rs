//! Safetensors files of f32 tensors, written and read in pieces: at most one piece of a tensor is in memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::pointer::lfs_pointer;
use super::{FileError, io_error};

/// Names and shapes in the order of the data.
pub(crate) type Entries = Vec<(String, Vec<u64>)>;

/// Elements of a piece: 1 MiB.
pub(crate) const PIECE: usize = 1 << 18;

/// The key of a file's own checksum.
const CRC: &str = "crc32";

/// The key that says what the checksum covers: without it, only the tensors.
const CRC_OF: (&str, &str) = ("crc32_of", "metadata and tensors");

/// Starts a checksum with a file's metadata.
fn begin_crc<'a>(meta: impl Iterator<Item = (&'a String, &'a String)>) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    let sorted: std::collections::BTreeMap<_, _> = meta.filter(|(key, _)| *key != CRC).collect();
    for (key, value) in sorted {
        crc.update(key.as_bytes());
        crc.update(value.as_bytes());
    }
    crc
}

/// A file being written.
pub(crate) struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    crc: crc32fast::Hasher,
    /// The offset of the checksum's eight digits, which are filled in at the end.
    crc_at: Option<u64>,
}

impl Writer {
    /// Writes the header, with room for the CRC-32 of the metadata and all data as `crc32`.
    pub fn create(path: &Path, entries: &Entries, mut meta: HashMap<String, String>) -> Result<Self, FileError> {
        const ZEROS: &str = "00000000";
        meta.insert(CRC.into(), ZEROS.into());
        meta.insert(CRC_OF.0.into(), CRC_OF.1.into());
        let crc = begin_crc(meta.iter());
        let mut end = 0;
        let infos = entries.iter().map(|(name, dims)| {
            let shape: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
            let start = end;
            end += shape.iter().product::<usize>() * size_of::<f32>();
            (name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
        });
        // sorted, so that the same content gives the same bytes
        let header = Metadata::new(None, infos.collect()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut json = serde_json::to_value(&header).unwrap_or_else(|e| panic!("a header has a JSON form: {e}"));
        json["__metadata__"] = serde_json::json!(meta.into_iter().collect::<std::collections::BTreeMap<_, _>>());
        let mut text = json.to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        let crc_at = text.find(&format!("\"{CRC}\":\"{ZEROS}\"")).map(|at| (8 + at + CRC.len() + 4) as u64);

        let io = io_error(path);
        let mut out = BufWriter::new(File::create(path).map_err(&io)?);
        out.write_all(&(text.len() as u64).to_le_bytes()).map_err(&io)?;
        out.write_all(text.as_bytes()).map_err(&io)?;
        Ok(Self { path: path.into(), out, crc, crc_at })
    }

    /// Appends values: complete tensors, in the order of the entries.
    pub fn write(&mut self, values: &[f32]) -> Result<(), FileError> {
        let bytes = bytemuck::cast_slice(values);
        self.crc.update(bytes);
        self.out.write_all(bytes).map_err(io_error(&self.path))
    }

    /// Completes the file and syncs it.
    pub fn finish(self) -> Result<(), FileError> {
        let io = io_error(&self.path);
        let mut file = self.out.into_inner().map_err(|e| io(e.into_error()))?;
        if let Some(at) = self.crc_at {
            file.seek(SeekFrom::Start(at)).map_err(&io)?;
            file.write_all(format!("{:08x}", self.crc.finalize()).as_bytes()).map_err(&io)?;
        }
        file.sync_all().map_err(&io)
    }
}

/// A file being read.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    header: Metadata,
    data_start: u64,
}

impl Reader {
    /// Reads the header and checks the file's length against it.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let io = io_error(path);
        let damaged = |reason: String| FileError::Damaged { path: path.display().to_string(), reason };
        // opening a pipe would wait for a writer
        match fs::metadata(path).map_err(&io)? {
            kind if kind.is_file() => {}
            kind if kind.is_dir() => return Err(damaged("it is a folder".into())),
            _ => return Err(damaged("it is not a file".into())),
        }
        let file = File::open(path).map_err(&io)?;
        let len = file.metadata().map_err(&io)?.len();
        let mut file = BufReader::new(file);
        let mut size = [0; 8];
        if len == 0 {
            return Err(damaged("it is empty".into()));
        }
        if let Some(what) = lfs_pointer(file.fill_buf().map_err(&io)?) {
            return Err(damaged(format!("it {what}")));
        }
        file.read_exact(&mut size).map_err(|_| damaged("it is truncated".into()))?;
        let size = u64::from_le_bytes(size);
        let data_start = size.checked_add(8).filter(|&start| start <= len);
        let data_start = data_start.ok_or_else(|| damaged("it is truncated".into()))?;
        let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        file.read_exact(&mut text).map_err(&io)?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if data_start + header.data_len() as u64 != len {
            return Err(damaged("its length does not match its header".into()));
        }
        Ok(Self { path: path.into(), file, header, data_start })
    }

    /// An entry of the metadata.
    pub fn meta(&self, key: &str) -> Result<&str, FileError> {
        let found = self.header.metadata().as_ref().and_then(|m| m.get(key));
        found.map(String::as_str).ok_or_else(|| self.damaged(format!("it has no {key}")))
    }

    /// Whether the file holds a checksum.
    pub fn is_checked(&self) -> bool {
        self.meta(CRC).is_ok()
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a damaged file.
    pub fn damaged(&self, reason: String) -> FileError {
        FileError::Damaged { path: self.path.display().to_string(), reason }
    }

    /// Seeks a tensor of that name and shape; [`Reader::read`] then returns its elements in order.
    pub fn seek(&mut self, name: &str, dims: &[u64]) -> Result<(), FileError> {
        let info = self.header.info(name).ok_or_else(|| self.damaged(format!("it has no tensor {name}")))?;
        let shape: Vec<u64> = info.shape.iter().map(|&d| d as u64).collect();
        if info.dtype != Dtype::F32 || shape != dims {
            return Err(self.damaged(format!("{name} is {:?} {shape:?}, expected F32 {dims:?}", info.dtype)));
        }
        let at = self.data_start + info.data_offsets.0 as u64;
        self.file.seek(SeekFrom::Start(at)).map_err(io_error(&self.path))?;
        Ok(())
    }

    /// Reads the next elements.
    pub fn read(&mut self, values: &mut [f32]) -> Result<(), FileError> {
        self.file.read_exact(bytemuck::cast_slice_mut(values)).map_err(io_error(&self.path))
    }

    /// Checks the file's checksum over these tensors, in this order.
    pub fn verify(&mut self, entries: &Entries) -> Result<(), FileError> {
        let meta = self.header.metadata().clone().unwrap_or_default();
        let covers_meta = meta.contains_key(CRC_OF.0);
        let mut crc = if covers_meta { begin_crc(meta.iter()) } else { crc32fast::Hasher::new() };
        let mut piece = vec![0f32; PIECE];
        for (name, dims) in entries {
            self.seek(name, dims)?;
            let mut left = dims.iter().product::<u64>() as usize;
            while left > 0 {
                let n = left.min(PIECE);
                self.read(&mut piece[..n])?;
                crc.update(bytemuck::cast_slice(&piece[..n]));
                left -= n;
            }
        }
        let same = format!("{:08x}", crc.finalize()) == self.meta(CRC)?;
        if same { Ok(()) } else { Err(self.damaged("its checksum doesn't match".into())) }
    }
}
