//! The embedded corpus: small stories sampled from a grammar of our own, so that the best possible loss is known.
//!
//! The floor is the entropy of a story over its expected length, in nats per character. It is what a model that
//! knows the grammar and sees the story from its start pays on average. A model that sees only the last
//! `block_size` characters, as in stream mode, can't beat it on average: conditional entropy with less context is
//! at least the entropy rate, and the first characters of each window have almost no context. A finite
//! validation text is a sample, so its own best loss scatters around the floor, by about a percent at 100,000
//! characters.

use std::sync::LazyLock;

use super::Mode;
use super::grammar::Grammar;

/// The default seed of the stories.
pub const SEED: u64 = 1;

/// Units: characters; the default length of the text.
pub const CHARS: u64 = 1_000_000;

/// The separator of stories, for documents mode.
pub const SEPARATOR: &str = "\n\n";

/// The grammar of the stories, `assets/corpus/stories.grammar`.
pub fn grammar() -> &'static Grammar {
    static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
        include_str!("../../assets/corpus/stories.grammar")
            .parse()
            .expect("the embedded grammar parses; a test says so")
    });
    &GRAMMAR
}

/// Returns stories, each followed by a blank line, of at least `n_chars` characters in all.
///
/// A longer text of the same seed begins with the shorter one.
pub fn text(seed: u64, n_chars: u64) -> String {
    stories(seed, n_chars).collect()
}

/// The stories of [`text`], one after the other.
pub(super) fn stories(seed: u64, n_chars: u64) -> impl Iterator<Item = String> {
    let (mut chars, mut index) = (0, 0);
    std::iter::from_fn(move || {
        if chars >= n_chars {
            return None;
        }
        let story = grammar().sample(seed, index).text;
        chars += super::permutation::wide(story.chars().count());
        index += 1;
        Some(story)
    })
}

/// The floor of the loss on the stories in this mode; `None` if the mode splits them at another separator.
///
/// Units: nats per character. In documents mode `<end>` replaces the blank line that ends a story, so the same nats are
/// spread over fewer characters.
pub fn floor(mode: &Mode) -> Option<f64> {
    let story = grammar().entropy();
    match mode {
        Mode::Stream => Some(floor_nats_per_char()),
        Mode::Documents { separator } if separator == SEPARATOR => {
            Some(story.nats / (story.chars - SEPARATOR.len() as f64))
        }
        Mode::Documents { .. } => None,
    }
}

/// Converts a mean loss on stories to nats per character: they are ASCII, so a character is a byte.
///
/// Units: nats per character, from bits per byte.
pub fn nats_per_char(bits_per_byte: f64) -> f64 {
    bits_per_byte * std::f64::consts::LN_2
}

/// The lowest mean loss that any model can have on an endless series of stories.
///
/// Units: nats per character.
pub fn floor_nats_per_char() -> f64 {
    let story = grammar().entropy();
    story.nats / story.chars
}
