//! Encodes a text into the tokens of both splits; only these stay in memory.

use std::ops::Range;

use super::encode::{Encode, Encoded};
use super::loading::{Loading, Watch};
use super::options::{Options, Use, check_lengths};
use super::permutation::{Permutation, Purpose, narrow, wide};
use super::split::{Split, train_share};
use super::text::{Parting, Totals};
use super::tokens::{HELD_BYTES, Held};
use super::{DataError, Findings, Text, Tokenizer, Tokens};

/// The seed of the split into documents, the same for every training seed, so that runs are comparable.
const SPLIT_SEED: u64 = 0;

/// The text to encode, and how.
#[derive(Clone, Copy)]
pub(super) struct Encoding<'a> {
    pub text: &'a Text,
    pub tokenizer: &'a Tokenizer,
    pub options: &'a Options,
    pub watch: Watch<'a>,
}

impl Encoding<'_> {
    /// One long text: its first characters are for training.
    pub fn stream(&self, purpose: Use) -> Result<(Split, Split, Findings), DataError> {
        let Self { text, tokenizer, options, .. } = *self;
        let n_train = train_share(narrow(text.n_char()), options.val_fraction);
        let mut tokens = Held::new(tokenizer.vocab_size(), HELD_BYTES);
        let (totals, findings) =
            self.encode(Parting::None, Some(wide(n_train)), &mut |encoded| tokens.extend(encoded.ids))?;
        let tokens = Tokens::from(tokens);
        let cut = totals.cut.unwrap_or(totals.n_byte);
        let n_train = tokens_before(narrow(cut), narrow(totals.n_byte), &tokens, &tokenizer.byte_lens());
        let (train, val) = tokens.split_at(n_train);
        check_lengths(train.len(), val.len(), options, purpose)?;
        Ok((Split::stream(train, options.block_size), Split::stream(val, options.block_size), findings))
    }

    /// Documents, some of which a fixed shuffle picks for training.
    pub fn documents(&self, separator: &str, purpose: Use) -> Result<(Split, Split, Findings), DataError> {
        let Self { tokenizer, options, .. } = *self;
        let (Some(start), Some(end)) = (tokenizer.start_id(), tokenizer.end_id()) else {
            return Err(DataError::NoSpecials);
        };
        if separator.is_empty() {
            return Err(DataError::EmptySeparator);
        }
        let mut tokens = Held::new(tokenizer.vocab_size(), HELD_BYTES);
        // where each document begins
        let mut starts: Vec<usize> = vec![];
        let (_, findings) =
            self.encode(Parting::Separator(separator), None, &mut |Encoded { ids, begins, .. }| {
                let mut done = 0;
                for at in begins {
                    tokens.extend(ids[done..at].iter().copied().chain((!starts.is_empty()).then_some(end)))?;
                    starts.push(tokens.len());
                    tokens.extend([start])?;
                    done = at;
                }
                tokens.extend(ids[done..].iter().copied())
            })?;
        tokens.extend((!starts.is_empty()).then_some(end))?;
        let n = starts.len();
        let n_train = train_share(n, options.val_fraction);
        let train_missing = n_train == 0 && purpose == Use::Training;
        let val_missing = n_train == n && options.val_fraction > 0.0;
        if train_missing || val_missing {
            return Err(DataError::FewDocuments { documents: n, training: n_train, validation: n - n_train });
        }
        let tokens = Tokens::from(tokens);
        let shuffle = Permutation::new(Purpose::Split, SPLIT_SEED, 0, wide(n));
        let end_of = |i: usize| starts.get(i + 1).copied().unwrap_or(tokens.len());
        let split = |places: Range<u64>| {
            let picked = (0..n).filter(|&i| places.contains(&shuffle.at(wide(i))));
            Split::documents(tokens.clone(), picked.map(|i| starts[i]..end_of(i)), options.block_size)
        };
        Ok((split(0..wide(n_train)), split(wide(n_train)..wide(n)), findings))
    }

    /// Encodes the text, which must be unchanged since it was first read.
    fn encode(
        &self,
        parting: Parting<'_>,
        find: Option<u64>,
        take: &mut dyn FnMut(Encoded) -> Result<(), DataError>,
    ) -> Result<(Totals, Findings), DataError> {
        let Self { text, tokenizer, watch, .. } = *self;
        let (mut bytes, total) = (0, Some(text.n_byte()));
        watch(Loading::Encoding { bytes, total })?;
        let (totals, findings) = Encode { origin: text.origin(), tokenizer, parting, find }.run(&mut |encoded| {
            bytes += encoded.n_byte;
            take(encoded)?;
            watch(Loading::Encoding { bytes, total })
        })?;
        findings.lost.check()?;
        if totals.crc.clone().finalize() == text.crc32() { Ok((totals, findings)) } else { Err(DataError::Unsteady) }
    }
}

/// How many tokens stand for the first `cut` of a text's `len` bytes. If some have no bytes of their own, such as
/// special tokens named in the text, scales by the bytes that are known.
fn tokens_before(cut: usize, len: usize, tokens: &Tokens, byte_lens: &[u32]) -> usize {
    let byte_len = |id: u32| byte_lens.get(narrow(id.into())).map_or(0, |&n| narrow(n.into()));
    let known: usize = tokens.blocks().flatten().map(byte_len).sum();
    let share = |n: usize| narrow((cut as u128 * n as u128 / len.max(1) as u128) as u64);
    if known == 0 {
        return share(tokens.len());
    }
    let cut = if known == len { cut } else { share(known) };
    let mut n_bytes = 0;
    let is_before = |id: &u32| {
        let is_before = n_bytes < cut;
        n_bytes += byte_len(*id);
        is_before
    };
    tokens.blocks().flatten().take_while(is_before).count()
}
