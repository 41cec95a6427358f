/// Cuts a text into pieces of about `size` bytes where GPT-2's word splitting always has a border: before
/// white space that follows something else. So encoding the pieces one by one gives the ids of the whole text.
///
/// Source: the pattern of GPT-2's encoder, in which no word has white space after anything else.
pub fn chunks(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (chunk, behind) = rest.split_at(cut(rest, size).unwrap_or(rest.len()));
        rest = behind;
        Some(chunk)
    })
}

/// The first border at or after byte `from`; `None` if there is none before the end.
pub fn cut(text: &str, from: usize) -> Option<usize> {
    let mut start = from.max(1);
    if start >= text.len() {
        return None;
    }
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut after_word = text[..start].chars().next_back().is_some_and(|c| !c.is_whitespace());
    for (i, c) in text[start..].char_indices() {
        if after_word && c.is_whitespace() && start + i > 0 {
            return Some(start + i);
        }
        after_word = !c.is_whitespace();
    }
    None
}
