use crate::data::Tokenizer;
use crate::data::tokenizer::cut;

/// Where a text may be cut so that its parts give the ids of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Border {
    /// Between any two characters.
    Character,
    /// Before white space.
    Word,
    /// Nowhere: parts overlap, and their tokens are merged.
    Window,
}

impl Border {
    pub fn of(tokenizer: &Tokenizer) -> Border {
        match tokenizer.encodes_chunks() {
            true if tokenizer.has_units() => Border::Character,
            true => Border::Word,
            false => Border::Window,
        }
    }

    /// The first border at or after byte `from`.
    pub fn find(self, text: &str, from: usize) -> Option<usize> {
        match self {
            Border::Word => cut(text, from),
            Border::Character => (from.max(1)..text.len()).find(|&at| text.is_char_boundary(at)),
            Border::Window => None,
        }
    }
}
