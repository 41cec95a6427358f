use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::data::DataError;

/// Units: bytes of tokens kept in memory; more go to a file.
pub(in crate::data) const HELD_BYTES: usize = 64 << 20;

/// Units: bytes of a block; a multiple of every width.
const BLOCK_BYTES: usize = 1 << 20;

/// Tokens of a text, in as few bytes each as their vocabulary allows: in memory if they are few, otherwise in an
/// unnamed file in the system's folder for temporary files, which vanishes with the process.
#[derive(Debug)]
pub(in crate::data) struct Held {
    /// Units: bytes of a token.
    width: usize,
    /// Units: bytes, the most kept in memory.
    most: usize,
    blocks: Blocks,
    /// The tokens that don't fill a block yet.
    tail: Vec<u8>,
    n_token: usize,
}

#[derive(Debug)]
enum Blocks {
    Memory(Vec<Vec<u8>>),
    File(Mutex<File>),
}

impl Held {
    /// Creates an empty store for ids below `vocab_size`, with at most `most` bytes in memory.
    pub fn new(vocab_size: usize, most: usize) -> Held {
        let width = match vocab_size {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        Held { width, most, blocks: Blocks::Memory(vec![]), tail: vec![], n_token: 0 }
    }

    /// Appends ids of the vocabulary.
    ///
    /// # Errors
    ///
    /// No disk space for a temporary file.
    pub fn extend(&mut self, ids: impl IntoIterator<Item = u32>) -> Result<(), DataError> {
        for id in ids {
            self.tail.extend_from_slice(&id.to_le_bytes()[..self.width]);
            self.n_token += 1;
            if self.tail.len() == BLOCK_BYTES {
                self.put_away().map_err(|source| DataError::Spool {
                    name: "the tokens".into(),
                    folder: std::env::temp_dir(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Appends a whole block to the others.
    fn put_away(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.tail, Vec::with_capacity(BLOCK_BYTES));
        match &mut self.blocks {
            Blocks::Memory(blocks) => blocks.push(block),
            Blocks::File(file) => file.get_mut().unwrap_or_else(PoisonError::into_inner).write_all(&block)?,
        }
        if let Blocks::Memory(blocks) = &self.blocks
            && blocks.len() * BLOCK_BYTES > self.most
        {
            let mut file = tempfile::tempfile()?;
            blocks.iter().try_for_each(|block| file.write_all(block))?;
            self.blocks = Blocks::File(Mutex::new(file));
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.n_token
    }

    /// Releases unused memory, as no more tokens will come.
    pub fn shrink(&mut self) {
        self.tail.shrink_to_fit();
    }

    /// The ids of a range, which must lie within the store.
    pub fn get(&self, range: Range<usize>) -> Vec<u32> {
        let mut bytes = Vec::with_capacity(range.len() * self.width);
        let (mut at, end) = (range.start * self.width, range.end * self.width);
        let n_away = self.n_token * self.width - self.tail.len();
        while at < end {
            let (block, from) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
            let n = (end - at).min(BLOCK_BYTES - from);
            match &self.blocks {
                _ if at >= n_away => bytes.extend_from_slice(&self.tail[from..from + n]),
                Blocks::Memory(blocks) => bytes.extend_from_slice(&blocks[block][from..from + n]),
                Blocks::File(file) => {
                    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                    let sought = file.seek(SeekFrom::Start(at as u64));
                    let read = sought.and_then(|_| (&mut *file).take(n as u64).read_to_end(&mut bytes));
                    assert!(read.is_ok_and(|got| got == n), "a temporary file of this process can no longer be read");
                }
            }
            at += n;
        }
        let id = |token: &[u8]| token.iter().rev().fold(0, |id, &byte| id << 8 | u32::from(byte));
        bytes.chunks_exact(self.width).map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_again_in_memory_and_in_a_file() {
        const BLOCK: usize = BLOCK_BYTES / 4;
        let n = 9 * BLOCK + 77;
        for most in [0, 2 * BLOCK_BYTES, usize::MAX] {
            for (vocab_size, highest) in [(256, 255), (65_536, 65_535), (65_537, 65_536)] {
                let id = |at: usize| (at * 31 % (highest as usize + 1)) as u32;
                let mut held = Held::new(vocab_size, most);
                for from in (0..n).step_by(777_777) {
                    held.extend((from..n.min(from + 777_777)).map(id)).expect("room");
                }
                held.extend([highest]).expect("room");
                held.shrink();
                assert_eq!(held.len(), n + 1);
                for range in [0..3, BLOCK - 2..BLOCK + 2, 4 * BLOCK - 1..8 * BLOCK + 1, n - 1..n + 1, 5..5] {
                    let expected: Vec<u32> = range.clone().map(|at| if at == n { highest } else { id(at) }).collect();
                    assert!(held.get(range.clone()) == expected, "{vocab_size} {range:?} {most}");
                }
            }
        }
    }
}
