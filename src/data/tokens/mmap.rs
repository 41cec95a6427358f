//! A memory-mapped file: the system reads its pages when they are accessed, and drops them when it needs memory.

// Mapping a file takes `unsafe`, since another process may change it under a reference to its bytes. These bytes are
// only copied as numbers, of which any value is valid: a batch's ids are checked against the vocabulary again when it
// is written.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// A whole file.
#[derive(Debug)]
pub(super) struct Mapped(Mmap);

impl Mapped {
    pub fn new(file: &File) -> io::Result<Mapped> {
        // SAFETY: the map is read-only, and only plain numbers are ever read from it.
        let map = unsafe { Mmap::map(file)? };
        // windows begin anywhere, so readahead is useless; only advice, so a refusal doesn't matter
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Random);
        Ok(Mapped(map))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
