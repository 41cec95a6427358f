//! Vocabularies as other programs list them.

use std::collections::HashMap;

use serde_json::{Value, json};
use tril::data::Tokenizer;
use tril::data::tokenizer::{ByteLevel, TokenKind};

/// 500 texts of all planes.
fn texts() -> Vec<String> {
    let lines = include_str!("../../../assets/tokenizers/gpt2.jsonl").lines();
    lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_string()).collect()
}

/// The byte of each character in GPT-2's files.
pub fn bytes_of_characters() -> HashMap<char, u8> {
    let kept = |b: &u8| (33..=126).contains(b) || (161..=172).contains(b) || (174..=255).contains(b);
    let others = (0..=255).filter(|b| !kept(b)).enumerate();
    let others = others.map(|(n, b)| (char::from_u32(256 + u32::try_from(n).unwrap()).unwrap(), b));
    (0..=255).filter(kept).map(|b| (char::from(b), b)).chain(others).collect()
}

fn check_tokens(tokenizer: &Tokenizer, level: &ByteLevel) {
    let bytes = bytes_of_characters();
    assert_eq!(level.tokens.len(), tokenizer.vocab_size());
    for (id, token) in (0..).zip(&level.tokens) {
        let listed = tokenizer.listed_bytes(id).unwrap();
        match token.kind {
            TokenKind::Text => assert_eq!(token.text.chars().map(|c| bytes[&c]).collect::<Vec<_>>(), listed),
            _ => assert_eq!(token.text.as_bytes(), listed),
        }
        assert_eq!(token.kind == TokenKind::Special, tokenizer.special_name(id).is_some(), "{token:?}");
    }
}

#[test]
fn byte_level_vocabularies_hold_every_token_and_merge() {
    let all: String = texts().concat();
    let learned = Tokenizer::train_bpe(&all, 700).unwrap();
    for tokenizer in [Tokenizer::gpt2(), learned, Tokenizer::bytes(), Tokenizer::bytes().for_documents()] {
        let level = tokenizer.byte_level().unwrap();
        check_tokens(&tokenizer, &level);
        // read as a byte-pair encoding again, the list gives the same ids
        let vocab: serde_json::Map<_, _> =
            (0..).zip(&level.tokens).map(|(id, token)| (token.text.clone(), json!(id))).collect();
        let part = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true });
        let model = json!({ "type": "BPE", "vocab": vocab, "merges": level.merges });
        let file =
            json!({ "version": "1.0", "added_tokens": [], "pre_tokenizer": part, "decoder": part, "model": model });
        let again = Tokenizer::from_hf_json(&file.to_string()).unwrap();
        for text in texts() {
            assert_eq!(again.encode(&text).unwrap(), tokenizer.encode(&text).unwrap(), "{text:?}");
        }
    }
}

#[test]
fn ascii_characters_are_bytes() {
    for tokenizer in [Tokenizer::chars("To be,\n\t\u{7f}~"), Tokenizer::chars("ab\n").for_documents()] {
        let level = tokenizer.byte_level().unwrap();
        check_tokens(&tokenizer, &level);
        assert!(level.merges.is_empty());
    }
}

type Change = Box<dyn FnOnce(&mut Value)>;

/// A `tokenizer.json` with all bytes, modified by `change`.
fn changed(change: impl FnOnce(&mut Value)) -> Result<ByteLevel, String> {
    let mut file: Value =
        serde_json::from_str(&Tokenizer::train_bpe("the thin thing", 259).unwrap().to_hf_json()).unwrap();
    change(&mut file);
    Tokenizer::from_hf_json(&file.to_string()).unwrap().byte_level()
}

#[test]
fn both_ways_of_writing_merges_are_read() {
    let plain = changed(|_| {}).unwrap();
    assert_eq!(plain.merges, ["t h", "i n"]);
    let texts: Vec<Value> = plain.merges.iter().map(|merge| json!(merge)).collect();
    assert_eq!(changed(|file| file["model"]["merges"] = json!(texts)).unwrap(), plain);
}

#[test]
fn added_words_and_gaps_are_told_apart() {
    let word = |id: u32, text: &str| json!({ "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false });
    let level = changed(|file| {
        let last = file["added_tokens"][0]["id"].as_u64().unwrap();
        let at = u32::try_from(last).unwrap() + 1;
        file["added_tokens"].as_array_mut().unwrap().push(word(at, "two words"));
    })
    .unwrap();
    let last = level.tokens.last().unwrap();
    assert_eq!((last.text.as_str(), last.kind), ("two words", TokenKind::Added));
    // an id that the file can't produce
    let far = changed(|file| {
        file["added_tokens"].as_array_mut().unwrap().push(word(4_000_000_000, "two words"));
    });
    assert_eq!(far.unwrap(), level);
    let level = changed(|file| {
        let vocab = file["model"]["vocab"].as_object_mut().unwrap();
        vocab.insert("zz".into(), json!(300));
    })
    .unwrap();
    assert_eq!(level.tokens.len(), 301);
    assert_eq!((level.tokens[299].text.as_str(), level.tokens[299].kind), ("[unused 299]", TokenKind::Unused));
    assert_eq!((level.tokens[300].text.as_str(), level.tokens[300].kind), ("zz", TokenKind::Text));
}

#[test]
fn other_tokenizers_are_refused_with_the_reason() {
    let split = json!({ "type": "Whitespace" });
    let prefix = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    let whole = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let word = json!({ "id": 400, "content": "x", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": false });
    let table: Vec<(&str, Change)> = vec![
        ("doesn't split text", Box::new(move |f| f["pre_tokenizer"] = split)),
        ("doesn't split text", Box::new(move |f| f["pre_tokenizer"] = prefix)),
        ("doesn't split text", Box::new(move |f| f["pre_tokenizer"] = whole)),
        ("doesn't split text", Box::new(|f| f["normalizer"] = json!({ "type": "Lowercase" }))),
        ("ignore_merges", Box::new(|f| f["model"]["ignore_merges"] = json!(true))),
        ("includes or depends on", Box::new(move |f| f["added_tokens"].as_array_mut().unwrap().push(word))),
        ("lacks the byte", Box::new(|f| drop(f["model"]["vocab"].as_object_mut().unwrap().remove("Z")))),
        ("WordLevel", Box::new(|f| f["model"] = json!({ "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" }))),
    ];
    for (reason, change) in table {
        let message = changed(change).unwrap_err();
        assert!(message.contains(reason), "{message}");
    }
    let message = Tokenizer::chars("naïve").byte_level().unwrap_err();
    assert!(message.contains("'ï'"), "{message}");
}

#[test]
fn a_text_begins_with_the_tokenizers_opening_token() {
    let table = [
        (Tokenizer::gpt2(), 50_256),
        (Tokenizer::chars("a\nb"), 0),
        (Tokenizer::chars("\tx\n"), 1),
        (Tokenizer::chars("ab"), 0),
        (Tokenizer::chars("ab").for_documents(), 3),
        (Tokenizer::bytes(), 10),
    ];
    for (tokenizer, id) in table {
        assert_eq!(tokenizer.opening_id(), id);
    }
}

#[test]
fn ids_without_bytes_of_their_own_have_none_listed() {
    let json = r#"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},"decoder":null,
        "model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"}}"#;
    let words = Tokenizer::from_hf_json(json).unwrap();
    assert_eq!(words.listed_bytes(0), None);
    assert_eq!(Tokenizer::bytes().listed_bytes(256), None);
    assert_eq!(Tokenizer::chars("é").listed_bytes(0).unwrap(), "é".as_bytes());
}
