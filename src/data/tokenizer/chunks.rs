/// Cuts a text into pieces of about `size` bytes where GPT-2's splitting of text into words always has a border: in front of
/// white space that follows something else. So the pieces, encoded one by one, give what the whole text gives.
///
/// Source: the pattern of GPT-2's encoder, in which no word has white space behind anything else.
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

/// The first border at `from` bytes or behind; `None` where there is none before the end.
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
