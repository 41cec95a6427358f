//! GPT-2's splitting of a text into words, each of which is encoded separately.
//!
//! A regex engine would take most of an encoder's time, and this one pattern doesn't need one.
//! Source: the pattern `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` of GPT-2's encoder.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// The kind of characters in a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Space,
    Other,
}

/// The kind of each code point, by the tables of the crate `regex`, which tiktoken uses, too.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let mut kinds = vec![Kind::Other; char::MAX as usize + 1];
    for (pattern, kind) in [(r"\p{L}", Kind::Letter), (r"\p{N}", Kind::Number), (r"\s", Kind::Space)] {
        let parsed = regex_syntax::parse(pattern).expect("a character class");
        let HirKind::Class(Class::Unicode(class)) = parsed.kind() else { panic!("{pattern} is a character class") };
        for range in class.ranges() {
            kinds[range.start() as usize..=range.end() as usize].fill(kind);
        }
    }
    kinds
});

/// Splits a text into words, which together are the text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let kinds: &[Kind] = &KINDS;
    let mut rest = text;
    std::iter::from_fn(move || {
        let (word, behind) = rest.split_at(word_len(rest, kinds)?);
        rest = behind;
        Some(word)
    })
}

/// Units: bytes of the first word of a text; `None` at the end.
fn word_len(text: &str, kinds: &[Kind]) -> Option<usize> {
    const ENDINGS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    let kind_of = |c: char| kinds[c as usize];
    let first = text.chars().next()?;
    if first == '\''
        && let Some(ending) = ENDINGS.iter().find(|ending| text.starts_with(**ending))
    {
        return Some(ending.len());
    }
    // a leading space belongs to the word
    let begin = usize::from(first == ' ');
    let kind = text[begin..].chars().next().map_or(Kind::Space, kind_of);
    let end_of = |kind: Kind, from: usize| text[from..].find(|c| kind_of(c) != kind).map_or(text.len(), |n| from + n);
    if kind != Kind::Space {
        return Some(end_of(kind, begin));
    }
    let end = end_of(Kind::Space, 0);
    let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
    // the last of several spaces belongs to the next word
    Some(if end == text.len() || end == last { end } else { end - last })
}
