//! Counts names of special tokens in a text.

use std::collections::BTreeMap;
use std::mem;

use aho_corasick::{AhoCorasick, MatchKind};

use super::text::Part;

/// Counts names in a text that comes in parts, as a tokenizer finds them: leftmost, longest first.
pub(super) struct Names {
    names: Vec<String>,
    /// `None` if there are no names to look for.
    finder: Option<AhoCorasick>,
    /// Units: bytes of the longest name.
    longest: usize,
    counts: BTreeMap<usize, u64>,
    /// A possible beginning of a name.
    rest: String,
}

impl Names {
    pub fn new(names: Vec<String>) -> Self {
        let longest = names.iter().map(String::len).max().unwrap_or(0);
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&names);
        // the crate refuses gigabytes of names
        let finder = finder.ok().filter(|_| longest > 0);
        Self { names, finder, longest, counts: BTreeMap::new(), rest: String::new() }
    }

    /// Takes the next part of the text.
    pub fn take(&mut self, part: &Part) {
        if part.begins {
            self.end();
        }
        let mut text = mem::take(&mut self.rest);
        text.push_str(&part.text[part.shared..]);
        self.rest = self.find(text, self.longest.saturating_sub(1));
    }

    /// The count of each name that occurs, the most frequent first.
    pub fn counts(mut self) -> Vec<(String, u64)> {
        self.end();
        let mut all: Vec<(String, u64)> =
            self.counts.into_iter().map(|(i, n)| (mem::take(&mut self.names[i]), n)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// Ends a document.
    fn end(&mut self) {
        let text = mem::take(&mut self.rest);
        self.find(text, 0);
    }

    /// Counts the names that begin before the last `open` bytes, and returns the text after them.
    fn find(&mut self, mut text: String, open: usize) -> String {
        let Some(finder) = &self.finder else { return String::new() };
        let least = text.floor_char_boundary(text.len().saturating_sub(open));
        let mut done = least;
        for found in finder.find_iter(&text).take_while(|found| found.start() < least) {
            *self.counts.entry(found.pattern().as_usize()).or_default() += 1;
            done = done.max(found.end());
        }
        text.drain(..done);
        text
    }
}
