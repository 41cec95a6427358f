//! A file as bytes in memory that the system reads in when they are looked at, and drops when it needs the room.

// Mapping a file takes `unsafe`, since another process may change it under a reference to its bytes. All that is done with
// these bytes is to copy them as numbers, of which any will do: a batch's ids are checked against the vocabulary again when it
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
        // SAFETY: the map is read only, and nothing but plain numbers is ever read from it.
        let map = unsafe { Mmap::map(file)? };
        // windows begin anywhere, so what lies around one is of no use; only advice, so a refusal doesn't matter
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
