//! Text to ids and back.

use tril::data::Tokenizer;

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
fn document_tokenizers_have_padding_in_front_and_start_and_end_behind() {
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
        "character 'é' (U+00E9) at position 2 is not among the 3 characters of the tokenizer: remove it, or train with --tokenizer byte"
    );
}

#[test]
fn streamed_text_is_the_whole_text_and_holds_no_half_characters() {
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
        ("{}", "missing field `format`"),
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
        assert!(message.starts_with("not a tokenizer.json of tril (") && message.contains(reason), "{message}");
        assert!(message.ends_with("): restore the file from the run that wrote it"));
    }
}
