use std::ops::Range;

/// Runs of zeros in some tokens. Positions are counted from the first token.
#[derive(Clone, Debug, Default)]
pub(super) struct Zeros {
    n_token: u64,
    /// The number of zeros at the beginning.
    n_first: u64,
    /// The longest run before the one at the end.
    longest: Range<u64>,
    /// The run at the end.
    last: Range<u64>,
}

impl Zeros {
    /// The runs in part of a file. Runs within one block are ignored.
    pub fn of<const N: usize>(tokens: &[[u8; N]]) -> Self {
        const BLOCK: usize = 64;
        let count = |n: usize| n as u64;
        let n_token = count(tokens.len());
        let is_zero = |token: &&[u8; N]| **token == [0; N];
        let mut zeros = Self { n_token, n_first: n_token, longest: 0..0, last: 0..n_token };
        for (i, block) in tokens.chunks(BLOCK).enumerate() {
            if block.iter().all(|token| is_zero(&token)) {
                continue;
            }
            let (from, to) = (count(i * BLOCK), count(i * BLOCK + block.len()));
            let end = from + count(block.iter().take_while(is_zero).count());
            if zeros.n_first == n_token {
                zeros.n_first = end;
            }
            zeros.longest = longer(zeros.longest, zeros.last.start..end);
            zeros.last.start = to - count(block.iter().rev().take_while(is_zero).count());
        }
        zeros
    }

    /// Appends the runs of the next part.
    pub fn add(&mut self, next: &Zeros) {
        let shifted = |range: &Range<u64>| range.start + self.n_token..range.end + self.n_token;
        let n_token = self.n_token + next.n_token;
        if next.n_first == next.n_token {
            self.n_first += if self.n_first == self.n_token { next.n_token } else { 0 };
            (self.n_token, self.last.end) = (n_token, n_token);
            return;
        }
        let between = self.last.start..self.n_token + next.n_first;
        let longest = longer(longer(self.longest.clone(), between), shifted(&next.longest));
        let n_first = if self.n_first == self.n_token { self.n_token + next.n_first } else { self.n_first };
        *self = Zeros { n_token, n_first, longest, last: shifted(&next.last) };
    }

    /// The longest run of zeros.
    pub fn longest(&self) -> Range<u64> {
        longer(self.longest.clone(), self.last.clone())
    }
}

fn longer(a: Range<u64>, b: Range<u64>) -> Range<u64> {
    if b.end - b.start > a.end - a.start { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_is_found_wherever_a_file_is_cut() {
        let zeros = |at: &[Range<usize>], n: usize| {
            let mut tokens = vec![[1u8, 0]; n];
            at.iter().for_each(|range| tokens[range.clone()].fill([0, 0]));
            tokens
        };
        // two ranges, either of which may be empty
        for (at, expected) in [
            ([0..0, 0..0], 0..0),
            ([0..0, 0..1000], 0..1000),
            ([0..0, 300..1000], 300..1000),
            ([0..129, 0..0], 0..129),
            ([5..200, 300..700], 300..700),
            ([100..500, 501..900], 100..500),
            ([100..500, 501..1000], 501..1000),
        ] {
            let tokens = zeros(&at, 1000);
            for part in [64, 100, 257, 1000] {
                let mut whole = Zeros::default();
                tokens.chunks(part).for_each(|part| whole.add(&Zeros::of(part)));
                assert_eq!(whole.longest(), expected, "{at:?} in parts of {part}");
            }
        }
    }
}
