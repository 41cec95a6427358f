//! Reading text: files, folders, standard input, and what goes wrong.

use std::fs;
use std::path::{Path, PathBuf};

use tril::data::text::read_with_input;
use tril::data::tokenize::Job;
use tril::data::{Corpus, DataError, Mode, Source, Text, Tokenizer, TokenizerSpec, embedded};

use super::{gz, write, zst};

fn read(paths: &[&Path], input: &str) -> Result<Text, DataError> {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    read_with_input(&paths, &mut input.as_bytes())
}

#[test]
fn one_file_is_read_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let content = "no break at the end, \r\nnaïve, 日本";
    let file = write(dir.path(), "a.txt", content.as_bytes());
    let text = tril::data::read(&[file]).unwrap();
    assert_eq!(text.read_all().unwrap(), content);
    assert_eq!((text.n_byte(), text.n_char()), (content.len() as u64, content.chars().count() as u64));
}

#[test]
fn a_byte_order_mark_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.txt", "\u{feff}text".as_bytes());
    assert_eq!(read(&[&file], "").unwrap().read_all().unwrap(), "text");
}

#[test]
fn files_and_standard_input_follow_each_other_on_lines_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let a = write(dir.path(), "a", b"one");
    let b = write(dir.path(), "b", b"three\n");
    let text = read(&[&a, Path::new("-"), &b], "two\n").unwrap();
    assert_eq!(text.read_all().unwrap(), "one\ntwo\nthree\n");
    // none of which runs on into the next as a document
    assert_eq!(text.documents("; ").unwrap(), ["one", "two", "three"]);
}

#[test]
fn a_folder_gives_its_text_files_sorted_and_says_what_it_skipped() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.txt", b"2\n");
    write(dir.path(), "a/z.txt", b"1\n");
    write(dir.path(), "c/deep/er.md", b"3\n");
    write(dir.path(), ".hidden", b"no\n");
    write(dir.path(), ".git/config", b"no\n");
    write(dir.path(), "empty.txt", b"");
    let binary = write(dir.path(), "image.png", b"\x89PNG\0\0");
    let text = read(&[dir.path()], "").unwrap();
    assert_eq!(text.read_all().unwrap(), "1\n2\n3\n");
    assert_eq!(text.skipped(), [binary]);
}

#[test]
fn bad_paths_say_what_is_wrong_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere.txt");
    let empty = write(dir.path(), "empty.txt", b"");
    let latin = write(dir.path(), "latin1.txt", b"caf\xe9 au lait");
    write(dir.path(), "binary/x.bin", b"\0");
    let binary = dir.path().join("binary");
    let input = PathBuf::from("-");
    let table: [(&Path, String); 5] = [
        (&missing, format!("{} does not exist: check the path", missing.display())),
        (&empty, format!("{} is empty: give at least one block of text", empty.display())),
        (
            &latin,
            format!(
                "{} is not UTF-8 text (first bad byte at offset 3): convert it (iconv -f latin1 -t utf-8), or give --lossy",
                latin.display()
            ),
        ),
        (
            &binary,
            format!(
                "no text in folder {} (hidden, binary and empty files, runs and data sets are skipped): name its files instead",
                binary.display()
            ),
        ),
        (&input, "standard input is empty: give at least one block of text".into()),
    ];
    for (path, message) in table {
        assert_eq!(read(&[path], "").unwrap_err().to_string(), message);
    }
}

/// Reads bytes as a run does, and as `tril tokenize` does.
fn both(dir: &Path, bytes: &[u8], lossy: bool) -> [Result<(), DataError>; 2] {
    let path = [write(dir, "wide.txt", bytes)];
    let source = Source::from_paths(&path).lossily(lossy);
    let job = Job { paths: &path, lossy, val_fraction: 0.1, form: None };
    let out = tempfile::tempdir().unwrap();
    [source.load().map(|_| ()), job.run(&Tokenizer::bytes(), &out.path().join("set"), &mut |_| true).map(|_| ())]
}

#[test]
fn text_of_two_or_four_bytes_a_character_is_recognised_without_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [
        "Some English, and some more of it.\r\n".repeat(400),
        "Un café très naïf, déjà vu à Noël.\n".repeat(400),
        "Привет, мир! Это обычный текст.\n".repeat(400),
        "Γειά σου Κόσμε, καλημέρα σε όλους.\n".repeat(400),
        "a short text\n".into(),
    ];
    for text in texts {
        let units = || text.encode_utf16();
        let chars = || text.chars().map(u32::from);
        let wide: [(&str, Vec<u8>); 4] = [
            ("utf-16le", units().flat_map(u16::to_le_bytes).collect()),
            ("utf-16be", units().flat_map(u16::to_be_bytes).collect()),
            ("utf-32le", chars().flat_map(u32::to_le_bytes).collect()),
            ("utf-32be", chars().flat_map(u32::to_be_bytes).collect()),
        ];
        for (encoding, bytes) in wide {
            for read in both(dir.path(), &bytes, false) {
                let message = read.unwrap_err().to_string();
                let remedy = format!("iconv -f {encoding} -t utf-8");
                let said = ["wide.txt is not UTF-8 text", &format!("wide.txt looks like {encoding}, not UTF-8")];
                assert!(
                    message.contains(&remedy) && said.iter().any(|said| message.contains(said)),
                    "{text}: {message}"
                );
            }
            for read in both(dir.path(), &bytes, true) {
                read.unwrap();
            }
        }
    }
}

#[test]
fn text_with_occasional_zeros_stays_text() {
    let dir = tempfile::tempdir().unwrap();
    for text in [
        format!("{}\0{}", "words ".repeat(300), "more ".repeat(300)),
        "./src/lib.rs\0./src/main.rs\0./README.md\0".repeat(50),
        "one\0two\0six\0ten\0".repeat(50),
        "a\0bc\0def\0ghi\0jk\0l\0".repeat(50),
        "записи\0через\0нуль\0".repeat(50),
        "記録\0区切り\0".repeat(50),
        "x\0".into(),
    ] {
        for read in both(dir.path(), text.as_bytes(), false) {
            read.unwrap();
        }
    }
}

#[test]
fn a_file_that_is_something_else_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let pointer: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    let lfs = "is a Git LFS pointer, not the file itself; run git lfs pull in its folder, or download it";
    let (gz, zst) = (gz(b"text"), zst(b"text"));
    for (name, content, what) in [
        ("a.txt", pointer, lfs),
        ("a.jsonl", pointer, lfs),
        ("a.gz", pointer, lfs),
        ("a.zst", pointer, lfs),
        ("b", &gz, "is compressed with gzip; decompress it, or give it a name that ends in .gz"),
        ("b.txt", &zst, "is compressed with zstd; decompress it, or give it a name that ends in .zst"),
        ("c.npz", b"PK\x03\x04 and more", "is a zip archive; unpack it, and give the texts in it"),
    ] {
        let path = write(dir.path(), name, content);
        let message = read(&[&path], "").unwrap_err().to_string();
        assert_eq!(message, format!("{} {what}", path.display()));
    }
    // the pointer in a folder is a text that is missing
    assert!(read(&[dir.path()], "").unwrap_err().to_string().ends_with(lfs));
    for name in ["t.bin", "t.npy"] {
        let source = Source::Tokens { train: vec![write(dir.path(), name, pointer)], val: vec![], width: None };
        assert!(source.load().unwrap_err().to_string().ends_with(lfs), "{name}");
    }
    let spec = TokenizerSpec::File(write(dir.path(), "lfs.json", pointer));
    let made = spec.make(&Text::new("text"), &Mode::Stream, 0.0, &|_| Ok(()));
    assert!(made.unwrap_err().to_string().contains(lfs));
}

#[test]
fn bad_text_in_a_folder_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let bad = write(dir.path(), "sub/bad.txt", b"ok \xff");
    let message = read(&[dir.path()], "").unwrap_err().to_string();
    assert!(message.starts_with(&format!("{} is not UTF-8 text", bad.display())), "{message}");
}

#[test]
fn a_changed_text_is_noticed() {
    let text = Corpus::Text(Text::new("the text"));
    text.verify(text.crc32()).unwrap();
    // The check value of CRC-32/ISO-HDLC.
    assert_eq!(Text::new("123456789").crc32(), 0xcbf4_3926);
    assert_eq!(
        Corpus::Text(Text::new("123456789")).verify(0x0000_00ff).unwrap_err().to_string(),
        "the text has changed since this run began (checksum cbf43926, expected 000000ff): restore it, or start a new run with --out"
    );
}

#[test]
fn a_source_survives_its_config() {
    let table = [(Source::from_paths(&[]), "embedded"), (Source::from_paths(&["a.txt".into(), "-".into()]), "files")];
    for (source, kind) in table {
        let toml = toml::to_string(&source).unwrap();
        assert!(toml.contains(&format!("kind = \"{kind}\"")), "{toml}");
        assert_eq!(toml::from_str::<Source>(&toml).unwrap(), source);
    }
    let source = Source::Embedded { seed: 7, chars: 5000 };
    assert_eq!(source.load().unwrap().text().unwrap().read_all().unwrap(), embedded::text(7, 5000));
}

#[test]
fn packed_files_are_unpacked_and_json_lines_are_documents() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"text\":\"one\\ntwo\",\"n\":1}\n\n{\"text\":\"\"}\n{\"text\":\"\\u00e9\"}\n";
    let (packed, again) = ([gz(b"first "), gz(b"second\n")].concat(), [zst(b"third "), zst(b"fourth\n")].concat());
    let table = [
        ("a.txt.gz", packed, vec!["first second"]),
        ("c.txt.gz", [gz(b"padded"), vec![0; 100_000]].concat(), vec!["padded"]),
        ("a.txt.zst", again, vec!["third fourth"]),
        ("b.txt.zst", [skippable(3), zst(b"fifth"), skippable(300_000)].concat(), vec!["fifth"]),
        ("a.jsonl", lines.into(), vec!["one\ntwo", "\u{e9}"]),
        ("a.ndjson.gz", gz(lines.as_bytes()), vec!["one\ntwo", "\u{e9}"]),
        ("a.jsonl.zst", zst(lines.as_bytes()), vec!["one\ntwo", "\u{e9}"]),
    ];
    for (name, bytes, documents) in table {
        let file = write(dir.path(), name, &bytes);
        assert_eq!(read(&[&file], "").unwrap().documents("\n").unwrap(), documents, "{name}");
        // each in its own folder, too
        let inside = write(dir.path(), &format!("{name}.d/{name}"), &bytes);
        let text = read(&[inside.parent().unwrap()], "").unwrap();
        assert_eq!(text.documents("\n").unwrap(), documents, "{name}");
        fs::remove_file(file).unwrap();
    }
}

/// A frame of `.zst` that holds something other than data.
fn skippable(n_byte: u32) -> Vec<u8> {
    let content = vec![7; n_byte as usize];
    [&[0x5a, 0x2a, 0x4d, 0x18][..], &n_byte.to_le_bytes(), &content].concat()
}

/// Keeping it would take many times its size in memory; this one is too deep and too large to be kept at all.
#[test]
fn other_fields_of_a_json_line_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let deep = [&b"{\"meta\":"[..], &b"[".repeat(1000), &b"]".repeat(1000), b",\"text\":\"deep\"}\n"].concat();
    let great = b"{\"text\":\"great\",\"n\":1e999}\n".to_vec();
    let file = write(dir.path(), "a.jsonl", &[deep, great].concat());
    assert_eq!(read(&[&file], "").unwrap().documents("\n").unwrap(), ["deep", "great"]);
}

#[test]
fn errors_in_compressed_files_and_json_lines_are_located() {
    let dir = tempfile::tempdir().unwrap();
    let (mut flipped, whole) = (gz(b"some text that is long enough"), zst(b"some text"));
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    let table = [
        ("a.gz", gz(b"text")[..9].to_vec(), "can't be decompressed"),
        ("b.gz", flipped, "can't be decompressed"),
        ("c.gz", b"text".to_vec(), "c.gz is not compressed, in spite of its name; rename it"),
        ("d.zst", whole[..whole.len() - 2].to_vec(), "can't be decompressed"),
        ("e.zst", b"text".to_vec(), "e.zst is not compressed, in spite of its name"),
        ("f.gz", gz(b"caf\xe9"), "first bad byte at offset 3"),
        ("l.gz", [gz(b"text"), b"junk".to_vec()].concat(), "has other bytes after its compressed data"),
        ("m.gz", [gz(b"text"), vec![0; 512], b"x".to_vec()].concat(), "has other bytes after its compressed data"),
        ("t.gz", [gz(b"text"), vec![0; 100_000], gz(b"more")].concat(), "has other bytes after its compressed data"),
        ("u.gz", vec![0; 512], "is not compressed"),
        ("n.gz", [gz(b"text"), vec![0x1f]].concat(), "has other bytes after its compressed data"),
        ("o.gz", [gz(b"text"), gz(b"more")[..12].to_vec()].concat(), "can't be decompressed"),
        (
            "p.zst",
            [zst(b"text"), b"junk and more of it".to_vec()].concat(),
            "has other bytes after its compressed data",
        ),
        ("q.zst", [zst(b"text"), vec![0; 3]].concat(), "has other bytes after its compressed data"),
        ("r.zst", [skippable(9), b"text".to_vec()].concat(), "is not compressed"),
        ("s.zst", [zst(b"text"), skippable(9)[..12].to_vec()].concat(), "can't be decompressed"),
        ("g.jsonl", b"{\"text\":\"a\"}\n{\"text\":".to_vec(), "line 2 of"),
        ("h.jsonl", b"{\"texts\":\"a\"}".to_vec(), "it has no field \"text\""),
        ("i.jsonl", b"{\"text\":7}".to_vec(), "expected a string"),
        ("j.jsonl", b"{\"text\":\"\"}".to_vec(), "is empty"),
        ("k.jsonl", b"[\"text\"]".to_vec(), "it has no field"),
    ];
    for (name, bytes, reason) in table {
        let file = write(dir.path(), name, &bytes);
        let message = read(&[&file], "").unwrap_err().to_string();
        assert!(message.contains(&file.display().to_string()) && message.contains(reason), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_packed_file_that_swells_beyond_measure_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (fine, bomb) = (vec![b'a'; 1 << 20], vec![b'a'; 40 << 20]);
    let halves = [zst(&bomb[..20 << 20]), zst(&bomb[..20 << 20])].concat();
    for (name, bytes) in [("a.gz", gz(&fine)), ("a.zst", zst(&fine))] {
        assert_eq!(
            read(&[&write(dir.path(), name, &bytes)], "").unwrap().read_all().unwrap().len(),
            fine.len(),
            "{name}"
        );
    }
    for (name, bytes) in [("b.gz", gz(&bomb)), ("b.zst", zst(&bomb)), ("c.zst", halves)] {
        assert!(bytes.len() < 200_000, "{name}");
        let message = read(&[&write(dir.path(), name, &bytes)], "").unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("100 times its size"), "{message}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "latin1.txt", b"caf\xe9 \xff\xfe au lait\n");
    let source = Source::from_paths(&[file]);
    assert!(source.load().is_err());
    let corpus = source.lossily(true).load().unwrap();
    let text = corpus.text().unwrap();
    assert_eq!(text.read_all().unwrap(), "caf\u{fffd} \u{fffd}\u{fffd} au lait\n");
    assert_eq!(text.n_replaced(), 3);
}
