//! Encodes texts of any length, in overlapping windows, with tokenizers whose words depend on their surroundings.
//!
//! A token depends on its surroundings, but not on what is far away. So two windows have the same tokens in the middle
//! of their overlap, and there one continues the other. If they don't, as in a word longer than that, the two
//! are merged, up to a limit. For a byte-pair encoding that is exact, not only likely: whether tokens are those of a
//! text depends on each pair of neighbours alone, and the windows agree on many.

use crate::data::DataError;

/// Units: bytes, the maximum of a window, and of its overlap with the one before.
pub(in crate::data) const WINDOW_BYTES: usize = 1 << 16;
pub(in crate::data) const SHARED_BYTES: usize = 1 << 13;

/// Units: bytes of a word from which on it is encoded in windows. Encoding takes up to 135 bytes of memory for each
/// byte.
pub(super) const LONG_WORD: usize = 2 * WINDOW_BYTES;

/// Units: bytes, the most that are encoded at once if windows don't match.
const MAX_AT_ONCE: usize = 16 << 20;

/// A token and the bytes that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Placed {
    pub id: u32,
    pub start: usize,
    pub end: usize,
}

/// Part of a text, with its tokens when encoded alone.
#[derive(Debug)]
pub(in crate::data) struct Window {
    pub text: String,
    /// Units: bytes at the start that the previous window also has.
    pub shared: usize,
    /// Units: characters of the text before it.
    pub first_char: usize,
    pub tokens: Vec<Placed>,
}

/// Encodes merged windows.
pub(in crate::data) type Encode<'a> = &'a dyn Fn(&str) -> Result<Vec<Placed>, DataError>;

/// Tokens that are final.
#[derive(Debug, Default)]
pub(in crate::data) struct Settled {
    pub ids: Vec<u32>,
    /// Units: bytes and characters that they stand for.
    pub n_byte: usize,
    pub n_char: usize,
}

impl Settled {
    fn add(&mut self, tokens: &[Placed], text: &str) {
        self.ids.extend(tokens.iter().map(|token| token.id));
        self.n_byte += text.len();
        self.n_char += text.chars().count();
    }
}

/// Merges the tokens of windows into those of the whole text.
#[derive(Debug, Default)]
pub(in crate::data) struct Stitcher {
    last: Option<Window>,
    /// How many tokens of `last` are passed on already or belong to the window before it, and up to which byte.
    n_done: usize,
    done: usize,
    /// Text after `last` that has to be encoded together with it.
    behind: String,
}

impl Stitcher {
    /// Adds the next window, and passes on the tokens that are final.
    ///
    /// # Errors
    ///
    /// The error of `encode`.
    pub fn push(&mut self, next: Window, encode: Encode<'_>, settled: &mut Settled) -> Result<(), DataError> {
        let Some(last) = &mut self.last else {
            self.last = Some(next);
            return Ok(());
        };
        if self.behind.is_empty()
            && let Some((n_last, n_next)) = meeting(last, &next, self.n_done)
        {
            let end = last.tokens[n_last].start;
            settled.add(&last.tokens[self.n_done..n_last], last.text.get(self.done..end).unwrap_or(""));
            (self.n_done, self.done) = (n_next, next.tokens[n_next].start);
            self.last = Some(next);
            return Ok(());
        }
        self.behind.push_str(&next.text[next.shared..]);
        // wait until the text has doubled, so that the total time stays linear
        if self.behind.len() >= last.text.len() { self.merge(encode) } else { Ok(()) }
    }

    /// Passes on the rest.
    ///
    /// # Errors
    ///
    /// The error of `encode`.
    pub fn finish(&mut self, encode: Encode<'_>, settled: &mut Settled) -> Result<(), DataError> {
        self.merge(encode)?;
        if let Some(last) = self.last.take() {
            settled.add(&last.tokens[self.n_done..], last.text.get(self.done..).unwrap_or(""));
        }
        *self = Stitcher::default();
        Ok(())
    }

    fn merge(&mut self, encode: Encode<'_>) -> Result<(), DataError> {
        let Some(last) = self.last.as_mut().filter(|_| !self.behind.is_empty()) else { return Ok(()) };
        last.text.push_str(&std::mem::take(&mut self.behind));
        if last.text.len() > MAX_AT_ONCE {
            return Err(DataError::LongWord { bytes: MAX_AT_ONCE });
        }
        let tokens = encode(&last.text).map_err(|error| error.further(last.first_char))?;
        // the beginning is unchanged: it is far from where the text was cut
        self.n_done = tokens.iter().position(|token| token.start >= self.done).unwrap_or(tokens.len());
        last.tokens = tokens;
        Ok(())
    }
}

/// Where one window may continue the other: how many tokens to take of the first, and to skip in the second.
fn meeting(last: &Window, next: &Window, n_done: usize) -> Option<(usize, usize)> {
    let begin = last.text.len() - next.shared;
    // a quarter at either end is too close to where the text was cut
    let middle = next.shared / 4..next.shared - next.shared / 4;
    let of_last = within(&last.tokens, middle.start + begin..middle.end + begin);
    let of_next = within(&next.tokens, middle);
    let (a, b) = (&last.tokens[of_last.clone()], &next.tokens[of_next.clone()]);
    let shifted = b.iter().map(|token| Placed { start: token.start + begin, end: token.end + begin, ..*token });
    if a.len() != b.len() || !a.iter().copied().eq(shifted) {
        return None;
    }
    // several tokens of one character stay together
    let is_border = |&i: &usize| a[i - 1].end <= a[i].start && last.text.is_char_boundary(a[i].start);
    let at = (a.len() / 2..a.len()).filter(|&i| i > 0).find(is_border)?;
    (of_last.start + at >= n_done).then_some((of_last.start + at, of_next.start + at))
}

/// The tokens that lie within a byte range.
fn within(tokens: &[Placed], bytes: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let first = tokens.iter().position(|token| token.start >= bytes.start).unwrap_or(tokens.len());
    let n = tokens[first..].iter().position(|token| token.end > bytes.end).unwrap_or(tokens.len() - first);
    first..first + n
}

/// Where a window ends that isn't the last, and where the next one begins: before white space, if there is any nearby.
pub(in crate::data) fn cut_window(text: &str) -> (usize, usize) {
    let near = |from: usize| {
        let from = text.floor_char_boundary(from);
        let to = text.floor_char_boundary(from + SHARED_BYTES / 8);
        text[from..to].find(char::is_whitespace).map_or(from, |n| from + n)
    };
    let end = near(WINDOW_BYTES);
    (end, near(end - SHARED_BYTES))
}

/// Encodes a text that is in memory.
///
/// # Errors
///
/// The error of `encode`; positions count from the start of the text.
pub(super) fn encode_long(text: &str, encode: Encode<'_>) -> Result<Vec<u32>, DataError> {
    let (mut stitcher, mut settled) = (Stitcher::default(), Settled::default());
    let (mut rest, mut shared, mut first_char) = (text, 0, 0);
    loop {
        // a remainder shorter than a window gets none of its own
        let is_last = rest.len() < LONG_WORD;
        let (end, next) = if is_last { (rest.len(), rest.len()) } else { cut_window(rest) };
        let tokens = encode(&rest[..end]).map_err(|error| error.further(first_char))?;
        stitcher.push(Window { text: rest[..end].into(), shared, first_char, tokens }, encode, &mut settled)?;
        if is_last {
            stitcher.finish(encode, &mut settled)?;
            return Ok(settled.ids);
        }
        first_char += rest[..next].chars().count();
        (rest, shared) = (&rest[next..], end - next);
    }
}
