use std::collections::HashMap;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use tiktoken_rs::{CoreBPE, r50k_base_singleton};

use super::windows::{LONG_WORD, Placed, encode_long};
use super::word_cache::{Owner, encode_words};
use crate::data::DataError;

/// The size of GPT-2's vocabulary, including the end-of-text token.
pub(super) const VOCAB_SIZE: usize = 50_257;
/// The id of `<|endoftext|>`.
pub(super) const END_OF_TEXT: u32 = 50_256;
/// The name of the end-of-text token.
pub(super) const END_OF_TEXT_NAME: &str = "<|endoftext|>";

fn bpe() -> &'static CoreBPE {
    r50k_base_singleton()
}

/// The ids of words that have one of their own.
static IDS: LazyLock<FxHashMap<&'static [u8], u32>> =
    LazyLock::new(|| (0..).zip(PIECES.iter()).map(|(id, piece)| (piece.as_slice(), id)).collect());

static OWNER: LazyLock<Owner> = LazyLock::new(Owner::new);

/// Encodes a text. `reads_end`: whether the name of the end-of-text token becomes its id.
pub(super) fn encode(text: &str, reads_end: bool) -> Result<Vec<u32>, DataError> {
    encode_by(text, reads_end, |word| match word.len() {
        ..LONG_WORD => Ok(bpe().encode_ordinary(word)),
        _ => encode_long(word, &|window| Ok(placed(bpe().encode_ordinary(window)))),
    })
}

/// The same with the span of each id, without splitting the text: for windows.
pub(super) fn encode_placed(text: &str, reads_end: bool) -> Result<Vec<Placed>, DataError> {
    Ok(placed(encode_by(text, reads_end, |word| Ok(bpe().encode_ordinary(word)))?))
}

fn placed(ids: Vec<u32>) -> Vec<Placed> {
    let mut end = 0;
    let place = |id: u32| {
        let start = end;
        end += PIECES.get(id as usize).map_or(END_OF_TEXT_NAME.len(), Vec::len);
        Placed { id, start, end }
    };
    ids.into_iter().map(place).collect()
}

/// Encodes a text word by word; `encode` handles the words that aren't cached.
fn encode_by(
    text: &str,
    reads_end: bool,
    encode: impl Fn(&str) -> Result<Vec<u32>, DataError>,
) -> Result<Vec<u32>, DataError> {
    let known_ids: &FxHashMap<&[u8], u32> = &IDS;
    let mut ids = Vec::with_capacity(text.len() / 3);
    let add = |ids: &mut _, part| encode_words(*OWNER, ids, part, |word| known_ids.get(word).copied(), &encode);
    if !reads_end {
        add(&mut ids, text)?;
        return Ok(ids);
    }
    for (i, part) in text.split(END_OF_TEXT_NAME).enumerate() {
        if i > 0 {
            ids.push(END_OF_TEXT);
        }
        add(&mut ids, part)?;
    }
    Ok(ids)
}

/// The bytes of each id but the last.
static PIECES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (0..END_OF_TEXT).map(|id| bpe().decode_bytes(&[id]).unwrap_or_default()).collect());

/// The bytes that an id stands for; none for the end-of-text token.
pub(super) fn piece(id: usize) -> Option<&'static [u8]> {
    PIECES.get(id).map(Vec::as_slice)
}

/// The pairs of pieces that are merged, in merge order: the two parts that a piece has just before its own merge, when
/// all earlier ones are done.
pub(super) fn merges() -> Vec<(&'static [u8], &'static [u8])> {
    let ranks: HashMap<&[u8], usize> =
        PIECES.iter().enumerate().map(|(rank, piece)| (piece.as_slice(), rank)).collect();
    let longer = PIECES.iter().enumerate().filter(|(_, piece)| piece.len() > 1);
    longer.filter_map(|(rank, piece)| last_pair(piece, rank, &ranks)).collect()
}

fn last_pair<'a>(piece: &'a [u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<(&'a [u8], &'a [u8])> {
    // borders between parts, including first and last
    let mut borders: Vec<usize> = (0..=piece.len()).collect();
    while borders.len() > 3 {
        let merged = |i: usize| ranks.get(&piece[borders[i]..borders[i + 2]]).copied().filter(|&r| r < rank);
        let (i, _) = (0..borders.len() - 2).filter_map(|i| Some((i, merged(i)?))).min_by_key(|&(_, rank)| rank)?;
        borders.remove(i + 1);
    }
    Some(piece.split_at(borders[1]))
}
