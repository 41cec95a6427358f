//! Token files: their formats, what can be wrong with them, and how they are used.

use std::fs;
use std::path::{Path, PathBuf};

use tril::data::tokens::{self, Layout, Width, pickle::Pickle};
use tril::data::{Corpus, DataError, Dataset, Mode, Options, Source, Text, TokenSet, Tokenizer};

use super::write;

fn raw(ids: impl IntoIterator<Item = u16>) -> Vec<u8> {
    ids.into_iter().flat_map(u16::to_le_bytes).collect()
}

fn llmc(magic: u32, version: u32, count: u32, tokens: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [magic, version, count].into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.resize(1024, 0);
    bytes.extend(tokens);
    bytes
}

fn wide(ids: impl IntoIterator<Item = u32>) -> Vec<u8> {
    ids.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn asset(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tokens").join(name)).unwrap()
}

#[test]
fn layouts_follow_from_the_first_bytes_and_the_size() {
    let layout = |start, width, n_token| Ok(Layout { start, width, n_token });
    let bad = |reason: &str| Err(reason.to_string());
    let table = [
        ("nanoGPT's", raw([1, 2, 3]), layout(0, Width::Two, 3)),
        ("one token", raw([7]), layout(0, Width::Two, 1)),
        // the highest pair of GPT-2's ids that could look like a date
        ("ids of GPT-2", raw([50_256, 308, 1]), layout(0, Width::Two, 3)),
        ("llm.c's", llmc(20_240_520, 1, 3, &raw([1, 2, 3])), layout(1024, Width::Two, 3)),
        ("llm.c's for Llama", llmc(20_240_801, 7, 2, &wide([1, 100_000])), layout(1024, Width::Four, 2)),
        ("nothing", vec![], bad("holds no tokens: give another file")),
        ("one byte", vec![1], bad("holds no tokens: give another file")),
        (
            "odd",
            vec![1, 2, 3],
            bad("has 3 bytes, not a multiple of 16-bit tokens: it is truncated or not a token file; create it again"),
        ),
        ("a header without tokens", llmc(20_240_520, 1, 0, &[]), bad("holds no tokens: give another file")),
        (
            "a model",
            llmc(20_240_326, 3, 0, &[]),
            bad("has llm.c's magic number 20240326 of a model: give token files, whose number is 20240520 or 20240801"),
        ),
        (
            "another date",
            llmc(20_241_124, 1, 0, &[]),
            bad(
                "has llm.c's magic number 20241124 of something unknown: give token files, whose number is 20240520 or 20240801",
            ),
        ),
        (
            "another version",
            llmc(20_240_520, 2, 1, &raw([1])),
            bad("is version 2 of llm.c's token files with magic number 20240520, but tril reads version 1: convert it"),
        ),
        (
            "the version of the other width",
            llmc(20_240_801, 1, 1, &wide([1])),
            bad("is version 1 of llm.c's token files with magic number 20240801, but tril reads version 7: convert it"),
        ),
        (
            "fewer than it says",
            llmc(20_240_520, 1, 4, &raw([1, 2, 3])),
            bad(
                "declares 4 tokens of 16 bits in its header, but has 6 bytes for them: it is truncated or damaged; create it again",
            ),
        ),
        (
            "more than it says",
            llmc(20_240_801, 7, 1, &wide([1, 2])),
            bad(
                "declares 1 token of 32 bits in its header, but has 8 bytes for them: these look like 64-bit ids; write them as 32-bit ones",
            ),
        ),
        (
            "a negative count",
            llmc(20_240_520, 1, u32::MAX, &raw([1])),
            bad(
                "declares 4294967295 tokens of 16 bits in its header, but has 2 bytes for them: it is truncated or damaged; create it again",
            ),
        ),
        (
            "half a header",
            llmc(20_240_520, 1, 3, &[])[..600].to_vec(),
            bad("ends within its header of 1024 bytes: it is truncated; create it again"),
        ),
    ];
    for (name, bytes, expected) in table {
        let head = &bytes[..bytes.len().min(Layout::HEAD_BYTES)];
        assert_eq!(Layout::of(head, bytes.len() as u64, None), expected, "{name}");
    }
    assert_eq!(Layout::header(Width::Two, 3), llmc(20_240_520, 1, 3, &[]));
    assert_eq!(Layout::header(Width::Four, 9), llmc(20_240_801, 7, 9, &[]));
}

#[test]
fn shards_of_all_forms_are_one_stream() {
    let dir = tempfile::tempdir().unwrap();
    let a = write(dir.path(), "a.bin", &raw([0, 1, 2]));
    let b = write(dir.path(), "b.bin", &llmc(20_240_520, 1, 1, &raw([3])));
    let c = write(dir.path(), "c.bin", &llmc(20_240_801, 7, 3, &wide([4, 5, 70_000])));
    let set = TokenSet::open(&[a, b, c], &[]).unwrap();
    let expected = [0, 1, 2, 3, 4, 5, 70_000];
    for from in 0..=7 {
        for to in from..=7 {
            assert_eq!(set.train().get(from..to), expected[from..to], "{from}..{to}");
        }
    }
    let (first, rest) = set.train().split_at(2);
    assert_eq!((first.get(0..2), rest.get(0..5)), (vec![0, 1], expected[2..].to_vec()));
    assert_eq!(rest.get(1..3), [3, 4]);
}

/// A text, and the folder that nanoGPT would make of it with bytes as tokens.
fn text_and_files(dir: &Path) -> (Text, Source) {
    let text: String = (0..400).map(|i| format!("{} ", i * i % 97)).collect();
    let at = (text.chars().count() as f64 * 0.9) as usize;
    let ids = |part: &str| raw(part.bytes().map(u16::from));
    write(dir, "train.bin", &ids(&text[..at]));
    write(dir, "val.bin", &ids(&text[at..]));
    (Text::new(text), tokens::find(&[dir.to_path_buf()], &[]).unwrap())
}

#[test]
fn files_give_the_batches_of_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let (text, source) = text_and_files(dir.path());
    let (bytes, options) = (Tokenizer::bytes(), Options::stream(16));
    let of_text = Dataset::new(&text, &bytes, &options).unwrap();
    let (Source::Tokens { train, val, .. }, corpus) = (&source, source.load().unwrap()) else { panic!("{source:?}") };
    // split by the files, and by the share of all tokens of any files
    let all: Vec<PathBuf> = train.iter().chain(val).cloned().collect();
    let joined = Corpus::Tokens(TokenSet::open(&all, &[]).unwrap());
    for corpus in [corpus, joined] {
        let data = Dataset::of(&corpus, &bytes, &options).unwrap();
        assert_eq!(data.token_count(), of_text.token_count());
        assert_eq!(data.val_tokens(), of_text.val_tokens());
        for index in 0..20 {
            assert_eq!(data.train_batch(3, index, 4), of_text.train_batch(3, index, 4));
        }
        for limit in [None, Some(3)] {
            let batches = |data: &Dataset| data.eval_batches(4, limit).collect::<Vec<_>>();
            assert_eq!(batches(&data), batches(&of_text));
            assert_eq!(data.eval_extent(limit), of_text.eval_extent(limit));
        }
    }
    let val = TokenSet::open(val, &[]).unwrap();
    let evaluation = Dataset::evaluation_of(&Corpus::Tokens(val), &bytes, &options).unwrap();
    assert_eq!(evaluation.val_tokens(), of_text.val_tokens());
    assert_eq!(evaluation.token_count(), 0);
}

#[test]
fn a_source_of_files_survives_its_config() {
    let dir = tempfile::tempdir().unwrap();
    let (_, source) = text_and_files(dir.path());
    let toml = toml::to_string(&source).unwrap();
    assert!(toml.contains("kind = \"tokens\""), "{toml}");
    assert_eq!(toml::from_str::<Source>(&toml).unwrap(), source);
}

#[test]
fn paths_and_patterns_mean_token_files_or_text() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let shard = llmc(20_240_520, 1, 1, &raw([1]));
    for name in ["s/x_train_1.bin", "s/x_train_0.bin", "s/x_val_0.bin", "s/other.bin"] {
        write(dir.path(), name, &shard);
    }
    write(dir.path(), "n/train.bin", &raw([1]));
    write(dir.path(), "n/val.bin", &raw([1]));
    write(dir.path(), "n/input.txt", b"text");
    write(dir.path(), "no_val/train.bin", &raw([1]));
    write(dir.path(), "text/a.txt", b"text");
    write(dir.path(), "text/b.txt", b"text");
    // names alone don't make a folder of text one of token files
    write(dir.path(), "text/training.bin", b"\0binary");
    write(dir.path(), "od[d]/c.txt", b"text");
    let find = |paths: &[&str], val: &[&str]| {
        let all = |names: &[&str]| names.iter().map(|name| at(name)).collect::<Vec<_>>();
        tokens::find(&all(paths), &all(val))
    };
    type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let both: &[&str] = &["s/x_train_0.bin", "s/x_train_1.bin"];
    let table: [Row<'_>; 9] = [
        (&["n"], &[], &["n/train.bin"], &["n/val.bin"]),
        (&["no_val"], &[], &["no_val/train.bin"], &[]),
        (&["s"], &[], both, &["s/x_val_0.bin"]),
        (&["s/x_train_*.bin"], &["s/x_val_*.bin"], both, &["s/x_val_0.bin"]),
        (&["s/x_train_1.bin", "n/train.bin"], &[], &["s/x_train_1.bin", "n/train.bin"], &[]),
        // an explicit choice beats the folder's
        (&["n"], &["s/other.bin"], &["n/train.bin"], &["s/other.bin"]),
        (&["n"], &["s"], &["n/train.bin"], &["s/x_val_0.bin"]),
        (&["n"], &["no_val"], &["n/train.bin"], &["no_val/train.bin"]),
        (&["missing.bin"], &[], &["missing.bin"], &[]),
    ];
    for (paths, val, train_set, val_set) in table {
        let all = |names: &[&str]| names.iter().map(|name| at(name)).collect();
        let expected = Source::Tokens { train: all(train_set), val: all(val_set), width: None };
        assert_eq!(find(paths, val).unwrap(), expected, "{paths:?} {val:?}");
    }
    let text = |names: &[&str]| Source::from_paths(&names.iter().map(|name| at(name)).collect::<Vec<_>>());
    assert_eq!(find(&["text/*.txt"], &[]).unwrap(), text(&["text/a.txt", "text/b.txt"]));
    assert_eq!(find(&["text", "od[d]/c.txt"], &[]).unwrap(), text(&["text", "od[d]/c.txt"]));
    assert_eq!(tokens::find(&[], &[]).unwrap(), Source::from_paths(&[]));
    let evaluated = tokens::find_for_evaluation(&[at("n")]).unwrap();
    assert_eq!(evaluated, Source::Tokens { train: vec![at("n/val.bin")], val: vec![], width: None });

    let fails: [(&[&str], &[&str], &str); 5] = [
        (&["n", "text"], &[], "text: give one or the other"),
        (&["text"], &["n/val.bin"], "needs token files (.bin); for text, leave it out and use --val-fraction"),
        (&["n"], &["text/a.txt"], "needs token files (.bin)"),
        (&["n/*.npy"], &[], "n/*.npy matches no file (no such file): check the path"),
        (&["n/***"], &[], "matches no file"),
    ];
    for (paths, val, reason) in fails {
        let message = find(paths, val).unwrap_err().to_string();
        assert!(message.contains(reason) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let good = write(dir.path(), "good.bin", &raw(0..40));
    let beyond = write(dir.path(), "beyond.bin", &raw((0..40).chain([300, 256, 300])));
    let odd = write(dir.path(), "odd.bin", &[1, 2, 3]);
    let (missing, folder) = (dir.path().join("missing.bin"), dir.path().to_path_buf());
    let options = Options::stream(16);
    let dataset = |train: &[&PathBuf], val: &[&PathBuf], options: &Options| {
        let all = |paths: &[&PathBuf]| paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>();
        let corpus = Corpus::Tokens(TokenSet::open(&all(train), &all(val))?);
        Dataset::of(&corpus, &Tokenizer::bytes(), options)
    };
    assert!(dataset(&[&good], &[&good], &options).is_ok());
    let short = Options { block_size: 40, ..options.clone() };
    let documents = Options { mode: Mode::lines(), ..options.clone() };
    let table: [(Result<Dataset, DataError>, &str, &str); 9] = [
        (dataset(&[&missing], &[], &options), "missing.bin", "does not exist"),
        (dataset(&[&good, &odd], &[], &options), "odd.bin", "not a multiple of 16-bit tokens"),
        (dataset(&[&folder], &[], &options), "", "can't be memory-mapped"),
        (
            dataset(&[&good, &beyond], &[&good], &options),
            "beyond.bin",
            "has id 300 at token 40, but the vocabulary ends at 255: give the files' own tokenizer with --tokenizer",
        ),
        (dataset(&[&good], &[&beyond], &options), "beyond.bin", "has id 300 at token 40"),
        (dataset(&[&good], &[&good], &short), "good.bin", "holds 40 tokens, but a block of 40 needs 41"),
        (dataset(&[&good, &good], &[&good], &short), "good.bin", "holds 40 tokens"),
        (dataset(&[&good], &[], &short), "", "the training split has 36 tokens"),
        (dataset(&[&good], &[], &documents), "", "--mode documents needs text, but these are token files"),
    ];
    for (result, name, reason) in table {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(reason), "{message}");
    }
}

#[test]
fn documents_of_files_are_kept_apart_at_the_end_of_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<u16> = (0..60).map(|i| if i % 10 == 0 { 50_256 } else { 1000 + i }).collect();
    let file = write(dir.path(), "a.bin", &llmc(20_240_520, 1, 60, &raw(ids)));
    let corpus = Corpus::Tokens(TokenSet::open(&[file], &[]).unwrap());
    let options = Options { document_mask: true, val_fraction: 0.5, ..Options::stream(20) };
    let data = Dataset::of(&corpus, &Tokenizer::gpt2(), &options).unwrap();
    let batch = data.train_batch(1, 0, 2);
    for (tokens, firsts) in batch.tokens.chunks(20).zip(batch.firsts.chunks(20)) {
        let mut first = 0;
        for (at, &token) in tokens.iter().enumerate() {
            first = if token == 50_256 { at } else { first };
            assert_eq!(firsts[at] as usize, first, "{tokens:?}");
        }
    }
    assert!(Dataset::of(&corpus, &Tokenizer::bytes(), &options).is_err());
}

#[test]
fn a_change_in_any_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    // more than a thread reads at a time
    let mut content = raw((0..3_000_000).map(|i: u32| (i % 1000) as u16));
    let a = write(dir.path(), "a.bin", &content);
    let b = write(dir.path(), "b.bin", &raw([1, 2, 3]));
    let crc = |train: &[&PathBuf], val: &[&PathBuf]| {
        let all = |paths: &[&PathBuf]| paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>();
        TokenSet::open(&all(train), &all(val)).unwrap().crc32()
    };
    let before = crc(&[&a, &b], &[&b]);
    assert_eq!(before, crc(&[&a, &b], &[&b]));
    assert_ne!(before, crc(&[&b, &a], &[&b]));
    assert_ne!(before, crc(&[&a], &[&b]));
    let corpus = Corpus::Tokens(TokenSet::open(&[a.clone(), b.clone()], std::slice::from_ref(&b)).unwrap());
    corpus.verify(before).unwrap();
    let message = corpus.verify(before ^ 1).unwrap_err().to_string();
    assert!(message.starts_with("the set of token files has changed since this run began"), "{message}");
    // the last token of one file becomes the first of the next
    let (moved, shorter) = (content.split_off(content.len() - 2), content.clone());
    let c = write(dir.path(), "c.bin", &shorter);
    let d = write(dir.path(), "d.bin", &[moved, raw([1, 2, 3])].concat());
    assert_ne!(before, crc(&[&c, &d], &[&b]));
    for at in [0, 4 << 20, content.len() - 1] {
        let mut changed = [&content[..], &raw([999])].concat();
        assert_eq!(write(dir.path(), "a.bin", &changed), a);
        assert_eq!(before, crc(&[&a, &b], &[&b]));
        changed[at] ^= 1;
        write(dir.path(), "a.bin", &changed);
        assert_ne!(before, crc(&[&a, &b], &[&b]), "byte {at}");
    }
}

#[test]
fn the_highest_id_is_found_in_every_part_of_a_large_file() {
    let dir = tempfile::tempdir().unwrap();
    for (n, at) in [(3_000_000, 0), (3_000_000, 2_097_151), (3_000_000, 2_097_152), (3_000_000, 2_999_999)] {
        let ids = (0..n).map(|i: u32| if i == at { 60_000 } else { (i % 50_257) as u16 });
        let tokens: Vec<u8> = raw(ids);
        let (short, long) = (tokens.clone(), llmc(20_240_520, 1, n, &tokens));
        for (name, content) in [("raw.bin", short), ("llmc.bin", long)] {
            let file = write(dir.path(), name, &content);
            let message = TokenSet::open(&[file], &[]).unwrap().check(50_257).unwrap_err().to_string();
            assert!(message.contains(&format!("has id 60000 at token {at},")), "{message}");
        }
    }
}

#[test]
fn metas_of_every_protocol_give_their_characters() {
    let chars = String::from_utf8(asset("chars.txt")).unwrap();
    for name in ["meta0.pkl", "meta1.pkl", "meta2.pkl", "meta3.pkl", "meta4.pkl", "meta5.pkl"] {
        assert_eq!(tokens::tokenizer_of_meta(&asset(name)).unwrap(), Tokenizer::chars(&chars), "{name}");
    }
    // numbers, a character and dictionary subclasses
    for name in ["numpy0.pkl", "numpy2.pkl", "numpy4.pkl"] {
        assert_eq!(tokens::tokenizer_of_meta(&asset(name)).unwrap(), Tokenizer::chars("ab"), "{name}");
    }
    // Python 2's strings, which are bytes
    let python2 = b"(dp0\nS'itos'\n(lp1\nS'\\n'\naU\x01baS\"'\"\nas.";
    assert_eq!(tokens::tokenizer_of_meta(python2).unwrap().decode(&[0, 1, 2]), "\nb'");
    // GPT-2's, by the size of its vocabulary, padded or not
    assert_eq!(tokens::tokenizer_of_meta(&asset("size.pkl")).unwrap(), Tokenizer::gpt2());
    // in another order
    let listed = tokens::tokenizer_of_meta(&asset("list.pkl")).unwrap();
    assert_eq!(listed.encode("ab").unwrap(), [1, 0]);
}

#[test]
fn a_meta_without_a_tokenizer_is_explained() {
    // {"vocab_size": N, "itos": {...}, "stoi": {...}} by hand, in protocol 4 without frame and memo
    let meta = |n: u8, itos: &[(u8, &str)], stoi: &[(&str, u8)]| {
        let text = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
        let mut bytes = [&[0x80, 4, b'}', b'('][..], &text("vocab_size"), &[b'K', n], &text("itos"), b"}("].concat();
        itos.iter().for_each(|(id, c)| bytes.extend([&[b'K', *id][..], &text(c)].concat()));
        bytes.extend([&b"u"[..], &text("stoi"), b"}("].concat());
        stoi.iter().for_each(|(c, id)| bytes.extend([&text(c)[..], &[b'K', *id]].concat()));
        bytes.extend(b"uu.");
        bytes
    };
    let itos: [(u8, &str); 2] = [(0, "a"), (1, "b")];
    // either of the two is enough
    for half in [&b"(dVitos\n(dI1\nVb\nsI0\nVa\nss."[..], b"(dVstoi\n(dVb\nI1\nsVa\nI0\nss."] {
        assert_eq!(tokens::tokenizer_of_meta(half).unwrap(), Tokenizer::chars("ab"));
    }
    let stoi: [(&str, u8); 2] = [("a", 0), ("b", 1)];
    assert_eq!(tokens::tokenizer_of_meta(&meta(2, &itos, &stoi)).unwrap(), Tokenizer::chars("ab"));
    let table = [
        (vec![], "it is truncated"),
        (b"text".to_vec(), "it is damaged"),
        (b"PK\x03\x04".to_vec(), "instruction 0x50 does not occur in plain data"),
        (b"\x80\x04N.".to_vec(), "it has no itos to say what its ids stand for"),
        (b"\x80\x04}\x8c\x0avocab_sizeK\x41s.".to_vec(), "it has no itos to say what its 65 ids stand for"),
        (
            b"(dVvocab_size\nI256\ns.".to_vec(),
            "it has no itos to say what its 256 ids stand for; if they are bytes, use byte",
        ),
        (b"(dVitos\nNs.".to_vec(), "it has no itos to say what its ids stand for"),
        (b"(dVvocab_size\nVx\ns.".to_vec(), "its vocab_size is no number"),
        (b"(dVstoi\nNs.".to_vec(), "its stoi is not a dictionary from characters to ids"),
        (asset("object.pkl"), "it holds Python objects other than numbers, strings, lists and dictionaries"),
        (asset("words.pkl"), "its id 1 does not stand for a single character"),
        (meta(3, &itos, &stoi), "its vocab_size is not the 2 ids of its itos"),
        (meta(0, &[], &[]), "its itos is empty"),
        (meta(2, &[(0, "a"), (2, "b")], &stoi), "its id 2 is not among 0..2"),
        (meta(2, &[(0, "a"), (0, "b")], &stoi), "one of its ids occurs twice, and another is missing"),
        (meta(2, &[(0, "a"), (1, "a")], &stoi), "'a' has two ids"),
        (meta(2, &itos, &[("a", 1), ("b", 0)]), "its stoi gives 'a' the id 1, but its itos doesn't"),
        (meta(2, &itos, &[("a", 0)]), "its stoi lacks 'b'"),
        // a dictionary with half an item, popping past a mark, an empty memo
        (b"\x80\x04}(K\x01u.".to_vec(), "it is damaged"),
        (b"\x80\x04K\x01(\x86.".to_vec(), "it is damaged"),
        (b"\x80\x04h\x07.".to_vec(), "it is damaged"),
        // a string of 2^63 bytes
        (b"\x80\x04\x8d\0\0\0\0\0\0\0\x80".to_vec(), "it is truncated"),
    ];
    for (bytes, reason) in table {
        assert_eq!(tokens::tokenizer_of_meta(&bytes).unwrap_err(), reason);
    }
}

#[test]
fn no_damage_to_a_pickle_does_more_than_an_error() {
    for name in ["meta0.pkl", "meta2.pkl", "meta5.pkl", "list.pkl", "numpy0.pkl", "numpy4.pkl"] {
        let whole = asset(name);
        for n in 0..whole.len() {
            assert!(Pickle::read(&whole[..n]).is_err(), "{name} cut off at {n}");
            let mut damaged = whole.clone();
            damaged[n] ^= 0x5b;
            let _ = tokens::tokenizer_of_meta(&damaged);
        }
    }
}

#[test]
fn the_tokenizer_beside_files_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let chars = Tokenizer::chars("ab");
    write(dir.path(), "char/meta.pkl", &asset("list.pkl"));
    write(dir.path(), "json/tokenizer.json", chars.to_json().unwrap().as_bytes());
    // tril's own file beats the one it came from
    write(dir.path(), "both/tokenizer.json", chars.to_json().unwrap().as_bytes());
    write(dir.path(), "both/meta.pkl", &asset("words.pkl"));
    write(dir.path(), "bad/meta.pkl", &asset("words.pkl"));
    write(dir.path(), "bad2/tokenizer.json", b"{}");
    let beside = |files: &[&str]| tokens::tokenizer_beside(&files.iter().map(|name| at(name)).collect::<Vec<_>>());
    let swapped = tokens::tokenizer_of_meta(&asset("list.pkl")).unwrap();
    assert_eq!(beside(&["none/train.bin"]).unwrap(), None);
    assert_eq!(beside(&["char/train.bin", "char/val.bin"]).unwrap(), Some((at("char/meta.pkl"), swapped)));
    for folder in ["json", "both"] {
        let file = at(&format!("{folder}/tokenizer.json"));
        assert_eq!(beside(&[&format!("{folder}/train.bin")]).unwrap(), Some((file, chars.clone())));
    }
    let table: [(&[&str], &str); 3] = [
        (
            &["bad/a.bin"],
            "meta.pkl can't be used as a tokenizer (its id 1 does not stand for a single character): give the right",
        ),
        (&["bad2/a.bin"], "tokenizer.json can't be used as a tokenizer ("),
        (&["char/a.bin", "json/a.bin"], "it differs from"),
    ];
    for (files, reason) in table {
        let message = beside(files).unwrap_err().to_string();
        assert!(message.contains(reason) && message.ends_with("with --tokenizer"), "{message}");
    }
}
