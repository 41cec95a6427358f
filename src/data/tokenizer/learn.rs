//! Learns a byte-pair encoding: counts the words of a text as it is read, then merges pairs.

use std::collections::HashMap;
use std::sync::Arc;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{AddedToken, TokenizerBuilder, TokenizerImpl};
use tokenizers::{DecoderWrapper, NormalizerWrapper};

use super::gpt2::END_OF_TEXT_NAME;
use super::gpt2_split::words;
use super::hf::{Hf, alphabet, written};
use crate::data::DataError;

/// Units: bytes, the maximum of a word; a longer one, as in a text without spaces, counts as several. No token is
/// longer.
const LONGEST_WORD: usize = 256;

/// Units: bytes of distinct words. Learning takes some 60 bytes of memory for each.
const MIN_BYTES: usize = 2 << 20;
const BYTES_OF_TOKEN: usize = 64;

/// Word counts of a text. If there are too many distinct words, rare ones are dropped at random, but reproducibly.
pub(in crate::data) struct WordCounts {
    counts: HashMap<Box<str>, u64>,
    /// Units: bytes of the distinct words, and the most that are kept.
    n_byte: usize,
    most: usize,
    /// How often words were dropped.
    n_thinned: u32,
}

impl WordCounts {
    /// Creates empty counts for a vocabulary of `size` ids.
    pub fn new(size: u32) -> Self {
        let most = MIN_BYTES.max(size as usize * BYTES_OF_TOKEN);
        Self { counts: HashMap::new(), n_byte: 0, most, n_thinned: 0 }
    }

    /// Counts a part of the text that begins and ends with a word.
    pub fn add(&mut self, text: &str) {
        for word in words(text) {
            let mut rest = word;
            while rest.len() > LONGEST_WORD {
                let (part, behind) = rest.split_at(rest.floor_char_boundary(LONGEST_WORD));
                self.count(part);
                rest = behind;
            }
            self.count(rest);
        }
    }

    fn count(&mut self, word: &str) {
        if let Some(n) = self.counts.get_mut(word) {
            *n += 1;
            return;
        }
        self.n_byte += word.len();
        self.counts.insert(word.into(), 1);
        if self.n_byte > self.most {
            self.thin_out();
        }
    }

    /// Drops half of the words that occur once, then of those that occur up to twice, and so on, until a quarter of the
    /// space is free.
    fn thin_out(&mut self) {
        let mut rare = 1;
        while self.n_byte > self.most / 4 * 3 {
            let bit = self.n_thinned % u32::BITS;
            let n_byte = &mut self.n_byte;
            self.counts.retain(|word, n| {
                let stays = *n > rare || crc32fast::hash(word.as_bytes()) >> bit & 1 == 0;
                *n_byte -= if stays { 0 } else { word.len() };
                stays
            });
            self.n_thinned += 1;
            rare *= 2;
        }
    }

    /// Learns an encoding of `size` ids: 256 bytes, merges, and an end-of-text token; of fewer, if nothing is left to
    /// merge.
    ///
    /// # Errors
    ///
    /// [`DataError::Encode`] if the crate `tokenizers` fails, which is not expected.
    pub(super) fn learn(self, size: u32) -> Result<Arc<Hf>, DataError> {
        let failed = |e: tokenizers::Error| DataError::Encode { reason: e.to_string() };
        let trainer = BpeTrainer::builder()
            .vocab_size(size as usize - 1)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let alphabet = alphabet();
        let counts = self.counts.into_iter().map(|(word, n)| (written(word.as_bytes(), &alphabet).into(), n)).collect();
        let mut model = BPE::default();
        trainer.do_train(&counts, &mut model).map_err(failed)?;
        drop(counts);
        let by_bytes = ByteLevel::default().add_prefix_space(false);
        let mut learned: TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, DecoderWrapper> =
            TokenizerBuilder::new()
                .with_model(model)
                .with_normalizer(None)
                .with_pre_tokenizer(Some(by_bytes))
                .with_post_processor(Some(by_bytes.trim_offsets(false)))
                .with_decoder(Some(by_bytes.into()))
                .build()
                .map_err(failed)?;
        learned.add_special_tokens([AddedToken::from(END_OF_TEXT_NAME, true)]).map_err(failed)?;
        Hf::from_json(&learned.to_string(false).map_err(failed)?)
    }
}
