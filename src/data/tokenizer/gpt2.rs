use std::collections::HashMap;
use std::sync::LazyLock;

use tiktoken_rs::{CoreBPE, r50k_base_singleton};

/// Ids of GPT-2's encoding, the one of the end of a text included.
pub(super) const VOCAB_SIZE: usize = 50_257;
/// The id of `<|endoftext|>`.
pub(super) const END_OF_TEXT: u32 = 50_256;
/// How the end of a text is written.
pub(super) const END_OF_TEXT_NAME: &str = "<|endoftext|>";

/// The encoder.
pub(super) fn bpe() -> &'static CoreBPE {
    r50k_base_singleton()
}

/// The bytes of each id but the last.
static PIECES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (0..END_OF_TEXT).map(|id| bpe().decode_bytes(&[id]).unwrap_or_default()).collect());

/// The bytes that an id stands for; none for the end of a text.
pub(super) fn piece(id: usize) -> Option<&'static [u8]> {
    PIECES.get(id).map(Vec::as_slice)
}

/// The pairs of pieces that are merged, in the order in which they are: the two parts that a piece has just before its own
/// merge, when all earlier ones are done.
pub(super) fn merges() -> Vec<(&'static [u8], &'static [u8])> {
    let ranks: HashMap<&[u8], usize> =
        PIECES.iter().enumerate().map(|(rank, piece)| (piece.as_slice(), rank)).collect();
    let longer = PIECES.iter().enumerate().filter(|(_, piece)| piece.len() > 1);
    longer.filter_map(|(rank, piece)| last_pair(piece, rank, &ranks)).collect()
}

fn last_pair<'a>(piece: &'a [u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<(&'a [u8], &'a [u8])> {
    // borders between parts, first and last included
    let mut borders: Vec<usize> = (0..=piece.len()).collect();
    while borders.len() > 3 {
        let merged = |i: usize| ranks.get(&piece[borders[i]..borders[i + 2]]).copied().filter(|&r| r < rank);
        let (i, _) = (0..borders.len() - 2).filter_map(|i| Some((i, merged(i)?))).min_by_key(|&(_, rank)| rank)?;
        borders.remove(i + 1);
    }
    Some(piece.split_at(borders[1]))
}
