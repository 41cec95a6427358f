//! Token files that aren't what they seem: another width or byte order, floating-point numbers, text, archives.

use std::path::PathBuf;

use tril::data::tokens::Width;
use tril::data::{Corpus, DataError, Dataset, Options, Source, TokenSet, Tokenizer};

use super::write;

/// Ids of a text: mostly small ones, and 0 most frequently.
fn ids(n: u64, vocab_size: u64) -> impl Iterator<Item = u64> + Clone {
    (0..n).map(move |i| {
        let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if x % 3 == 0 { 0 } else { x * x % vocab_size }
    })
}

fn little<const N: usize>(ids: impl Iterator<Item = u64>) -> Vec<u8> {
    ids.flat_map(|id| id.to_le_bytes()[..N].to_vec()).collect()
}

fn big<const N: usize>(ids: impl Iterator<Item = u64>) -> Vec<u8> {
    ids.flat_map(|id| id.to_be_bytes()[8 - N..].to_vec()).collect()
}

/// An integer as a 16-bit float.
fn half(id: u64) -> u16 {
    let Some(log2) = id.checked_ilog2() else { return 0 };
    let fraction = if log2 <= 10 { id << (10 - log2) } else { id >> (log2 - 10) };
    ((15 + log2 as u16) << 10) + (fraction as u16 - 1024)
}

fn llmc(magic: u32, version: u32, count: u32, tokens: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [magic, version, count].into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.resize(1024, 0);
    bytes.extend(tokens);
    bytes
}

/// A file as NumPy saves it.
fn npy(descr: &str, shape: &str, tokens: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let padding = 64 - (10 + header.len() + 1) % 64;
    header += &" ".repeat(padding);
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), tokens].concat()
}

fn open(content: &[u8], width: Option<Width>) -> Result<TokenSet, DataError> {
    let dir = tempfile::tempdir().unwrap();
    TokenSet::open_as(&[write(dir.path(), "train.bin", content)], &[], width)
}

#[test]
fn numbers_of_another_kind_are_refused_with_the_guess() {
    const N: u64 = 5000;
    let small = || ids(N, 65);
    let gpt2 = || ids(N, 50_257);
    let llama = || ids(N, 128_256);
    let f32s = |ids: &mut dyn Iterator<Item = u64>| ids.flat_map(|id| (id as f32).to_le_bytes()).collect::<Vec<u8>>();
    let f64s = |ids: &mut dyn Iterator<Item = u64>| ids.flat_map(|id| (id as f64).to_le_bytes()).collect::<Vec<u8>>();
    // rounded as NumPy rounds them, to 11 bits
    let f16s = |ids: &mut dyn Iterator<Item = u64>| ids.flat_map(|id| half(id).to_le_bytes()).collect::<Vec<u8>>();
    let table: [(&str, Vec<u8>, &str); 19] = [
        ("int64", little::<8>(small()), "looks like 64-bit ids, not 16-bit ones: give --token-width 64, or"),
        ("int64 of GPT-2", little::<8>(gpt2()), "looks like 64-bit ids"),
        ("int64 of Llama 3", little::<8>(llama()), "looks like 64-bit ids"),
        ("int32", little::<4>(small()), "looks like 32-bit ids, not 16-bit ones: give --token-width 32, or"),
        ("uint32 of GPT-2", little::<4>(gpt2()), "looks like 32-bit ids"),
        ("uint32 of Llama 3", little::<4>(llama()), "looks like 32-bit ids"),
        ("big-endian uint16", big::<2>(small()), "looks like big-endian 16-bit ids, not 16-bit ones: convert them"),
        ("big-endian int32", big::<4>(gpt2()), "np.fromfile(FILE, '>u4').astype('<u2').tofile(NEW)"),
        ("big-endian int64", big::<8>(llama()), "looks like big-endian 64-bit ids"),
        (
            "uint8",
            little::<1>(ids(N, 97).map(|id| id + 1)),
            "looks like 8-bit ids, not 16-bit ones: give --token-width 8",
        ),
        ("float32", f32s(&mut small()), "looks like 32-bit floating-point numbers, not 16-bit ones: convert them"),
        ("float64", f64s(&mut gpt2()), "looks like 64-bit floating-point numbers"),
        ("float16", f16s(&mut small()), "looks like 16-bit floating-point numbers, not 16-bit ones: they round ids"),
        ("float16 of GPT-2", f16s(&mut gpt2()), "create the file again with integers"),
        ("text", "A line of text, caf\u{e9}.\n".repeat(50).into(), "holds text, not tokens"),
        ("zeros", vec![0; 5000], "holds only zeros: it was never filled; create it again"),
        ("llm.c's header, int32", llmc(20_240_520, 1, 2 * N as u32, &little::<4>(gpt2())), "looks like 32-bit ids"),
        ("llm.c's for Llama, int64", llmc(20_240_801, 7, 2 * N as u32, &little::<8>(llama())), "not 32-bit ones"),
        ("an archive", [&b"PK\x03\x04"[..], &little::<2>(gpt2())].concat(), "is a zip archive, as PyTorch's"),
    ];
    for (name, content, reason) in table {
        let message = open(&content, None).unwrap_err().to_string();
        assert!(
            message.contains(reason) && message.contains("train.bin ") && !message.contains('\n'),
            "{name}: {message}"
        );
        // wherever the file ends
        let is_headed = name.starts_with("llm.c");
        if !is_headed {
            assert!(open(&content[..content.len() - 1], None).is_err(), "{name}");
        }
    }
}

#[test]
fn files_of_16_bits_pass_whatever_is_in_them() {
    let words = |words: &[u16], n: usize| words.iter().copied().cycle().take(n).flat_map(u16::to_le_bytes).collect();
    // ids that are 0 except for a few, wherever these are
    let sparse = |every: u64| little::<2>((0..20_000).map(|i| u64::from(i * i % every == 1)));
    let table: [(&str, Vec<u8>); 12] = [
        ("high ids", little::<2>(ids(5000, 16_000).map(|id| 0x6400 + id))),
        ("two letters", words(&[5, 6], 400)),
        ("zeros in threes", words(&[0, 0, 7], 400)),
        ("zeros in fives", words(&[0, 0, 0, 0, 3], 4000)),
        ("characters", little::<2>(ids(5000, 65))),
        ("bytes", little::<2>(ids(5000, 256))),
        ("bytes of ASCII and an end of text", little::<2>(ids(5000, 97).map(|id| if id == 1 { 256 } else { id }))),
        ("GPT-2's", little::<2>(ids(5000, 50_257))),
        ("all of them", little::<2>(0..65_536)),
        ("few that aren't 0", sparse(97)),
        ("fewer", sparse(1009)),
        ("two alone, 4 apart", words(&[9, 0, 0, 0, 9, 0, 0, 0], 8)),
    ];
    for (name, content) in table {
        for content in [content.clone(), llmc(20_240_520, 1, content.len() as u32 / 2, &content)] {
            if let Err(error) = open(&content, None) {
                panic!("{name}: {error}");
            }
        }
    }
}

#[test]
fn a_width_that_was_asked_for_is_read() {
    let expected: Vec<u32> = ids(3000, 200).map(|id| id as u32).collect();
    let table: [(&str, Vec<u8>); 4] = [
        ("8", little::<1>(ids(3000, 200))),
        ("16", little::<2>(ids(3000, 200))),
        ("32", little::<4>(ids(3000, 200))),
        ("64", little::<8>(ids(3000, 200))),
    ];
    for (bits, content) in table {
        let width: Width = bits.parse().unwrap();
        let set = open(&content, Some(width)).unwrap();
        assert_eq!(set.train().get(0..3000), expected, "{bits}");
        let types = [format!("<u{}", width.bytes()), format!("<i{}", width.bytes())];
        for descr in types.iter().map(|name| if bits == "8" { name.replace('<', "|") } else { name.clone() }) {
            let set = open(&npy(&descr, "3000,", &content), None).unwrap();
            assert_eq!(set.train().get(0..3000), expected, "{descr}");
        }
    }
    // ids that look like 32-bit ones
    let alternating = little::<2>((0..400).map(|i| i % 2 * (i % 7)));
    assert!(open(&alternating, None).is_err());
    assert_eq!(open(&alternating, Some(Width::Two)).unwrap().train().len(), 400);
    assert!("24".parse::<Width>().is_err() && "".parse::<Width>().is_err());
}

/// The first and last of a run of zeros.
type Places = &'static [(u64, u64)];

/// Ids, about a fifth of them 0, and all of them in some places.
fn with_zeros(n: u64, places: Places) -> impl Iterator<Item = u64> {
    let is_zero = move |i| places.iter().any(|&(from, to)| from <= i && i < to);
    ids(n, 200).enumerate().map(move |(i, id)| if is_zero(i as u64) { 0 } else { id + u64::from(i % 5 != 2) })
}

#[test]
fn files_that_were_not_filled_are_refused_and_padding_is_not() {
    const N: u64 = 20_000;
    let table: [(&str, Places, &str); 5] = [
        ("half", &[(N / 2, N)], "has only zeros from token 10000 to its end (50 % of it): its writing was"),
        ("most", &[(N / 10, N)], "has only zeros from token 2000 to its end (90 % of it)"),
        (
            "a quarter",
            &[(15_000, N)],
            "(25 % of it): its writing was interrupted, or its space preallocated and not filled; create it again, or cut the zeros off",
        ),
        ("the beginning", &[(0, N / 2)], "has only zeros from token 0 to 9999 (50 % of it)"),
        ("a hole", &[(5000, 12_000)], "has only zeros from token 5000 to 11999 (35 % of it)"),
    ];
    for (name, zeros, reason) in table {
        let ids = || with_zeros(N, zeros);
        for (content, width) in [
            (little::<2>(ids()), None),
            (little::<2>(ids()), Some(Width::Two)),
            (little::<1>(ids()), Some(Width::One)),
            (little::<4>(ids()), Some(Width::Four)),
            (little::<8>(ids()), Some(Width::Eight)),
            (llmc(20_240_520, 1, N as u32, &little::<2>(ids())), None),
            (npy("<i8", &format!("{N},"), &little::<8>(ids())), None),
        ] {
            let message = open(&content, width).unwrap_err().to_string();
            assert!(message.contains(reason), "{name}, {width:?}: {message}");
        }
    }
    let message = open(&little::<2>((0..N).map(|_| 50)), None).unwrap_err().to_string();
    assert!(
        message.ends_with("holds only id 50, 20000 times: there is nothing to learn; create it again"),
        "{message}"
    );

    // padded rows
    const ROWS: Places = &[(60, 5000), (5060, 10_000), (10_060, 15_000), (15_060, N)];
    let table: [(&str, Places, Option<&str>); 4] = [
        ("scattered", &[], None),
        ("a row at the end", &[(N - 200, N)], None),
        ("padding", ROWS, Some("from token 60 to 4999 (25 % of it): unless they are padding")),
        ("a fifth", &[(15_600, N)], Some("from token 15600 to its end (22 % of it): unless")),
    ];
    for (name, zeros, expected) in table {
        let set = open(&little::<2>(with_zeros(N, zeros)), None).unwrap();
        let warnings = set.warnings();
        assert_eq!(warnings.len(), usize::from(expected.is_some()), "{name}: {warnings:?}");
        assert!(expected.is_none_or(|expected| warnings[0].contains(expected)), "{name}: {warnings:?}");
    }
}

#[test]
fn a_wrong_width_is_corrected_and_a_header_is_believed() {
    const N: u64 = 5000;
    // the file is looked at again
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.bin", &little::<2>(ids(N, 50_257)));
    for width in [Width::Four, Width::Eight] {
        let set = TokenSet::open_as(std::slice::from_ref(&file), &[], Some(width)).unwrap();
        let message = set.check(50_257).unwrap_err().to_string();
        assert!(message.ends_with("these look like 16-bit ids, give --token-width 16"), "{message}");
    }
    // one wrong number
    let content = npy(
        "<i4",
        &format!("{N},"),
        &little::<4>((0..).zip(ids(N, 200)).map(|(i, id)| if i == 9 { 1 << 30 } else { id })),
    );
    let message = open(&content, None).unwrap().check(200).unwrap_err().to_string();
    assert!(message.contains("give the files' own tokenizer"), "{message}");
    let content = npy("<i8", &format!("{N},"), &little::<8>(negative(ids(N, 200), -100, N)));
    let message = open(&content, None).unwrap().check(200).unwrap_err().to_string();
    assert!(message.contains("np.fromfile(FILE, '<i8', offset=128); ids[ids >= 0]"), "{message}");
}

#[test]
fn a_split_of_one_id_is_refused() {
    const N: u64 = 20_000;
    let options = Options::stream(64);
    // the last tenth is zeros: too little to refuse the file, but all of the validation split
    let set = open(&little::<2>(with_zeros(N, &[(N - N / 10, N)])), None).unwrap();
    let error = Dataset::of(&Corpus::Tokens(set), &Tokenizer::bytes(), &options).unwrap_err().to_string();
    assert!(error.starts_with("the validation split holds only id 0, 2000 times: the token file may not"), "{error}");
    let set = open(&little::<2>(with_zeros(N, &[(N - N / 20, N)])), None).unwrap();
    Dataset::of(&Corpus::Tokens(set), &Tokenizer::bytes(), &options).unwrap();
}

/// Some ids as signed numbers, a few of them negative.
fn negative(ids: impl Iterator<Item = u64>, id: i64, every: u64) -> impl Iterator<Item = u64> {
    (0..).zip(ids).map(move |(i, other)| if i % every == 7 { id.cast_unsigned() } else { other })
}

#[test]
fn negative_ids_do_not_hide_the_width() {
    const N: u64 = 5000;
    let ignored = "some of them negative, down to -100, which PyTorch ignores as a target, not 16-bit ones: leave out the negative ones";
    for (bits, id, every, vocab_size, reason) in [
        (64, -100, N, 50_257, ignored),
        (64, -1, N, 65, "looks like 64-bit ids, some of them negative, down to -1, which is not an id"),
        (64, -100, 9, 128_256, "np.fromfile(FILE, '<i8'); ids[ids >= 0]"),
        (32, -100, N, 50_257, ignored),
        (32, -1, 8, 65, "looks like 32-bit ids, some of them negative"),
        (32, -100, 8, 128_256, "np.fromfile(FILE, '<i4'); ids[ids >= 0]"),
    ] {
        let ids = negative(ids(N, vocab_size), id, every);
        let content = if bits == 64 { little::<8>(ids) } else { little::<4>(ids) };
        let message = open(&content, None).unwrap_err().to_string();
        assert!(message.contains(reason), "{bits} {id} {every} {vocab_size}: {message}");
        // even with the right width they are not ids
        let set = open(&content, Some(bits.to_string().parse().unwrap())).unwrap();
        let message = set.check(vocab_size as usize).unwrap_err().to_string();
        let said = format!("has id {id} at token 7, but the vocabulary ends at {}: it is negative, ", vocab_size - 1);
        assert!(message.contains(&said) && message.contains("ids[ids >= 0]"), "{message}");
    }
    // as 16-bit numbers they are valid ids
    let set = open(&little::<2>(negative(ids(N, 50_257), -100, N)), None).unwrap();
    let message = set.check(50_257).unwrap_err().to_string();
    assert!(
        message.contains("has id 65436 at token 7,") && message.contains("as a signed number it is -100"),
        "{message}"
    );
    open(&little::<2>(negative(ids(N, 65_536), -1, 9)), None).unwrap();
    open(&little::<2>((0..N).map(|i| if i % 2 == 0 { i % 97 } else { 65_535 })), None).unwrap();
}

#[test]
fn headers_that_contradict_are_named() {
    let tokens = little::<2>(ids(100, 65));
    let swapped = |magic: u32| [&magic.to_be_bytes()[..], &tokens].concat();
    let table: [(&str, Vec<u8>, Option<Width>, &str); 10] = [
        (
            "floats",
            npy("<f4", "100,", &tokens),
            None,
            "is a NumPy file of type \"<f4\" (32-bit floating-point numbers): save little-endian integers",
        ),
        ("big-endian", npy(">u2", "100,", &tokens), None, "of type \">u2\""),
        ("a table", npy("<u2", "10, 10", &tokens), None, "of shape (10, 10), not a flat array of ids"),
        ("a number", npy("<u2", "", &tokens), None, "of shape (), not a flat array of ids"),
        (
            "cut off",
            npy("<u2", "101,", &tokens),
            None,
            "declares 101 tokens of 16 bits in its header, but has 200 bytes for them",
        ),
        ("half a header", npy("<u2", "100,", &tokens)[..40].to_vec(), None, "ends within its header"),
        (
            "another width",
            npy("<u2", "100,", &tokens),
            Some(Width::Four),
            "has 16-bit tokens according to its header: leave out --token-width 32",
        ),
        ("llm.c's", llmc(20_240_520, 1, 100, &tokens), Some(Width::Eight), "leave out --token-width 64"),
        (
            "32 bits for 16",
            llmc(20_240_520, 1, 50, &tokens),
            None,
            "these look like 32-bit ids; write them as 16-bit ones",
        ),
        ("big-endian llm.c", swapped(20_240_520), None, "has a big-endian header of llm.c"),
    ];
    for (name, content, width, reason) in table {
        let message = open(&content, width).unwrap_err().to_string();
        assert!(message.contains(reason), "{name}: {message}");
    }
}

#[test]
fn ids_beyond_the_vocabulary_come_with_a_likely_cause() {
    let dir = tempfile::tempdir().unwrap();
    let check = |content: &[u8], vocab_size, width| {
        let set = TokenSet::open_as(&[write(dir.path(), "a.bin", content)], &[], width).unwrap();
        set.check(vocab_size).unwrap_err().to_string()
    };
    let many = || ids(3000, 50_257);
    let floats: Vec<u8> = many().flat_map(|id| (0.37 + id as f32).to_le_bytes()).collect();
    let table: [(Vec<u8>, usize, Option<Width>, &str); 4] = [
        (big::<2>(many()), 50_257, None, "these look like big-endian 16-bit ids, convert them"),
        (
            little::<4>((0..100).map(|i| if i == 7 { u64::MAX } else { i })),
            200,
            Some(Width::Four),
            "has id -1 at token 7,",
        ),
        (
            little::<8>((0..100).map(|i| if i == 7 { u64::MAX } else { i })),
            200,
            Some(Width::Eight),
            "has id -1 at token 7,",
        ),
        (floats, 50_257, None, "give the files' own tokenizer with --tokenizer"),
    ];
    for (content, vocab_size, width, reason) in table {
        let message = check(&content, vocab_size, width);
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn the_width_of_a_source_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.bin", &little::<8>(ids(400, 65)));
    let source = tril::data::tokens::find(&[file], &[]).unwrap().of_width(Some(Width::Eight)).unwrap();
    let toml = toml::to_string(&source).unwrap();
    assert!(toml.contains("width = 64"), "{toml}");
    assert_eq!(toml::from_str::<Source>(&toml).unwrap(), source);
    assert!(toml::from_str::<Source>(&toml.replace("64", "24")).is_err());
    let corpus: Corpus = source.load().unwrap();
    let data = Dataset::of(&corpus, &Tokenizer::bytes(), &Options::stream(16)).unwrap();
    assert_eq!(data.token_count() + data.val_token_count(), 400);
    let text = Source::from_paths(&[PathBuf::from("a.txt")]);
    assert!(text.clone().of_width(None).is_ok());
    let message = text.of_width(Some(Width::Two)).unwrap_err().to_string();
    assert!(message.starts_with("--token-width needs token files"), "{message}");
}
