//! Encoding text into token files: the same tokens and split as in one go, and nothing left behind on errors.

use std::fs;
use std::path::{Path, PathBuf};

use tril::data::tokenize::{Form, Job, Summary};
use tril::data::tokens::{self, tokenizer_beside};
use tril::data::{DataError, Dataset, Mode, Options, Source, Text, Tokenizer, TokenizerSpec};

use super::{gz, write, zst};

fn job(paths: &[PathBuf]) -> Job<'_> {
    Job { paths, lossy: false, val_fraction: 0.1, form: None }
}

fn run(job: &Job<'_>, tokenizer: &Tokenizer, out: &Path) -> Result<Summary, DataError> {
    job.run(tokenizer, out, &mut |_| true)
}

/// All tokens of a data set, the validation split last.
fn tokens_in(out: &Path) -> (Vec<u32>, Vec<u32>) {
    let Source::Tokens { train, val, .. } = tokens::find(&[out.to_path_buf()], &[]).unwrap() else {
        panic!("no data set")
    };
    let read = |files: &[PathBuf]| match files {
        [] => vec![],
        files => {
            let set = tokens::TokenSet::open(files, &[]).unwrap();
            set.train().get(0..set.train().len())
        }
    };
    (read(&train), read(&val))
}

/// Words, spaces and characters of all lengths, more bytes than several threads take at once.
fn long_text() -> String {
    const PARTS: [&str; 12] =
        ["the ", "word\n", "  naïve", "\u{a0}", "日本語", "👍🏽 ", "it's ", "12345", "\r\n\r\n", "\t\t", "...", " x"];
    // a linear congruential generator: Knuth's constants for 64 bits
    let mut state = 7u64;
    let mut text = String::new();
    while text.len() < 1_500_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(PARTS[(state >> 33) as usize % PARTS.len()]);
    }
    text
}

#[test]
fn a_text_becomes_the_tokens_and_the_split_of_a_run_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let text = long_text();
    let path = write(dir.path(), "a.txt", text.as_bytes());
    // in two members and two frames, split within a character
    let at = text.find('👍').unwrap() + 1;
    let (one, other) = text.as_bytes().split_at(at);
    let packed = write(dir.path(), "a.txt.gz", &[gz(one), gz(other)].concat());
    let again = write(dir.path(), "a.txt.zst", &[zst(one), zst(other)].concat());
    let specs = ["char", "byte", "gpt2", "bpe:300"].map(|spec| spec.parse::<TokenizerSpec>().unwrap());
    for (i, spec) in specs.into_iter().enumerate() {
        let paths = [[&path, &packed, &again][i % 3].clone()];
        let out = dir.path().join(format!("out{i}"));
        let chosen = job(&paths).choose(&spec, &|_| Ok(())).unwrap();
        assert_eq!(chosen.tokenizer, spec.make(&Text::new(&*text), &Mode::Stream, 0.1, &|_| Ok(())).unwrap(), "{spec}");
        let done = job(&paths).run_chosen(&chosen, &out, &mut |_| true).unwrap();
        let tokenizer = chosen.tokenizer;
        let (train, val) = tokens_in(&out);
        assert_eq!((done.n_train, done.n_val), (train.len() as u64, val.len() as u64));
        assert_eq!((done.documents, done.is_parted, done.form, done.bits), (1, false, Form::Nanogpt, 16));
        assert!([train, val.clone()].concat() == tokenizer.encode(&text).unwrap(), "{spec}");
        let data = Dataset::new(&Text::new(&*text), &tokenizer, &Options::stream(16)).unwrap();
        assert!(data.val_tokens() == val, "{spec}: {} and {}", data.val_token_count(), val.len());
        assert_eq!(tokenizer_beside(&[out.join("train.bin")]).unwrap().unwrap().1, tokenizer);
    }
}

#[test]
fn short_texts_are_split_at_the_same_token_as_in_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizers = [Tokenizer::bytes(), Tokenizer::gpt2(), Tokenizer::chars("é日👍 ax")];
    for (i, text) in ["éééééé日日日日", "👍👍👍👍👍👍", "a xa xa xa xa x é", "ax"].into_iter().enumerate()
    {
        for (j, tokenizer) in tokenizers.iter().enumerate() {
            for val_fraction in [0.1, 0.3, 0.5, 0.9] {
                let path = [write(dir.path(), "a.txt", text.as_bytes())];
                let out = dir.path().join(format!("{i}.{j}.{val_fraction}"));
                let job = Job { val_fraction, ..job(&path) };
                // training needs two tokens for a block of one, and so does validation: if both have them, the splits
                // agree
                let options = Options { val_fraction, ..Options::stream(1) };
                let Ok(data) = Dataset::new(&text.into(), tokenizer, &options) else { continue };
                run(&job, tokenizer, &out).unwrap();
                assert_eq!(tokens_in(&out).1, data.val_tokens(), "{text} {tokenizer:?} {val_fraction}");
            }
        }
    }
}

#[test]
fn documents_begin_with_the_end_of_a_text() {
    const END: u32 = 50_256;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.txt", b"one");
    write(dir.path(), "in/b.jsonl", b"{\"text\":\"two\"}\n\n{\"text\":\"\"}\r\n{\"text\":\"three\"}");
    write(dir.path(), "in/c.ndjson.gz", &gz(b"{\"text\":\"four\"}\n"));
    write(dir.path(), "in/d.bin", b"\0binary");
    write(dir.path(), "in/e.txt", b"");
    let paths = [dir.path().join("in")];
    let gpt2 = Tokenizer::gpt2();
    let all = |texts: &[&str]| -> Vec<u32> {
        texts.iter().flat_map(|text| [vec![END], gpt2.encode(text).unwrap()].concat()).collect()
    };
    let job = |paths| Job { val_fraction: 0.0, ..job(paths) };
    let out = dir.path().join("out");
    let done = run(&job(&paths), &gpt2, &out).unwrap();
    assert_eq!(tokens_in(&out), (all(&["one", "two", "three", "four"]), vec![]));
    assert_eq!((done.documents, done.is_parted, done.n_skipped, done.n_val), (4, true, 2, 0));
    assert!(!out.join("val.bin").exists());
    // one file of documents, too; without an end-of-text token, each is on its own line, as in a run
    let lines = [dir.path().join("in/b.jsonl")];
    run(&job(&lines), &gpt2, &dir.path().join("lines")).unwrap();
    assert_eq!(tokens_in(&dir.path().join("lines")).0, all(&["two", "three"]));
    let bytes = Tokenizer::bytes();
    run(&job(&paths), &bytes, &dir.path().join("bytes")).unwrap();
    let text = tril::data::read(&paths).unwrap().read_all().unwrap();
    assert_eq!(text, "one\ntwo\nthree\nfour");
    assert_eq!(tokens_in(&dir.path().join("bytes")).0, bytes.encode(&text).unwrap());
    // and a run on them masks documents
    let corpus = tokens::find(&[out], &[]).unwrap().load().unwrap();
    let options = Options { document_mask: true, val_fraction: 0.0, ..Options::stream(4) };
    let batch = Dataset::of(&corpus, &gpt2, &options).unwrap().train_batch(1, 0, 1);
    let begins = (1..4).filter(|&at| batch.tokens[at] == END).max().unwrap();
    assert_eq!(batch.firsts[3] as usize, begins);
}

#[test]
fn special_tokens_and_bad_bytes_follow_the_flags() {
    let dir = tempfile::tempdir().unwrap();
    let text = "a<|endoftext|>b <|endoftext|> c";
    let path = [write(dir.path(), "a.txt", text.as_bytes())];
    let latin = [write(dir.path(), "b.txt", b"caf\xe9 \xff\xfe au lait \xe9")];
    for (name, tokenizer) in [("plain", Tokenizer::gpt2()), ("special", Tokenizer::gpt2().reading_specials())] {
        run(&Job { val_fraction: 0.0, ..job(&path) }, &tokenizer, &dir.path().join(name)).unwrap();
        assert_eq!(tokens_in(&dir.path().join(name)).0, tokenizer.encode(text).unwrap());
    }
    let out = dir.path().join("latin");
    let message = run(&job(&latin), &Tokenizer::bytes(), &out).unwrap_err().to_string();
    assert!(message.contains("b.txt is not UTF-8 text (first bad byte at offset 3)"), "{message}");
    let done = run(&Job { lossy: true, val_fraction: 0.0, ..job(&latin) }, &Tokenizer::bytes(), &out).unwrap();
    assert_eq!(done.n_replaced, 4);
    let bytes: Vec<u8> = tokens_in(&out).0.into_iter().map(|id| u8::try_from(id).unwrap()).collect();
    assert_eq!(bytes, String::from_utf8_lossy(b"caf\xe9 \xff\xfe au lait \xe9").as_bytes());
}

#[test]
fn vocabularies_beyond_16_bits_take_llm_cs_form() {
    let dir = tempfile::tempdir().unwrap();
    // the last of 65,537 characters
    let wide: String = ('\0'..=char::MAX).take(65_537).collect();
    let narrow: String = ('\0'..=char::MAX).take(65_536).collect();
    let table = [(&narrow, None, Ok((Form::Nanogpt, 16))), (&narrow, Some(Form::Llmc), Ok((Form::Llmc, 16)))];
    let beyond = [(&wide, None, Ok((Form::Llmc, 32))), (&wide, Some(Form::Nanogpt), Err("use --format llmc"))];
    for (i, (text, form, expected)) in table.into_iter().chain(beyond).enumerate() {
        let path = [write(dir.path(), "a.txt", text.as_bytes())];
        let (tokenizer, out) = (Tokenizer::chars(text), dir.path().join(i.to_string()));
        let done = run(&Job { form, ..job(&path) }, &tokenizer, &out);
        let Ok(expected) = expected else {
            assert!(done.unwrap_err().to_string().contains(expected.unwrap_err()));
            assert!(!out.exists());
            continue;
        };
        assert_eq!(done.map(|done| (done.form, done.bits)).unwrap(), expected);
        let (train, val) = tokens_in(&out);
        assert!([train, val].concat().into_iter().eq(0..tokenizer.vocab_size() as u32));
        assert_eq!(
            fs::read(out.join("val.bin")).unwrap().starts_with(&[0x88, 0xd8, 0x34, 0x01]),
            expected == (Form::Llmc, 16)
        );
    }
}

/// A tokenizer whose words depend on their surroundings: it puts a space before the text.
fn looking_around() -> Tokenizer {
    let json = Tokenizer::gpt2().to_hf_json().replace("\"add_prefix_space\":false", "\"add_prefix_space\":true");
    let tokenizer = Tokenizer::from_json(&json).unwrap();
    assert!(!tokenizer.encodes_chunks());
    tokenizer
}

#[test]
fn context_dependent_tokenizers_give_the_ids_of_the_whole_text() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = looking_around();
    let text: String = (0..30_000).map(|i| format!("line {i} of many\n")).collect();
    let path = [write(dir.path(), "a.txt", text.as_bytes())];
    let job = |paths| Job { val_fraction: 0.0, ..job(paths) };
    run(&job(&path), &tokenizer, &dir.path().join("lines")).unwrap();
    assert!(tokens_in(&dir.path().join("lines")).0 == tokenizer.encode(&text).unwrap());
    let document = text.replace('\n', " ");
    let line = serde_json::json!({ "text": document }).to_string();
    let path = [write(dir.path(), "b.jsonl", line.as_bytes())];
    run(&job(&path), &tokenizer, &dir.path().join("whole")).unwrap();
    let whole = tokenizer.encode(&document).unwrap();
    assert!(tokens_in(&dir.path().join("whole")).0[1..] == whole);
}

#[test]
fn nothing_is_left_behind_on_errors() {
    let dir = tempfile::tempdir().unwrap();
    let good = write(dir.path(), "good.txt", &b"good text ".repeat(100_000));
    let bad = write(dir.path(), "bad.txt", b"bad \xff");
    let cut_off = write(dir.path(), "cut.txt.gz", &gz(&b"text ".repeat(1000))[..20]);
    let line = write(dir.path(), "bad.jsonl", b"{\"text\":\"a\"}\n{\"text\":7}");
    let binary = write(dir.path(), "binary/x", b"\0\0");
    let (short, empty) = (write(dir.path(), "short.txt", b"a"), write(dir.path(), "empty.txt", b""));
    let missing = dir.path().join("missing.txt");
    let folder = binary.parent().unwrap().to_path_buf();
    let bytes = Tokenizer::bytes();
    let table = [
        (vec![good.clone(), bad], Tokenizer::gpt2(), "bad.txt is not UTF-8 text"),
        (vec![good.clone(), cut_off], Tokenizer::gpt2(), "cut.txt.gz can't be decompressed"),
        (vec![good.clone(), line], Tokenizer::gpt2(), "line 2 of"),
        (vec![good.clone(), missing], Tokenizer::gpt2(), "does not exist"),
        (vec![good.clone(), empty], Tokenizer::gpt2(), "empty.txt is empty"),
        (vec![folder], Tokenizer::gpt2(), "no text in folder"),
        (vec![short], bytes, "the text leaves 0 tokens for training and 1 for validation"),
        (
            vec![good.clone()],
            Tokenizer::chars("god ex"),
            "character 't' (U+0074) at position 5 is not among the 6 characters",
        ),
    ];
    let (out, deep) = (dir.path().join("out"), dir.path().join("deep/er/out"));
    for (paths, tokenizer, reason) in table {
        for out in [&out, &deep] {
            let message = run(&job(&paths), &tokenizer, out).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
            assert!(!out.exists() && !dir.path().join("deep").exists(), "{message}");
        }
    }
    // stopped halfway
    let paths = [good];
    let mut n = 0;
    let stopped = job(&paths).run(&Tokenizer::gpt2(), &out, &mut |_| {
        n += 1;
        n < 2
    });
    assert_eq!(stopped.unwrap_err().to_string(), "stopped before the end: nothing was written");
    assert!(!out.exists());
    // an existing folder stays, with its contents
    let other = write(dir.path(), "full/notes.txt", b"mine");
    let full = other.parent().unwrap();
    assert!(job(&paths).run(&Tokenizer::gpt2(), full, &mut |_| false).is_err());
    assert_eq!(fs::read_dir(full).unwrap().count(), 1);
    run(&job(&paths), &Tokenizer::gpt2(), full).unwrap();
    let names = ["notes.txt", "tokenizer.json", "train.bin", "val.bin"];
    assert!(names.iter().all(|name| full.join(name).exists()) && fs::read_dir(full).unwrap().count() == 4);
    for name in &names[1..] {
        let set = dir.path().join("set");
        write(&set, name, b"old");
        let message = run(&job(&paths), &Tokenizer::gpt2(), &set).unwrap_err().to_string();
        assert!(message.ends_with("already exists: choose another --out, or remove it"), "{message}");
        assert_eq!(fs::read(set.join(name)).unwrap(), b"old");
        fs::remove_file(set.join(name)).unwrap();
        assert_eq!(fs::read_dir(&set).unwrap().count(), 0);
    }
}

#[test]
fn remains_of_a_killed_process_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = [write(dir.path(), "a.txt", &b"some text ".repeat(20))];
    let out = dir.path().join("out");
    write(&out, "train.bin.part", &[7; 5000]);
    write(&out, "val.bin.part", &[7; 5000]);
    run(&job(&path), &Tokenizer::bytes(), &out).unwrap();
    let (train, val) = tokens_in(&out);
    assert_eq!((train.len(), val.len()), (180, 20));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3);

    // killed while renaming the files, before and after the last one
    fs::rename(out.join("train.bin"), out.join("train.bin.part")).unwrap();
    write(&out, ".lock", b"");
    write(&out, ".naming", b"");
    run(&job(&path), &Tokenizer::chars("some txt"), &out).unwrap();
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
    assert_eq!(tokens_in(&out).0[0], 4, "another tokenizer's");
    write(&out, ".naming", b"");
    let message = run(&job(&path), &Tokenizer::bytes(), &out).unwrap_err().to_string();
    assert!(message.contains("already exists"), "{message}");
}

#[test]
fn settings_that_no_text_can_satisfy_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = [write(dir.path(), "a.txt", b"some text")];
    for val_fraction in [-0.1, 1.0, f64::NAN] {
        let message = run(&Job { val_fraction, ..job(&path) }, &Tokenizer::bytes(), &dir.path().join("out"));
        assert!(message.unwrap_err().to_string().contains("is not in 0..1"));
    }
}

#[test]
fn the_tokenizer_is_the_one_that_a_run_on_the_text_has() {
    let dir = tempfile::tempdir().unwrap();
    let letters: String = (0..2000).filter_map(|i| char::from_u32(0x4e00 + i)).collect();
    for (i, text) in ["a small text ".repeat(50), letters].into_iter().enumerate() {
        let path = [write(dir.path(), &format!("{i}.txt"), text.as_bytes())];
        let chosen = job(&path).choose(&TokenizerSpec::Auto, &|_| Ok(())).unwrap();
        let corpus = Source::from_paths(&path).load().unwrap();
        let text = corpus.text().unwrap();
        assert_eq!(chosen.spec, TokenizerSpec::Auto.resolve(text));
        assert_eq!(chosen.tokenizer, TokenizerSpec::Auto.make(text, &Mode::Stream, 0.1, &|_| Ok(())).unwrap());
    }
}
