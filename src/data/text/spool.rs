use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::SpooledTempFile;

use crate::data::DataError;

/// Units: bytes kept in memory; more go to a file.
const HELD_BYTES: usize = 16 << 20;

/// Stores data that can be read only once: in memory if it is small, otherwise in an unnamed file in the system's
/// folder for temporary files, which vanishes with the process.
#[derive(Clone, Debug)]
pub(in crate::data) struct Spool(Arc<Mutex<SpooledTempFile>>);

impl Spool {
    /// Reads everything; `on` receives the number of bytes so far, and its error ends the reading.
    ///
    /// # Errors
    ///
    /// Fails if `name` can't be read, or there is no disk space for a temporary file.
    pub fn fill(
        name: &str,
        input: &mut dyn Read,
        on: &mut dyn FnMut(u64) -> Result<(), DataError>,
    ) -> Result<Spool, DataError> {
        const BLOCK_BYTES: usize = 1 << 17;
        let mut file = SpooledTempFile::new(HELD_BYTES);
        let (mut block, mut n_byte) = (vec![0; BLOCK_BYTES], 0);
        loop {
            on(n_byte)?;
            let n = match input.read(&mut block) {
                Ok(0) => return Ok(Spool(Arc::new(Mutex::new(file)))),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(DataError::Unreadable { name: name.into(), source }),
            };
            file.write_all(&block[..n]).map_err(|source| DataError::Spool {
                name: name.into(),
                folder: std::env::temp_dir(),
                source,
            })?;
            n_byte += n as u64;
        }
    }

    /// Returns a reader from the start.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader { spool: self.clone(), at: 0 }
    }

    /// Units: bytes.
    pub fn len(&self) -> io::Result<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).seek(SeekFrom::End(0))
    }
}

/// A reader of a spool.
pub(in crate::data) struct SpoolReader {
    spool: Spool,
    at: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = self.spool.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let n = file.read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}
