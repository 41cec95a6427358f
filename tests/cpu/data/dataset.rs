//! Splits, batches, their order, and the coverage of an evaluation.

use std::collections::BTreeMap;

use tril::data::{Batch, DataError, Dataset, Extent, IGNORE, Mode, Options, Text, Tokenizer};

fn options(mode: Mode, val_fraction: f64, block_size: usize) -> Options {
    Options { mode, val_fraction, block_size, pack: false, document_mask: false }
}

/// Letters of 100 different kinds, so that an id shows its position.
fn places(n: u32) -> String {
    (0..n).filter_map(|i| char::from_u32(0x4e00 + i)).collect()
}

fn stream(n: u32, val_fraction: f64, block_size: usize) -> Dataset {
    let text = Text::new(places(n));
    let tokenizer = Tokenizer::chars(&places(n));
    Dataset::new(&text, &tokenizer, &options(Mode::Stream, val_fraction, block_size)).unwrap()
}

fn documents(text: &str, val_fraction: f64, block_size: usize) -> Dataset {
    let tokenizer = Tokenizer::chars(text).for_documents();
    let options = options(Mode::lines(), val_fraction, block_size);
    Dataset::new(&Text::new(text), &tokenizer, &options).unwrap()
}

/// How often each token is a target in some batches.
fn target_counts(batches: impl IntoIterator<Item = Batch>) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for id in batches.into_iter().flat_map(|batch| batch.targets) {
        if id != IGNORE {
            *counts.entry(id).or_default() += 1;
        }
    }
    counts
}

#[test]
fn the_stream_is_split_as_nanogpt_splits() {
    for (n, fraction, train) in [(100, 0.1, 90), (101, 0.1, 90), (109, 0.1, 98), (50, 0.5, 25), (50, 0.0, 50)] {
        let data = stream(n, fraction, 3);
        assert_eq!(data.token_count(), train, "{n} {fraction}");
        assert_eq!(data.val_token_count(), u64::from(n) - train);
        let expected: Vec<u32> = (u32::try_from(train).unwrap()..n).collect();
        assert_eq!(data.val_tokens(), expected);
    }
}

#[test]
fn bytes_are_split_between_characters() {
    let text = Text::new("ééééé日日日日日");
    let data = Dataset::new(&text, &Tokenizer::bytes(), &options(Mode::Stream, 0.5, 4)).unwrap();
    assert_eq!(data.token_count(), 10);
    assert_eq!(data.val_token_count(), 15);
}

#[test]
fn stream_targets_are_the_inputs_shifted_by_one() {
    let data = stream(100, 0.1, 7);
    let mut starts = Vec::new();
    for index in 0..300 {
        let batch = data.train_batch(5, index, 4);
        assert_eq!((batch.b, batch.t), (4, 7));
        assert_eq!(batch.n_targets(), 28);
        for (x, y) in batch.tokens.chunks(7).zip(batch.targets.chunks(7)) {
            let start = x[0];
            assert!(x.iter().copied().eq(start..start + 7));
            assert!(y.iter().copied().eq(start + 1..start + 8));
            starts.push(start);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    // 90 training tokens have windows at 0..=82, and 1,200 draws miss one with probability below 5e-5.
    assert!(starts.into_iter().eq(0..83));
}

#[test]
fn a_split_of_exactly_one_window_will_do() {
    let data = stream(10, 0.5, 4);
    assert_eq!(data.train_batch(0, 0, 1).tokens, [0, 1, 2, 3]);
    assert_eq!(data.train_batch(0, 0, 1).targets, [1, 2, 3, 4]);
}

#[test]
fn batches_depend_on_seed_and_index_alone() {
    let text: String = (0..40).map(|i| format!("{}\n", places(i % 7 + 1))).collect();
    for data in [stream(400, 0.1, 5), documents(&text, 0.1, 5)] {
        let forward: Vec<Batch> = (0..20).map(|i| data.train_batch(1, i, 3)).collect();
        let mut backward: Vec<Batch> = (0..20).rev().map(|i| data.train_batch(1, i, 3)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let other: Vec<Batch> = (0..20).map(|i| data.train_batch(2, i, 3)).collect();
        assert_ne!(forward, other);
        assert_ne!(forward[0], forward[1]);
    }
}

#[test]
fn the_order_of_the_data_never_changes() {
    // Values of the first release: a run begun with it must resume on the same batches with any later one.
    let batch = stream(1000, 0.1, 2).train_batch(42, 3, 4);
    let starts: Vec<u32> = batch.tokens.iter().step_by(2).copied().collect();
    assert_eq!(starts, STREAM_STARTS);
    let text: String = places(20).chars().map(|c| format!("{c}\n")).collect();
    let data = documents(&text, 0.0, 3);
    let first: Vec<u32> = data.train_batch(42, 1, 8).targets;
    let first: Vec<u32> = first.iter().step_by(3).copied().collect();
    assert_eq!(first, DOCUMENT_ORDER);
}

const STREAM_STARTS: [u32; 4] = [779, 336, 780, 369];
const DOCUMENT_ORDER: [u32; 8] = [7, 19, 8, 15, 14, 6, 20, 2];

#[test]
fn a_document_stands_between_start_and_end_and_is_padded_with_zero() {
    // Ids: pad 0, line break 1, a 2, b 3, start 4, end 5.
    let (start, end, no) = (4, 5, IGNORE);
    let table: [(&str, usize, Vec<u32>, Vec<u32>); 5] = [
        ("ab", 5, vec![start, 2, 3, 0, 0], vec![2, 3, end, no, no]),
        ("ab", 3, vec![start, 2, 3], vec![2, 3, end]),
        // Longer than the block: consecutive pieces, each token a target once.
        ("ab", 2, vec![start, 2, 3, 0], vec![2, 3, end, no]),
        ("abba", 2, vec![start, 2, 3, 3, 2, 0], vec![2, 3, 3, 2, end, no]),
        ("a", 1, vec![start, 2], vec![2, end]),
    ];
    for (document, block_size, tokens, targets) in table {
        let tokenizer = Tokenizer::chars("\nab").for_documents();
        let text = Text::new(document);
        let options = options(Mode::lines(), 0.0, block_size);
        let data = Dataset::for_evaluation(&text, &tokenizer, &options).unwrap();
        let batch = data.eval_batches(tokens.len() / block_size, None).next().unwrap();
        assert_eq!(batch.tokens, tokens, "{document} {block_size}");
        assert_eq!(batch.targets, targets, "{document} {block_size}");
        // Training uses the same rows, in another order.
        let data = Dataset::new(&text, &tokenizer, &options).unwrap();
        let trained = data.train_batch(0, 0, batch.b);
        assert_eq!(target_counts([trained]), target_counts([batch]));
    }
}

#[test]
fn an_epoch_of_documents_takes_each_row_once() {
    let text: String = places(23).chars().map(|c| format!("{c}\n")).collect();
    let data = documents(&text, 0.0, 4);
    assert_eq!(data.rows_per_epoch(), Some(23));
    // 23 batches of 3 rows are 3 epochs, whose borders lie inside batches.
    let counts = target_counts((0..23).map(|i| data.train_batch(9, i, 3)));
    // Ids 2..=24 are the letters, 26 is the end token.
    assert!((2..=24).all(|id| counts[&id] == 3), "{counts:?}");
    assert_eq!(counts[&26], 69);
    let epoch = |e: u64| data.train_batch(9, e, 23).targets;
    assert_ne!(epoch(0), epoch(1));
    assert_eq!(target_counts([data.train_batch(9, 0, 23)]), target_counts([data.train_batch(9, 1, 23)]));
}

#[test]
fn separators_files_and_blank_documents() {
    let count = |text: &str, separator: &str| {
        let mode = Mode::Documents { separator: separator.into() };
        let tokenizer = Tokenizer::bytes().for_documents();
        let data = Dataset::for_evaluation(&text.into(), &tokenizer, &options(mode, 0.0, 64)).unwrap();
        let batches: Vec<Batch> = data.eval_batches(1, None).collect();
        let decoded = batches.iter().map(|batch| tokenizer.decode(&batch.tokens)).collect::<Vec<_>>();
        decoded.join("|")
    };
    assert_eq!(count("a\r\nb\n\n \nc", "\n"), "a|b|c");
    assert_eq!(count("a\nb\n\n\n\nc\n", "\n\n"), "a\nb|c");
    assert_eq!(count("a\n---\n  b\n---\n", "---"), "a|  b");
}

#[test]
fn documents_are_split_the_same_way_each_time_and_none_is_lost() {
    let text: String = places(40).chars().map(|c| format!("{c}\n")).collect();
    let data = documents(&text, 0.1, 4);
    assert_eq!(data.rows_per_epoch(), Some(36));
    let val = target_counts(data.eval_batches(1, None));
    let train = target_counts((0..36).map(|i| data.train_batch(0, i, 1)));
    // Ids 2..=41 are the letters: each in one split, once; four held out, and not the last four.
    for id in 2..=41 {
        let times = val.get(&id).unwrap_or(&0) + train.get(&id).unwrap_or(&0);
        assert_eq!(times, 1, "{id}");
    }
    let held: Vec<u32> = val.keys().copied().filter(|&id| id <= 41).collect();
    assert_eq!(held.len(), 4);
    assert_ne!(held, [38, 39, 40, 41]);
    assert_eq!(data.val_tokens(), documents(&text, 0.1, 4).val_tokens());
}

#[test]
fn evaluation_covers_each_token_once_in_batches_of_one_shape() {
    // Validation splits of n tokens have n - 1 targets; b and T that divide them, and that don't.
    for (n, block_size, b) in [(50, 7, 4), (50, 49, 3), (57, 7, 4), (58, 7, 8), (20, 1, 6)] {
        let data = stream(2 * n, 0.5, block_size);
        let batches: Vec<Batch> = data.eval_batches(b, None).collect();
        assert!(batches.iter().all(|batch| (batch.b, batch.t) == (b, block_size)));
        assert!(batches.iter().all(|batch| batch.n_targets() > 0));
        for batch in &batches {
            for (&x, &y) in batch.tokens.iter().zip(&batch.targets) {
                assert!(y == x + 1 || (x, y) == (0, IGNORE));
            }
        }
        let n_targets: u64 = batches.iter().map(Batch::n_targets).sum();
        assert_eq!(data.eval_extent(None).targets, n_targets);
        let counts = target_counts(batches);
        assert!(counts.keys().copied().eq(n + 1..2 * n), "{counts:?}");
        assert!(counts.values().all(|&times| times == 1));
    }
}

#[test]
fn a_limit_takes_the_same_evenly_spaced_windows() {
    // 41 validation tokens are 10 windows of 4 targets; the first inputs of windows 0, 2, 5, 7.
    let data = stream(82, 0.5, 4);
    let starts = |limit| {
        let batches = data.eval_batches(3, limit);
        let tokens = batches.flat_map(|batch| batch.tokens);
        tokens.step_by(4).collect::<Vec<_>>()
    };
    assert_eq!(starts(Some(4)), [41, 49, 61, 69, 0, 0]);
    assert_eq!(starts(Some(4)), starts(Some(4)));
    assert_eq!(starts(Some(10)), starts(None));
    assert_eq!(starts(Some(99)), starts(None));
    assert_eq!(starts(Some(0)), [0; 0]);
    assert_eq!(data.eval_extent(Some(4)), Extent { windows: 4, targets: 16, bytes: 48 });
}

#[test]
fn bits_per_byte_count_the_bytes_of_the_targets() {
    // Ten letters of three bytes each; a loss of 3 ln 2 nats a letter is one bit a byte.
    let data = stream(22, 0.5, 10);
    let extent = data.eval_extent(None);
    assert_eq!((extent.targets, extent.bytes), (10, 30));
    let bits = extent.bits_per_byte(3.0 * std::f64::consts::LN_2).unwrap();
    assert!((bits - 1.0).abs() < 1e-12);
    // End tokens are targets without bytes.
    let extent = documents("ab\nab\n", 0.5, 10).eval_extent(None);
    assert_eq!((extent.targets, extent.bytes), (3, 2));
    assert_eq!(stream(22, 0.0, 10).eval_extent(None).bits_per_byte(1.0), None);
}

#[test]
fn a_batch_of_padding_has_no_target() {
    let batch = Batch::padding(2, 3);
    assert_eq!(batch.tokens, [0; 6]);
    assert_eq!(batch.targets, [IGNORE; 6]);
    assert_eq!(batch.n_targets(), 0);
    // Nothing to train on in a text that is only evaluated.
    let text = Text::new("abcdef");
    let data = Dataset::for_evaluation(&text, &Tokenizer::bytes(), &Options::stream(3)).unwrap();
    assert_eq!(data.train_batch(1, 1, 2), batch);
}

#[test]
fn evaluation_needs_no_whole_block() {
    let text = Text::new("ab");
    let data = Dataset::for_evaluation(&text, &Tokenizer::bytes(), &Options::stream(4)).unwrap();
    let batch = data.eval_batches(1, None).next().unwrap();
    assert_eq!(batch.tokens, [97, 0, 0, 0]);
    assert_eq!(batch.targets, [98, IGNORE, IGNORE, IGNORE]);
}

#[test]
fn bad_data_options_are_refused_with_the_flag_to_change() {
    let lines = Mode::lines;
    let none = Mode::Documents { separator: String::new() };
    let table = [
        (
            "abcdefghij",
            options(Mode::Stream, 0.1, 9),
            "the training split has 9 tokens, but a block of 9 needs 10: give more text, or lower --block-size",
        ),
        (
            "abcdefghij",
            options(Mode::Stream, 0.3, 3),
            "the validation split has 3 tokens, but a block of 3 needs 4: give more text, raise --val-fraction, or lower --block-size",
        ),
        ("abcdefghij", options(Mode::Stream, 0.1, 0), "a block of 0 tokens holds nothing: give --block-size 1 or more"),
        (
            "abcdefghij",
            options(Mode::Stream, 1.0, 2),
            "a validation fraction of 1 is not in 0..1: give --val-fraction a value from 0 (no validation) to 0.99",
        ),
        (
            "abcdefghij",
            options(Mode::Stream, f64::NAN, 2),
            "a validation fraction of NaN is not in 0..1: give --val-fraction a value from 0 (no validation) to 0.99",
        ),
        (
            "one\n",
            options(lines(), 0.1, 2),
            "1 document leaves 0 for training and 1 for validation: give more documents, check --separator, or change --val-fraction (0 for none)",
        ),
        (
            "\n\n",
            options(lines(), 0.0, 2),
            "0 documents leave 0 for training and 0 for validation: give more documents, check --separator, or change --val-fraction (0 for none)",
        ),
        ("a\nb\n", options(none, 0.5, 2), "the document separator is empty: give --separator some text"),
    ];
    for (text, options, message) in table {
        let tokenizer = Tokenizer::bytes().for_documents();
        let error = Dataset::new(&text.into(), &tokenizer, &options).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn other_refusals() {
    let check = |result: Result<Dataset, DataError>, message: &str| {
        assert_eq!(result.unwrap_err().to_string(), message);
    };
    check(
        Dataset::new(&"a\nb\n".into(), &Tokenizer::bytes(), &options(Mode::lines(), 0.5, 4)),
        "--mode documents needs a tokenizer with start and end tokens, but this one has none: use --mode stream, or train a new run with another --tokenizer",
    );
    check(
        Dataset::for_evaluation(&"a".into(), &Tokenizer::bytes(), &Options::stream(4)),
        "the text to evaluate has 1 token, but a prediction needs 2: give more text",
    );
    // The position counts from the start of the text in both modes.
    for mode in [Mode::Stream, Mode::lines()] {
        check(
            Dataset::new(
                &"ab\nab!\nab\nab\n".into(),
                &Tokenizer::chars("\nab").for_documents(),
                &options(mode, 0.5, 2),
            ),
            "character '!' (U+0021) at position 5 is not among the tokenizer's 3 characters: remove it, or train a new run with --tokenizer byte",
        );
    }
}

/// Documents with these numbers of targets (tokens and the end), each of its own letter as far as there are some.
fn text_of(lengths: &[u32]) -> String {
    let mut next = 0x4e00;
    let mut letters = |n: u32| {
        next += n;
        (next - n..next).filter_map(char::from_u32).collect::<String>()
    };
    lengths.iter().map(|&n| format!("{}\n", letters(n - 1))).collect()
}

fn packed(text: &str, val_fraction: f64, block_size: usize) -> Dataset {
    let tokenizer = Tokenizer::chars(text).for_documents();
    let options = Options { pack: true, document_mask: true, ..options(Mode::lines(), val_fraction, block_size) };
    Dataset::new(&Text::new(text), &tokenizer, &options).unwrap()
}

#[test]
fn documents_are_packed_with_little_padding() {
    // 4 + 6, 7 + 3, 8 + 2, 5 + 5: forty targets fill four rows of ten; without packing, more than half is padding.
    let text = text_of(&[4, 7, 8, 5, 2, 6, 3, 5]);
    let (alone, together) = (documents(&text, 0.0, 10), packed(&text, 0.0, 10));
    let packing = together.packing().unwrap();
    assert_eq!((packing.documents, packing.rows, packing.padding), (8, 4, 0.0));
    let packing = alone.packing().unwrap();
    assert_eq!((packing.documents, packing.rows, packing.padding), (8, 8, 0.5));
    assert_eq!(together.rows_per_epoch(), Some(4));
    assert_eq!(stream(100, 0.1, 7).packing(), None);
    // Two thousand names of at least 4 targets: few rows of 64 have more than 3 free places, too few for another name.
    let lengths: Vec<u32> = (0..2000u32).map(|i| 3 + (i * 7919 % 5 + i * 104_729 % 6 + i * 31 % 4)).collect();
    let text: String = lengths.iter().map(|&n| "a".repeat(n as usize) + "\n").collect();
    let share = packed(&text, 0.1, 64).packing().unwrap().padding;
    assert!((0.0..3.0 / 64.0).contains(&share), "{share}");
    assert!(documents(&text, 0.1, 64).packing().unwrap().padding > 0.8);
}

#[test]
fn packed_documents_are_complete_separate_and_each_a_target_once() {
    // Some longer than a row: cut into pieces, as without packing.
    let lengths: Vec<u32> = (0..60).map(|i| 1 + i * 13 % 23).collect();
    let text = text_of(&lengths);
    let (alone, together) = (documents(&text, 0.2, 12), packed(&text, 0.2, 12));
    let rows = |data: &Dataset| data.rows_per_epoch().unwrap();
    assert!(rows(&together) < rows(&alone));
    let epoch = |data: &Dataset, e: u64| data.train_batch(7, e, usize::try_from(rows(data)).unwrap());
    for e in 0..3 {
        assert_eq!(target_counts([epoch(&together, e)]), target_counts([epoch(&alone, e)]), "epoch {e}");
    }
    assert_ne!(epoch(&together, 0), epoch(&together, 1));
    assert_eq!(together.eval_extent(None).targets, alone.eval_extent(None).targets);
    assert_eq!(together.eval_extent(None).bytes, alone.eval_extent(None).bytes);
    let eval = |data: &Dataset| data.eval_batches(3, None).collect::<Vec<_>>();
    assert_eq!(target_counts(eval(&together)), target_counts(eval(&alone)));
    assert_eq!(eval(&together).iter().map(Batch::n_targets).sum::<u64>(), together.eval_extent(None).targets);

    // Between two borders is a complete row of the dataset without packing; padding comes last.
    let pieces = |batches: &[Batch]| {
        let mut pieces: Vec<(Vec<u32>, Vec<u32>)> = vec![];
        for batch in batches {
            for i in 0..batch.tokens.len() {
                if batch.targets[i] == IGNORE {
                    continue;
                }
                let begins = if batch.firsts.is_empty() { i % 12 == 0 } else { batch.firsts[i] as usize == i % 12 };
                if begins {
                    pieces.push((vec![], vec![]));
                }
                let (tokens, targets) = pieces.last_mut().unwrap();
                tokens.push(batch.tokens[i]);
                targets.push(batch.targets[i]);
            }
        }
        pieces.sort_unstable();
        pieces
    };
    assert_eq!(pieces(&[epoch(&together, 0)]), pieces(&[epoch(&alone, 0)]));
    assert_eq!(pieces(&eval(&together)), pieces(&eval(&alone)));
    for batch in eval(&together) {
        assert_eq!(batch.firsts.len(), batch.tokens.len());
        for (firsts, targets) in batch.firsts.chunks(12).zip(batch.targets.chunks(12)) {
            let n = targets.iter().filter(|&&target| target != IGNORE).count();
            assert!(targets[n..].iter().all(|&target| target == IGNORE));
            assert!(firsts[n..].iter().all(|&first| first as usize == n), "padding is a document of its own");
        }
    }
}

#[test]
fn packing_without_a_mask_says_nothing_of_documents() {
    let text = text_of(&[2, 3, 5]);
    let tokenizer = Tokenizer::chars(&text).for_documents();
    let with = |pack, document_mask| {
        let options = Options { pack, document_mask, ..options(Mode::lines(), 0.0, 6) };
        Dataset::new(&Text::new(&text), &tokenizer, &options).unwrap().train_batch(1, 0, 3)
    };
    assert!(with(true, false).firsts.is_empty());
    assert_eq!(with(true, false).tokens, with(true, true).tokens);
    // Without packing: the document, then its padding.
    let mut firsts: Vec<Vec<u32>> = with(false, true).firsts.chunks(6).map(<[u32]>::to_vec).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, [[0, 0, 0, 0, 0, 5], [0, 0, 0, 3, 3, 3], [0, 0, 2, 2, 2, 2]]);
}

#[test]
fn a_mask_in_a_stream_needs_a_token_that_parts_documents() {
    let text = Text::new("ab\nb\nabab\n".repeat(5));
    let tokenizer = Tokenizer::chars("\nab").for_documents();
    let masked = Options { document_mask: true, ..options(Mode::Stream, 0.0, 7) };
    let data = Dataset::new(&text, &tokenizer, &masked).unwrap();
    // Text never holds the start token, so a window is one document.
    let batch = data.train_batch(3, 1, 2);
    assert_eq!(batch.firsts, [0; 14]);
    assert_eq!(
        batch.tokens,
        Dataset::new(&text, &tokenizer, &options(Mode::Stream, 0.0, 7)).unwrap().train_batch(3, 1, 2).tokens
    );
    let error = Dataset::new(&text, &Tokenizer::bytes(), &masked).unwrap_err().to_string();
    assert!(error.starts_with("--document-mask") && error.contains("end-of-text"), "{error}");
}

#[test]
fn a_stream_is_parted_at_gpt2s_end_of_text() {
    let text = Text::new("one two<|endoftext|>three<|endoftext|>four five six");
    let tokenizer = Tokenizer::gpt2().reading_specials();
    let data =
        Dataset::for_evaluation(&text, &tokenizer, &Options { document_mask: true, ..options(Mode::Stream, 0.0, 7) });
    let batch = data.unwrap().eval_batches(1, None).next().unwrap();
    let places: Vec<usize> = (0..7).filter(|&i| batch.tokens[i] == 50_256).collect();
    assert_eq!(places, [2, 4]);
    assert_eq!(batch.firsts, [0, 0, 2, 2, 4, 4, 4]);

    // Names of tokens are not text, and a text of both is still split.
    let text = Text::new("one two<|endoftext|>".repeat(50));
    let data = Dataset::new(&text, &tokenizer, &options(Mode::Stream, 0.1, 7)).unwrap();
    assert_eq!(data.token_count() + data.val_token_count(), 150);
    assert!((130..=137).contains(&data.token_count()), "{}", data.token_count());
}
