//! Packs pieces of documents into rows.

use std::collections::BTreeMap;

/// Pieces in an order in which those of a row are adjacent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Indices of pieces, each once.
    pub order: Vec<usize>,
    /// For each row, how many pieces it and the rows before it hold.
    pub ends: Vec<usize>,
}

/// Packs pieces into as few rows of `capacity` as best-fit decreasing finds: the longest piece first, each into the
/// fullest row that still holds it, or into a new one. No piece is longer than a row. Rows come in the order in which
/// they were opened, so those with long pieces first; within a row, too, the longest piece comes first.
///
/// Never more than 11/9 of the optimal number of rows, plus four.
/// Source: Johnson 1973, "Near-optimal bin packing algorithms".
pub(crate) fn best_fit(lengths: &[usize], capacity: usize) -> Packed {
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    // stable, so that pieces of equal length keep their order
    by_length.sort_by_key(|&piece| std::cmp::Reverse(lengths[piece]));
    // rows by their free space
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut row_of = vec![0; lengths.len()];
    let mut sizes: Vec<usize> = vec![];
    for &piece in &by_length {
        let len = lengths[piece];
        let found = open.range_mut(len..).next().and_then(|(&room, rows)| Some((room, rows.pop()?, rows.is_empty())));
        let (room, row) = match found {
            Some((room, row, was_last)) => {
                if was_last {
                    open.remove(&room);
                }
                (room, row)
            }
            None => {
                sizes.push(0);
                (capacity, sizes.len() - 1)
            }
        };
        row_of[piece] = row;
        sizes[row] += 1;
        if room > len {
            open.entry(room - len).or_default().push(row);
        }
    }
    let ends: Vec<usize> = sizes
        .iter()
        .scan(0, |end, size| {
            *end += size;
            Some(*end)
        })
        .collect();
    let mut next: Vec<usize> = ends.iter().zip(&sizes).map(|(end, size)| end - size).collect();
    let mut order = vec![0; lengths.len()];
    for piece in by_length {
        let place = &mut next[row_of[piece]];
        order[*place] = piece;
        *place += 1;
    }
    Packed { order, ends }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::permutation::{Purpose, below, narrow, rng};

    fn rows(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
        let Packed { order, ends } = best_fit(lengths, capacity);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| order[start..end].iter().map(|&piece| lengths[piece]).collect()).collect()
    }

    #[test]
    fn known_examples() {
        assert_eq!(rows(&[], 8), [[0; 0]; 0]);
        assert_eq!(rows(&[8, 8], 8), [[8], [8]]);
        assert_eq!(rows(&[1, 2, 3, 4, 5], 5), [vec![5], vec![4, 1], vec![3, 2]]);
        // the fullest row that holds a piece: 3 joins 7, not 6
        assert_eq!(rows(&[6, 7, 3, 4], 10), [vec![7, 3], vec![6, 4]]);
        // nine pieces fill four rows completely; without packing they take nine
        assert_eq!(rows(&[2, 3, 5, 5, 4, 6, 7, 1, 7], 10), [vec![7, 2, 1], vec![7, 3], vec![6, 4], vec![5, 5]]);
    }

    #[test]
    fn every_piece_has_one_row_and_no_row_too_many() {
        for (seed, n, capacity) in [(1, 1, 1), (2, 500, 64), (3, 3000, 128), (4, 40, 7)] {
            let mut rng = rng(Purpose::Windows, seed, 0);
            let lengths: Vec<usize> = (0..n).map(|_| 1 + narrow(below(&mut rng, capacity))).collect();
            let capacity = narrow(capacity);
            let Packed { mut order, ends } = best_fit(&lengths, capacity);
            assert_eq!(best_fit(&lengths, capacity).order, order);
            let rows = rows(&lengths, capacity);
            assert!(rows.iter().all(|row| !row.is_empty() && row.iter().sum::<usize>() <= capacity));
            assert_eq!(ends.last(), Some(&lengths.len()));
            order.sort_unstable();
            assert!(order.into_iter().eq(0..lengths.len()));
            // no two rows fit into one
            let mut fills: Vec<usize> = rows.iter().map(|row| row.iter().sum()).collect();
            fills.sort_unstable();
            assert!(fills.len() < 2 || fills[0] + fills[1] > capacity);
            let fewest = lengths.iter().sum::<usize>().div_ceil(capacity);
            // the bound of the algorithm; with this many lengths most rows are full, so `fewest` is close to optimal
            assert!(n < 500 || 9 * rows.len() <= 11 * fewest + 36, "{} rows, {fewest} at least", rows.len());
        }
    }
}
