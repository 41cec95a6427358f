//! Caches the ids of words: a text has few distinct ones, and looking one up is many times faster.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use super::gpt2_split::words;
use crate::data::DataError;

/// The maximum number of cached words per thread, and the longest of them in bytes: a few MiB.
const MAX_WORDS: usize = 1 << 15;
const LONGEST_WORD: usize = 48;

#[derive(Default)]
struct Known {
    /// The tokenizer they belong to.
    of: u64,
    words: FxHashMap<Box<[u8]>, Box<[u32]>>,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The key of a tokenizer in the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner(u64);

impl Owner {
    pub fn new() -> Owner {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Owner(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Encodes a text that GPT-2's pattern splits into words. `id_of` looks up words with an id of their own
/// quickly; `encode` handles all others. A word alone is still one word.
///
/// # Errors
///
/// The error of `encode`, with the word's position in the text.
pub(super) fn encode_words(
    owner: Owner,
    ids: &mut Vec<u32>,
    text: &str,
    id_of: impl Fn(&[u8]) -> Option<u32>,
    encode: impl Fn(&str) -> Result<Vec<u32>, DataError>,
) -> Result<(), DataError> {
    KNOWN.with_borrow_mut(|known| {
        if known.of != owner.0 {
            *known = Known { of: owner.0, ..Known::default() };
        }
        let known = &mut known.words;
        let mut done = 0;
        for word in words(text) {
            let bytes = word.as_bytes();
            if let Some(id) = id_of(bytes) {
                ids.push(id);
            } else if let Some(pieces) = known.get(bytes) {
                ids.extend_from_slice(pieces);
            } else {
                let pieces = encode(word).map_err(|error| error.further(text[..done].chars().count()))?;
                ids.extend_from_slice(&pieces);
                if bytes.len() <= LONGEST_WORD {
                    if known.len() == MAX_WORDS {
                        known.clear();
                    }
                    known.insert(bytes.into(), pieces.into());
                }
            }
            done += word.len();
        }
        Ok(())
    })
}
