//! Long texts are encoded in parts, with the ids of the whole.

use tril::data::{Dataset, Options, Text, Tokenizer};

/// Words, spaces and characters of all lengths.
fn mixed(n_byte: usize) -> String {
    const PARTS: [&str; 12] =
        ["the ", "word\n", "  naïve", "\u{a0}", "日本語", "👍🏽 ", "it's ", "12345", "\r\n\r\n", "\t\t", "...", " x"];
    // a linear congruential generator: Knuth's constants for 64 bits
    let mut state = 11u64;
    let mut text = String::new();
    while text.len() < n_byte {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(PARTS[(state >> 33) as usize % PARTS.len()]);
    }
    text
}

/// The ids of a text that is encoded at once.
fn at_once(json: &str, text: &str) -> Vec<u32> {
    let mut whole = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
    whole.set_encode_special_tokens(true);
    whole.encode_fast(text, false).unwrap().get_ids().to_vec()
}

#[test]
fn parts_of_a_long_text_have_the_ids_of_the_whole() {
    let learned = Tokenizer::train_bpe(&mixed(50_000), 400).unwrap().to_hf_json();
    let words = r#"{"version":"1.0","added_tokens":[],"normalizer":{"type":"Lowercase"},"pre_tokenizer":{"type":"Whitespace"},
        "model":{"type":"WordLevel","vocab":{"the":0,"word":1,"[UNK]":2},"unk_token":"[UNK]"}}"#;
    let change = |from: &str, to: &str| {
        assert!(learned.contains(from), "{from}");
        learned.replace(from, to)
    };
    let tokenizers = [
        ("words as GPT-2 has them", learned.clone()),
        ("a blank in front", change(r#""add_prefix_space":false"#, r#""add_prefix_space":true"#)),
        ("no words at all", change(r#""use_regex":true"#, r#""use_regex":false"#)),
        ("another alphabet", change(r#""normalizer":null"#, r#""normalizer":{"type":"NFKC"}"#)),
        (
            "ends that are stripped",
            change(r#""normalizer":null"#, r#""normalizer":{"type":"Strip","strip_left":true,"strip_right":true}"#),
        ),
        ("words of a list", words.into()),
    ];
    let texts = [
        mixed(300_000),
        // no borders, and words longer than the overlap of two windows
        "a".repeat(200_001),
        "abc".repeat(60_000),
        " ".repeat(150_000),
        format!("{} {} {}", mixed(140_000), "long".repeat(10_000), mixed(140_000)),
    ];
    for (what, json) in &tokenizers {
        let tokenizer = Tokenizer::from_json(json).unwrap();
        for (i, text) in texts.iter().enumerate() {
            assert!(tokenizer.encode(text).unwrap() == at_once(json, text), "{what}, text {i}");
        }
    }
}

/// Random letters of an alphabet: long texts without a place to cut.
fn letters(alphabet: &str, n_char: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut state = 5u64;
    let draw = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        alphabet[(state >> 33) as usize % alphabet.len()]
    };
    (0..n_char).map(draw).collect()
}

#[test]
fn a_text_without_spaces_has_the_ids_of_the_whole() {
    for alphabet in ["ACGT", "abcdefghijklmnopqrstuvwxyz", "一二三四五六七八九十百千", "==-"] {
        let text = letters(alphabet, 400_000);
        let framed = format!("{} {} {}", &mixed(300_000), text, &mixed(300_000));
        let learned = Tokenizer::train_bpe(&text, 400).unwrap();
        assert_eq!(learned.vocab_size(), 400, "{alphabet}");
        for tokenizer in [Tokenizer::gpt2(), learned] {
            let json = tokenizer.to_hf_json();
            for text in [&text, &framed] {
                let ids = at_once(&json, text);
                assert!(tokenizer.encode(text).unwrap() == ids, "{alphabet}");
                // and if it is read in parts
                let data =
                    Dataset::for_evaluation(&Text::from(text.as_str()), &tokenizer, &Options::stream(16)).unwrap();
                assert!(data.val_tokens() == ids, "{alphabet}");
            }
        }
    }
}

#[test]
fn a_text_of_one_letter_is_encoded_too() {
    let text = "a".repeat(20 << 20);
    let ids = Tokenizer::gpt2().encode(&text).unwrap();
    assert!(ids.iter().all(|id| ids[0] == *id) && Tokenizer::gpt2().decode(&ids).len() == text.len());
}

#[test]
fn an_encoding_is_learned_from_words_that_stay_few() {
    // more distinct words than are kept, and one that is frequent throughout the text
    let rare = letters("abcdefghij", 3 << 20);
    let words: Vec<&str> = rare.as_bytes().chunks(8).map(|word| std::str::from_utf8(word).unwrap()).collect();
    let text = words.join(" frequent ");
    let a = Tokenizer::train_bpe(&text, 300).unwrap();
    assert_eq!(a.encode(" frequent").unwrap().len(), 1);
    assert_eq!(a, Tokenizer::train_bpe(&text, 300).unwrap());
}

#[test]
fn an_added_token_of_two_words_is_found() {
    let learned = Tokenizer::train_bpe(&mixed(50_000), 400).unwrap().to_hf_json();
    let mut json: serde_json::Value = serde_json::from_str(&learned).unwrap();
    let added = serde_json::json!({
        "id": 400, "content": "it's", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": false,
    });
    json["added_tokens"].as_array_mut().unwrap().push(added);
    let json = json.to_string();
    let tokenizer = Tokenizer::from_json(&json).unwrap();
    assert!(tokenizer.encodes_chunks());
    let text = mixed(100_000);
    let ids = tokenizer.encode(&text).unwrap();
    let last = tokenizer.vocab_size() as u32 - 1;
    assert!(ids.contains(&last) && ids == at_once(&json, &text));
    // cached words of one tokenizer are not used for another
    let other = Tokenizer::from_json(&learned).unwrap();
    assert!(other.encode(&text).unwrap() == at_once(&learned, &text));
    let ends = "the word<|endoftext|>the word".repeat(1000);
    assert_eq!(other.encode(&ends).unwrap(), at_once(&learned, &ends));
    let end = other.end_of_text().unwrap();
    assert!(other.reading_specials().encode(&ends).unwrap().iter().filter(|&&id| id == end).count() == 1000);
}

#[test]
fn an_added_token_that_reaches_over_a_blank_is_not_cut() {
    let learned = Tokenizer::train_bpe(&mixed(50_000), 400).unwrap().to_hf_json();
    let mut json: serde_json::Value = serde_json::from_str(&learned).unwrap();
    for (content, rstrip) in [("new york", false), ("<mask>", true)] {
        let id = json["added_tokens"].as_array().unwrap().len() + 399;
        let added = serde_json::json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": rstrip, "normalized": false,
            "special": false,
        });
        json["added_tokens"].as_array_mut().unwrap().push(added);
        let json = json.to_string();
        let tokenizer = Tokenizer::from_json(&json).unwrap();
        let text = format!("{content} x").repeat(30_000);
        assert!(!tokenizer.encodes_chunks(), "{content}");
        assert!(tokenizer.encode(&text).unwrap() == at_once(&json, &text), "{content}");
    }
}

#[test]
fn positions_of_unknown_words_count_from_the_start_of_a_long_text() {
    let words = r#"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},
        "model":{"type":"WordLevel","vocab":{"the":0,"naïve":1},"unk_token":"[UNK]"}}"#;
    let text = "the naïve ".repeat(30_000) + "dog the";
    let message = Tokenizer::from_json(words).unwrap().encode(&text).unwrap_err().to_string();
    assert!(message.starts_with("the tokenizer has no id for \"dog\" (at character 300000 of the text)"), "{message}");
}

#[test]
fn a_text_without_a_place_to_cut_is_refused_with_a_remedy() {
    let words = r#"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},
        "model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;
    let message = Tokenizer::from_json(words).unwrap().encode(&"a".repeat(40 << 20)).unwrap_err().to_string();
    assert!(message.contains("more than 16 MiB without a place") && message.contains("--tokenizer byte"), "{message}");
}
