//! A file of an export being written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::files::{FileError, io_error};

/// A file of an export being written.
pub(super) struct OutFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl OutFile {
    pub fn create(folder: &Path, name: &str) -> Result<Self, FileError> {
        let path = folder.join(name);
        let out = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(io_error(&path))?);
        Ok(Self { path, out })
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.out.write_all(bytes).map_err(io_error(&self.path))
    }

    /// Appends values, little-endian.
    pub fn floats(&mut self, values: &[f32]) -> Result<(), FileError> {
        self.bytes(bytemuck::cast_slice(values))
    }

    /// Completes the file and syncs it.
    pub fn finish(self) -> Result<(), FileError> {
        let io = io_error(&self.path);
        self.out.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(&io)
    }
}
