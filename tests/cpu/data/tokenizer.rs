//! Text to ids and back.

use tril::data::tokenizer::chunks;
use tril::data::{Dataset, Mode, Options, Text, Tokenizer, TokenizerSpec};

const AWKWARD: [&str; 8] = [
    "",
    "plain",
    "tabs\tand\r\nbreaks\n\n",
    "naïve café",
    "日本語と한국어",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "e\u{301} \u{feff}\u{0}\u{10ffff}",
    "<start><pad><end>",
];

#[test]
fn every_text_comes_back() {
    for text in AWKWARD {
        for tokenizer in [
            Tokenizer::chars(text),
            Tokenizer::chars(text).for_documents(),
            Tokenizer::bytes(),
            Tokenizer::bytes().for_documents(),
            Tokenizer::gpt2(),
            Tokenizer::gpt2().for_documents(),
            Tokenizer::train_bpe(text, 300).unwrap(),
        ] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids), text, "{tokenizer:?}");
            let bytes: usize = ids.iter().map(|&id| tokenizer.byte_len(id)).sum();
            assert_eq!(bytes, text.len(), "{tokenizer:?}");
            let specials = [tokenizer.pad_id(), tokenizer.start_id(), tokenizer.end_id()];
            assert!(ids.iter().all(|&id| !specials.contains(&Some(id))));
        }
    }
}

#[test]
fn ids_are_the_ranks_of_the_sorted_characters() {
    let tokenizer = Tokenizer::chars("cabé a");
    assert_eq!(tokenizer.vocab_size(), 5);
    assert_eq!(tokenizer.encode(" abcé").unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(tokenizer.pad_id(), None);
    assert_eq!(tokenizer.start_id(), None);
    assert_eq!(tokenizer.end_id(), None);
    assert_eq!(Tokenizer::bytes().encode("aé").unwrap(), [97, 195, 169]);
}

#[test]
fn document_tokenizers_have_padding_first_and_start_and_end_last() {
    let table = [
        (Tokenizer::chars("ab").for_documents(), vec![1, 2], 3, 4),
        (Tokenizer::bytes().for_documents(), vec![98, 99], 257, 258),
    ];
    for (tokenizer, ab, start, end) in table {
        assert_eq!(tokenizer.encode("ab").unwrap(), ab);
        assert_eq!(tokenizer.pad_id(), Some(0));
        assert_eq!(tokenizer.start_id(), Some(start));
        assert_eq!(tokenizer.end_id(), Some(end));
        assert_eq!(tokenizer.vocab_size(), usize::try_from(end).unwrap() + 1);
        let all = [start, ab[0], ab[1], end, 0];
        assert_eq!(tokenizer.decode(&all), "ab");
        assert_eq!(tokenizer.byte_len(0) + tokenizer.byte_len(start), 0);
    }
}

#[test]
fn an_unknown_character_is_named() {
    assert_eq!(
        Tokenizer::chars("abc").encode("abécé").unwrap_err().to_string(),
        "character 'é' (U+00E9) at position 2 is not among the tokenizer's 3 characters: remove it, or train a new run with --tokenizer byte"
    );
}

#[test]
fn an_unknown_word_of_another_programs_tokenizer_is_named() {
    let words = r#"{"version":"1.0","added_tokens":[],"normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"Whitespace"},
        "model":{"type":"WordLevel","vocab":{"the":0,"cat":1},"unk_token":"[UNK]"}}"#;
    let words = Tokenizer::from_json(words).unwrap();
    assert_eq!(words.encode("The cat the").unwrap(), [0, 1, 0]);
    let unigram = r#"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},
        "model":{"type":"Unigram","unk_id":null,"vocab":[["a",-1.0],["b",-2.0]]}}"#;
    let unigram = Tokenizer::from_json(unigram).unwrap();
    let long = "x".repeat(500);
    for (tokenizer, text, word, position) in [
        (&words, "The Cat the DOG the", "dog", 12),
        (&words, "The Cat \u{e9}\u{1f44d} the", "\u{e9}", 8),
        (&words, &long, &long[..40], 0),
        (&unigram, "ab ba abc", "abc", 6),
    ] {
        let message = tokenizer.encode(text).unwrap_err().to_string();
        let begin = format!("the tokenizer has no id for {word:?} (at character {position} of the text) and none for");
        assert!(message.starts_with(&begin) && message.contains("another --tokenizer"), "{message}");
    }
    // for documents and parts of a text, too, the position is that in the text
    let text = Text::new("the cat\nthe the\ncat dog\n");
    let options = Options { mode: Mode::lines(), ..Options::stream(4) };
    let known = r#""added_tokens":[{"id":2,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,
        "special":true}],"normalizer":{"type":"Lowercase"}"#;
    let json = words.to_json().unwrap().replace(r#""added_tokens":[],"normalizer":{"type":"Lowercase"}"#, known);
    let json = json.replace(r#""cat":1"#, r#""cat":1,"</s>":2"#);
    let documents = Tokenizer::from_json(&json).unwrap().for_documents();
    let message = Dataset::new(&text, &documents, &options).unwrap_err().to_string();
    assert!(message.contains("\"dog\" (at character 20 "), "{message}");
}

#[test]
fn a_tokenizer_that_comes_back_in_a_file_of_ours_is_recognised() {
    let words = "{\"type\":\"WordLevel\",\"unk_token\":\"<unk>\",\"vocab\":{\"ab\":0,\"c\":1}}";
    let foreign =
        Tokenizer::from_hf_json(&format!("{{\"version\":\"1.0\",\"added_tokens\":[],\"model\":{words}}}")).unwrap();
    assert_eq!(foreign.clone().recognised(), foreign);
    for own in [
        Tokenizer::chars("abc \n\u{e9}"),
        Tokenizer::chars("abc").for_documents(),
        Tokenizer::bytes(),
        Tokenizer::bytes().for_documents(),
        Tokenizer::gpt2(),
    ] {
        let foreign = Tokenizer::from_hf_json(&own.to_hf_json()).unwrap();
        assert_ne!(foreign, own);
        assert!(foreign.recognised().to_json().unwrap() == own.to_json().unwrap(), "{}", own.vocab_size());
    }
}

#[test]
fn streamed_text_is_complete_and_has_no_half_characters() {
    let tokenizer = Tokenizer::bytes();
    let mut decoder = tokenizer.decoder();
    let pushed: Vec<String> = "é👍".bytes().map(|byte| decoder.push(byte.into())).collect();
    assert_eq!(pushed, ["", "é", "", "", "", "👍"]);
    assert_eq!(decoder.finish(), "");
}

#[test]
fn broken_utf8_decodes_as_the_standard_library_does() {
    let table: [&[u8]; 7] = [
        b"\xc3",
        b"\xc3A",
        b"a\xffb",
        b"\xe2\x82",
        b"\xe2\x82\xe2\x82\xac",
        b"\xf0\x9f\x91",
        b"\xf0\x80\x80\xed\xa0\x80z",
    ];
    let tokenizer = Tokenizer::bytes();
    for bytes in table {
        let ids: Vec<u32> = bytes.iter().map(|&byte| byte.into()).collect();
        assert_eq!(tokenizer.decode(&ids), String::from_utf8_lossy(bytes), "{bytes:x?}");
    }
    assert_eq!(tokenizer.decode(&[65, 256, 66]), "A\u{fffd}B");
}

#[test]
fn json_brings_the_same_tokenizer_back() {
    for text in AWKWARD {
        for tokenizer in [
            Tokenizer::chars(text),
            Tokenizer::chars(text).for_documents(),
            Tokenizer::bytes(),
            Tokenizer::bytes().for_documents(),
            Tokenizer::gpt2(),
            Tokenizer::gpt2().for_documents(),
            Tokenizer::train_bpe(text, 300).unwrap(),
        ] {
            let json = tokenizer.to_json().unwrap();
            assert_eq!(Tokenizer::from_json(&json).unwrap(), tokenizer);
        }
    }
}

#[test]
fn a_wrong_tokenizer_file_is_refused_with_a_reason() {
    let table = [
        ("{\"format\":\"tril-tok", "EOF while parsing"),
        ("{}", "it is in neither tril's nor Hugging Face's format"),
        (r#"{"model":{"type":"BPE"}}"#, "Missing vocab"),
        (r#"{"format":"tril-tokenizer-1","kind":"gpt2","chars":["a"]}"#, "GPT-2's tokenizer lists characters"),
        (r#"{"format":"other","kind":"byte"}"#, "format is \"other\", not \"tril-tokenizer-1\""),
        (r#"{"format":"tril-tokenizer-1","kind":"byte","x":1}"#, "unknown field `x`"),
        (r#"{"format":"tril-tokenizer-1","kind":"byte","chars":["a"]}"#, "a byte tokenizer lists characters"),
        (r#"{"format":"tril-tokenizer-1","kind":"char"}"#, "a character tokenizer lists no characters"),
        (r#"{"format":"tril-tokenizer-1","kind":"char","chars":["a","b","a"]}"#, "character 'a' is listed twice"),
        (r#"{"format":"tril-tokenizer-1","kind":"char","chars":["ab"]}"#, "expected a character"),
        (
            r#"{"format":"tril-tokenizer-1","kind":"char","chars":["a"],"specials":{"<pad>":0,"<start>":2,"<end>":4}}"#,
            "the ids of the special tokens do not fit the vocabulary",
        ),
    ];
    for (json, reason) in table {
        let message = Tokenizer::from_json(json).unwrap_err().to_string();
        assert!(message.starts_with("not a tokenizer.json (") && message.contains(reason), "{message}");
        assert!(message.ends_with("or restore the run's own"));
    }
}

/// 500 texts of all planes, with the ids of the Python package tiktoken.
fn texts() -> Vec<(String, Vec<u32>)> {
    let lines = include_str!("../../../assets/tokenizers/gpt2.jsonl").lines();
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let ids = value["ids"].as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap());
        (value["text"].as_str().unwrap().to_string(), ids.collect())
    };
    lines.map(line).collect()
}

#[test]
fn gpt2_has_the_ids_of_tiktoken() {
    let (tokenizer, texts) = (Tokenizer::gpt2(), texts());
    assert_eq!(texts.len(), 500);
    for (text, ids) in texts {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
        let mut decoder = tokenizer.decoder();
        let streamed: String = ids.iter().map(|&id| decoder.push(id)).collect();
        assert_eq!(streamed + &decoder.finish(), text);
        assert_eq!(ids.iter().map(|&id| tokenizer.byte_len(id)).sum::<usize>(), text.len());
    }
}

#[test]
fn written_in_hugging_faces_format_a_tokenizer_gives_the_same_ids() {
    let texts = texts();
    let all: String = texts.iter().map(|(text, _)| text.as_str()).collect();
    let bpe = Tokenizer::train_bpe(&all, 700).unwrap();
    assert_eq!(bpe.vocab_size(), 700);
    let table = [
        Tokenizer::gpt2(),
        bpe,
        Tokenizer::bytes(),
        Tokenizer::bytes().for_documents(),
        Tokenizer::chars(&all),
        Tokenizer::chars(&all).for_documents(),
    ];
    for tokenizer in table {
        let other = Tokenizer::from_hf_json(&tokenizer.to_hf_json()).unwrap();
        for (text, _) in texts.iter().filter(|(text, _)| !text.is_empty()) {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(other.encode(text).unwrap(), ids, "{text:?}");
            assert_eq!(other.decode(&ids), *text, "{ids:?} of {}", tokenizer.vocab_size());
        }
    }
}

#[test]
fn special_tokens_in_text_are_text_unless_asked_otherwise() {
    let text = "a<|endoftext|>b";
    let learned = Tokenizer::train_bpe("some text", 300).unwrap();
    for tokenizer in
        [Tokenizer::gpt2(), learned.clone(), Tokenizer::from_hf_json(&Tokenizer::gpt2().to_hf_json()).unwrap()]
    {
        let end = tokenizer.end_of_text().unwrap();
        let ids = tokenizer.encode(text).unwrap();
        assert!(!ids.contains(&end) && ids.len() > 3, "{ids:?}");
        assert_eq!(tokenizer.decode(&ids), text);
        let ids = tokenizer.reading_specials().encode(text).unwrap();
        assert_eq!((ids.len(), ids[1]), (3, end));
    }
    assert_eq!(learned.vocab_size(), usize::try_from(learned.end_of_text().unwrap()).unwrap() + 1);
}

#[test]
fn byte_pair_encodings_begin_and_end_documents_with_the_end_of_a_text() {
    let tokenizer = Tokenizer::gpt2();
    assert_eq!((tokenizer.start_id(), tokenizer.end_id(), tokenizer.end_of_text()), (None, None, Some(50_256)));
    let tokenizer = tokenizer.for_data(&Mode::lines(), false);
    assert_eq!((tokenizer.start_id(), tokenizer.end_id(), tokenizer.pad_id()), (Some(50_256), Some(50_256), None));
    assert_eq!(tokenizer.vocab_size(), 50_257);
    assert_eq!(Tokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap(), tokenizer);
}

#[test]
fn a_text_in_chunks_has_the_ids_of_the_whole() {
    let texts = texts();
    let all: String = texts.iter().map(|(text, _)| text.as_str()).collect();
    for tokenizer in [Tokenizer::gpt2(), Tokenizer::train_bpe(&all, 500).unwrap(), Tokenizer::bytes()] {
        assert!(tokenizer.encodes_chunks());
        let whole = tokenizer.encode(&all).unwrap();
        for size in [1, 2, 3, 7, 50, 999, all.len()] {
            let pieces: Vec<&str> = chunks(&all, size).collect();
            assert_eq!(pieces.concat(), all);
            assert!(size > 50 || pieces.len() > 100);
            let ids: Vec<u32> = pieces.iter().flat_map(|piece| tokenizer.encode(piece).unwrap()).collect();
            assert!(ids == whole, "in chunks of {size}");
        }
    }
}

#[test]
fn text_in_any_alphabet_has_a_tokenizer_by_default() {
    let table = [
        ("Ελλάδα και κόσμος. ".repeat(50), TokenizerSpec::Char),
        ("春眠不覺曉，處處聞啼鳥。".repeat(50), TokenizerSpec::Char),
        ((0..2000).filter_map(|i| char::from_u32(0x4e00 + i)).collect(), TokenizerSpec::Bpe(4096)),
        ("a".repeat(11 << 20), TokenizerSpec::Bpe(8192)),
        (String::new(), TokenizerSpec::Char),
    ];
    for (text, expected) in table {
        let known = Text::new(&*text);
        assert_eq!(TokenizerSpec::Auto.resolve(&known), expected);
        if text.len() < 1 << 20 {
            let tokenizer = TokenizerSpec::Auto.make(&known, &Mode::Stream, 0.1, &|_| Ok(())).unwrap();
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()), text);
        }
    }
    assert_eq!(TokenizerSpec::Byte.resolve(&"".into()), TokenizerSpec::Byte);
}

#[test]
fn a_text_of_one_character_is_refused_for_a_tokenizer_of_characters() {
    for text in ["a", "aaaaaaaa", "\n\n", "日日日"] {
        for spec in [TokenizerSpec::Auto, TokenizerSpec::Char] {
            let message = spec.make(&text.into(), &Mode::Stream, 0.1, &|_| Ok(())).unwrap_err().to_string();
            let (character, n) = (text.chars().next().unwrap(), text.chars().count());
            let times = if n == 1 { "1 time,".to_string() } else { format!("{n} times,") };
            assert!(message.starts_with(&format!("the text is only {character:?}, {times}")), "{message}");
            assert!(message.contains("--tokenizer byte"), "{message}");
        }
        assert!(TokenizerSpec::Byte.make(&text.into(), &Mode::Stream, 0.1, &|_| Ok(())).is_ok());
    }
}

#[test]
fn a_tokenizer_is_named_as_it_is_written() {
    for name in ["auto", "char", "byte", "gpt2", "bpe:257", "bpe:50000", "dir/tokenizer.json"] {
        assert_eq!(name.parse::<TokenizerSpec>().unwrap().to_string(), name);
    }
    for (name, reason) in
        [("bpe:256", "from 257 to 262000"), ("bpe:", "from 257"), ("gpt3", "auto, char, byte"), ("", "auto")]
    {
        assert!(name.parse::<TokenizerSpec>().unwrap_err().contains(reason), "{name}");
    }
}

fn hf_file(pre_tokenizer: &str, dropout: &str) -> String {
    format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{pre_tokenizer},"post_processor":null,"decoder":null,"model":{{"type":"BPE","dropout":{dropout},
        "unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
        "ignore_merges":false,"vocab":{{"a":0,"b":1,"ab":2}},"merges":["a b"]}}}}"#
    )
}

#[test]
fn a_tokenizer_that_drops_merges_at_random_encodes_alike_each_time() {
    let text = "ab".repeat(500);
    for dropout in ["0.5", "1.0"] {
        let tokenizer = Tokenizer::from_json(&hf_file("null", dropout)).unwrap();
        assert_eq!(tokenizer.encode(&text).unwrap(), [2; 500]);
        let again = Tokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap();
        assert_eq!(again.encode(&text).unwrap(), [2; 500]);
    }
}

#[test]
fn a_tokenizer_that_makes_its_crate_panic_is_an_error() {
    let file = hf_file(r#"{"type":"FixedLength","length":0}"#, "null");
    let tokenizer = Tokenizer::from_json(&file).unwrap();
    let message = tokenizer.encode("abab").unwrap_err().to_string();
    assert!(message.contains("don't fit each other"), "{message}");
}

/// The words of a text according to the regular expression itself.
fn by_regex(text: &str) -> Vec<u32> {
    tiktoken_rs::r50k_base_singleton().encode_ordinary(text)
}

#[test]
fn words_are_split_as_the_regular_expression_splits_them() {
    let tokenizer = Tokenizer::gpt2();
    let table = [
        "I'll we've DON'T they're it's'd 'm 't !'s ''s '\u{2019}s x'",
        "'s",
        "'ll",
        "'l",
        "'",
        "''",
        " '",
        " 's",
        "  's",
        " ",
        "  ",
        "   a",
        "a   ",
        "a  \n",
        "\n\n\na",
        "\n a",
        " \n a",
        "\t a\tb",
        "\r\n\r\nx",
        "a \u{a0}b \u{a0} c",
        "\u{3000}\u{3000}x",
        "x\u{85}y",
        "1 234  5",
        "v2.0",
        "a1b2 c3",
        "\u{bd}\u{b2}x",
        "e\u{301}e\u{301}",
        "a_b __ c",
        " !?",
        "  !?",
        "\u{0}\u{1}",
        "\u{16ee}\u{2160}iv",
    ];
    for text in table {
        assert_eq!(tokenizer.encode(text).unwrap(), by_regex(text), "{text:?}");
    }
}

#[test]
fn every_kind_of_character_is_split_as_the_regular_expression_splits_it() {
    let tokenizer = Tokenizer::gpt2();
    // all characters with a special meaning, and the borders of the planes
    let all =
        (0..0x3_2400).chain(0xe_0000..0xe_0200).chain((4..17).map(|plane| plane << 16)).filter_map(char::from_u32);
    for chars in all.collect::<Vec<_>>().chunks(512) {
        let text: String = chars.iter().flat_map(|&c| ['a', c, '1', ' ', c, c, ' ', ' ', c]).collect();
        if tokenizer.encode(&text).unwrap() != by_regex(&text) {
            for &c in chars {
                let text = format!("a{c}1 {c}{c}  {c}");
                assert_eq!(tokenizer.encode(&text).unwrap(), by_regex(&text), "{c:?}");
            }
            panic!("{:?} differ together", chars[0]);
        }
    }
}

#[test]
fn random_texts_are_split_as_the_regular_expression_splits_them() {
    const PIECES: [&str; 24] = [
        " ",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\u{a0}",
        "'",
        "'s",
        "'re",
        "'l",
        "a",
        "The",
        "x",
        "1",
        "23",
        "!",
        "...",
        "\u{e9}",
        "\u{4e2d}",
        "\u{1f44d}",
        "\u{301}",
        "\u{0}",
        "<|endoftext|>",
    ];
    let tokenizer = Tokenizer::gpt2();
    // a linear congruential generator: Knuth's constants for 64 bits
    let mut state = 20_261_124u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for _ in 0..20_000 {
        let text: String = (0..below(12) + 1).map(|_| PIECES[below(PIECES.len())]).collect();
        assert_eq!(tokenizer.encode(&text).unwrap(), by_regex(&text), "{text:?}");
    }
}

#[test]
fn words_are_remembered_without_end() {
    // more words than a thread caches, each twice
    let text: String = (0..40_000).map(|i| format!(" zq{i:x}xv")).collect();
    let text = text.repeat(2);
    assert_eq!(Tokenizer::gpt2().encode(&text).unwrap(), by_regex(&text));
}

#[test]
fn special_tokens_are_read_as_tiktoken_reads_them() {
    let specials = Tokenizer::gpt2().reading_specials();
    for text in [
        "",
        "<|endoftext|>",
        "a  <|endoftext|>  b",
        "<|endoftext|><|endoftext|>\n",
        "<|endoftext|",
        "x <|endoftext|>'s",
    ] {
        let expected = tiktoken_rs::r50k_base_singleton().encode_with_special_tokens(text);
        assert_eq!(specials.encode(text).unwrap(), expected, "{text:?}");
    }
}
