//! Text encoded while it is read has the same tokens as the whole, from every source.

use std::cell::RefCell;
use std::path::PathBuf;

use tril::data::text::read_with_input;
use tril::data::{DataError, Dataset, Loading, Mode, Options, Source, Text, Tokenizer, TokenizerSpec};

use super::{gz, write, zst};

/// Words, spaces and characters of all lengths.
fn lines(n_byte: usize, seed: u64) -> String {
    const PARTS: [&str; 12] =
        ["the ", "word\n", "  naïve", "\u{a0}", "日本語", "👍🏽 ", "it's ", "12345", "\n\n", "\t\t", "...", " x"];
    // a linear congruential generator: Knuth's constants for 64 bits
    let mut state = seed;
    let mut text = String::new();
    while text.len() < n_byte {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(PARTS[(state >> 33) as usize % PARTS.len()]);
    }
    text
}

/// Tokenizers that are given texts in parts of each kind.
fn tokenizers(text: &str) -> Vec<Tokenizer> {
    let around = Tokenizer::gpt2().to_hf_json().replace("\"add_prefix_space\":false", "\"add_prefix_space\":true");
    vec![
        Tokenizer::chars(text),
        Tokenizer::bytes(),
        Tokenizer::gpt2(),
        Tokenizer::train_bpe(&text[..text.floor_char_boundary(40_000)], 300).unwrap(),
        Tokenizer::from_json(&around).unwrap(),
    ]
}

/// All tokens of a text.
fn tokens(text: &Text, tokenizer: &Tokenizer, mode: Mode) -> Vec<u32> {
    let options = Options { mode, ..Options::stream(16) };
    Dataset::for_evaluation(text, tokenizer, &options).unwrap().val_tokens()
}

#[test]
fn a_stream_of_many_files_has_the_tokens_of_one_text() {
    let dir = tempfile::tempdir().unwrap();
    let parts = [lines(700_000, 1), lines(300_000, 2) + "\n\n\n", lines(5, 3), lines(600_000, 4)];
    let record = serde_json::json!({ "text": parts[3] }).to_string();
    let paths = [
        write(dir.path(), "a.txt", parts[0].as_bytes()),
        write(dir.path(), "b.txt.gz", &gz(parts[1].as_bytes())),
        PathBuf::from("-"),
        write(dir.path(), "d.jsonl.zst", &zst(format!("{{\"text\":\"one\"}}\n{record}\n").as_bytes())),
    ];
    let text = read_with_input(&paths, &mut parts[2].as_bytes()).unwrap();
    let mut whole = String::new();
    for part in [&parts[0], &parts[1], &parts[2], "one", &parts[3]] {
        if !whole.is_empty() && !whole.ends_with('\n') {
            whole.push('\n');
        }
        whole.push_str(part);
    }
    assert!(text.read_all().unwrap() == whole);
    assert_eq!((text.n_byte(), text.n_char()), (whole.len() as u64, whole.chars().count() as u64));
    assert_eq!(text.crc32(), crc32fast::hash(whole.as_bytes()));
    for (i, tokenizer) in tokenizers(&whole).iter().enumerate() {
        let ids = tokenizer.encode(&whole).unwrap();
        assert!(tokens(&text, tokenizer, Mode::Stream) == ids, "tokenizer {i}");
        // the last tenth of the characters is for validation
        let n_char = whole.chars().count();
        let (cut, _) = whole.char_indices().nth((n_char as f64 * 0.9) as usize).unwrap();
        let mut n_byte = 0;
        let n_train = ids.iter().take_while(|&&id| (n_byte < cut, n_byte += tokenizer.byte_len(id)).0).count();
        let data = Dataset::new(&text, tokenizer, &Options::stream(16)).unwrap();
        if tokenizer.encodes_chunks() {
            assert_eq!((data.token_count(), data.val_token_count()), (n_train as u64, (ids.len() - n_train) as u64));
        }
    }
}

#[test]
fn documents_are_those_between_separators_of_each_file() {
    let dir = tempfile::tempdir().unwrap();
    let long = lines(900_000, 5).replace("\n\n", " ").replace('\n', " ");
    let parts = [
        format!("one\n\n  \n\n\r\ntwo\r\nthree\n{long}\n\n\nfour\n"),
        format!("{}five", "\n".repeat(300_000)),
        format!("six{}", "\n".repeat(300_000)),
        format!("{}seven{}", " ".repeat(600_000), " ".repeat(600_000)),
    ];
    let record = "a record;\n\nof one piece\n";
    let json = format!("{}\n{}\n", serde_json::json!({ "text": record }), serde_json::json!({ "text": " \n " }));
    let mut paths: Vec<PathBuf> =
        parts.iter().enumerate().map(|(i, part)| write(dir.path(), &i.to_string(), part.as_bytes())).collect();
    paths.push(write(dir.path(), "r.jsonl", json.as_bytes()));
    let text = read_with_input(&paths, &mut std::io::empty()).unwrap();
    let known = tokenizers(&(long.clone() + &parts.concat() + record));
    for separator in ["\n", "\n\n", "o\nt", " ", "<|endoftext|>"] {
        let files = parts.iter().flat_map(|part| part.split(separator)).chain([record]);
        let trimmed = files.map(|document| document.trim_matches(['\n', '\r']));
        let documents: Vec<&str> = trimmed.filter(|document| !document.trim().is_empty()).collect();
        assert!(text.documents(separator).unwrap() == documents, "{separator:?}");
        if separator == " " {
            continue;
        }
        for (i, tokenizer) in known.iter().enumerate() {
            let tokenizer = tokenizer.clone().for_documents();
            let (start, end) = (tokenizer.start_id().unwrap(), tokenizer.end_id().unwrap());
            let ids = documents.iter().flat_map(|d| [&[start], &*tokenizer.encode(d).unwrap(), &[end]].concat());
            let ids: Vec<u32> = ids.collect();
            let mode = Mode::Documents { separator: separator.into() };
            assert!(tokens(&text, &tokenizer, mode) == ids, "{separator:?}, tokenizer {i}");
        }
    }
}

#[test]
fn much_of_standard_input_is_read_as_often_as_it_is_needed() {
    let input = lines(20 << 20, 6);
    let text = read_with_input(&["-".into()], &mut input.as_bytes()).unwrap();
    for _ in 0..2 {
        assert!(text.read_all().unwrap() == input);
    }
}

#[test]
fn a_text_that_changes_while_it_is_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.txt", &b"some text ".repeat(100));
    let corpus = Source::from_paths(std::slice::from_ref(&path)).load().unwrap();
    write(dir.path(), "a.txt", &b"other text".repeat(100));
    let error = Dataset::of(&corpus, &Tokenizer::bytes(), &Options::stream(16)).unwrap_err();
    assert!(matches!(error, DataError::Unsteady), "{error}");
}

#[test]
fn loading_reports_its_stage_and_progress() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.txt", lines(3 << 20, 7).as_bytes());
    let seen = RefCell::new(vec![]);
    let watch = |loading: Loading<'_>| {
        seen.borrow_mut().push(match loading {
            Loading::Reading { name, bytes, total } => {
                assert!(name.ends_with("a.txt"));
                ("reading", bytes, total)
            }
            Loading::LearningTokenizer { bytes, total } => ("learning", bytes, Some(total)),
            Loading::Encoding { bytes, total } => ("encoding", bytes, total),
            _ => ("something else", 0, None),
        });
        Ok(())
    };
    let corpus = Source::from_paths(&[path]).load_watched(&watch).unwrap();
    let text = corpus.text().unwrap();
    let tokenizer = TokenizerSpec::Bpe(300).make(text, &Mode::Stream, 0.1, &watch).unwrap();
    corpus.prepare(&tokenizer, &Options::stream(16), &watch).unwrap();
    for (what, least, all) in [
        ("reading", 20, text.n_byte()),
        ("learning", 10, (text.n_byte() as f64 * 0.9) as u64),
        ("encoding", 10, text.n_byte()),
    ] {
        let seen = seen.borrow();
        let reports: Vec<_> = seen.iter().filter(|(which, ..)| *which == what).collect();
        assert!(reports.len() >= least, "{what}: {} reports", reports.len());
        assert!(reports.is_sorted_by_key(|(_, bytes, _)| *bytes), "{what}");
        let (_, bytes, total) = *reports[reports.len() - 1];
        assert_eq!((bytes, total), (all, Some(all)), "{what}");
    }
    // the prepared dataset is used
    let n_report = seen.borrow().len();
    Dataset::of(&corpus, &tokenizer, &Options::stream(16)).unwrap();
    assert_eq!(seen.borrow().len(), n_report);
}

#[test]
fn characters_of_separators_are_not_in_the_alphabet() {
    let by = |separator: &str| Mode::Documents { separator: separator.into() };
    for (text, mode, alphabet) in [
        ("ab\nc\n", Mode::Stream, "\nabc"),
        ("ab\nc\n", Mode::lines(), "abc"),
        ("ab\r\nc\r\n\r\n", Mode::lines(), "abc"),
        ("a\nb\n\nc", by("\n\n"), "\nabc"),
        ("a<|end|>\nb<|end|>\n", by("<|end|>"), "ab"),
        ("a<|end|>\nb, the end<|end|>", by("<|end|>"), " ,abdehnt"),
        // blank lines are no documents
        ("ab\n \nc", Mode::lines(), "abc"),
        // of one repeated character, its count
        ("a\naa\naaa", Mode::lines(), "a"),
    ] {
        let known = Text::new(text);
        let tokenizer = TokenizerSpec::Char.make(&known, &mode, 0.1, &|_| Ok(())).unwrap();
        assert_eq!(tokenizer, Tokenizer::chars(alphabet), "{text:?} {mode:?}");
        let options = Options { mode: mode.clone(), ..Options::stream(1) };
        let data = Dataset::for_evaluation(&known, &tokenizer.for_data(&mode, false), &options);
        assert!(data.is_ok(), "{text:?} {mode:?}: {data:?}");
    }
    let refused = TokenizerSpec::Char.make(&"ab".into(), &by(""), 0.1, &|_| Ok(()));
    assert!(matches!(refused, Err(DataError::EmptySeparator)));
}
