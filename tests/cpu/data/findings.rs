//! How well a tokenizer fits a text.

use serde_json::{Value, json};
use tril::data::{Dataset, Findings, Mode, Options, Text, Tokenizer};

fn tokenizer(parts: Value) -> Tokenizer {
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": { "type": "Whitespace" }, "decoder": null,
    });
    for (key, value) in parts.as_object().unwrap() {
        file[key] = value.clone();
    }
    Tokenizer::from_hf_json(&file.to_string()).unwrap()
}

fn special(id: u32, name: &str) -> Value {
    json!({
        "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
    })
}

fn words() -> Tokenizer {
    let vocab = json!({ "[UNK]": 0, "a": 1, "b": 2, "</s>": 3 });
    let model = json!({ "type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]" });
    tokenizer(json!({ "model": model, "added_tokens": [special(0, "[UNK]"), special(3, "</s>")] }))
}

fn findings(text: &str, tokenizer: &Tokenizer, mode: Mode) -> Findings {
    let tokenizer = tokenizer.clone().for_data(&mode, false);
    let options = Options { mode, ..Options::stream(4) };
    Dataset::for_evaluation(&Text::new(text), &tokenizer, &options).unwrap().findings().clone()
}

#[test]
fn unknown_tokens_are_counted_whatever_the_model() {
    let pieces = json!({ "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": { "[UNK]": 0, "a": 1, "##a": 2, "b": 3 } });
    let unigram = json!({ "type": "Unigram", "unk_id": 1, "byte_fallback": false,
        "vocab": [["a", -1.0], ["<unk>", 0.0], ["b", -2.0]] });
    // bytes encode any text, and the unknown token is named like an end-of-text token here
    let gpt2: Value = serde_json::from_str(&Tokenizer::gpt2().to_hf_json()).unwrap();
    let mut bytes = gpt2.clone();
    bytes["model"]["unk_token"] = "<|endoftext|>".into();
    let bytes = Tokenizer::from_hf_json(&bytes.to_string()).unwrap().reading_specials();
    for (tokenizer, text, n_unknown, n_token, name) in [
        (words(), "a b c a", 1, 4, Some("[UNK]")),
        (words(), "a b a", 0, 3, Some("[UNK]")),
        (tokenizer(json!({ "model": pieces })), "aaa cc b", 1, 5, Some("[UNK]")),
        (tokenizer(json!({ "model": unigram })), "a c b", 1, 3, Some("<unk>")),
        (bytes, "a<|endoftext|>b", 0, 3, None),
        (Tokenizer::gpt2(), "a b", 0, 2, None),
        (Tokenizer::bytes(), "a b", 0, 3, None),
    ] {
        let found = findings(text, &tokenizer, Mode::Stream);
        assert_eq!((found.n_unknown, found.n_token), (n_unknown, n_token), "{text}");
        assert_eq!(found.unknown.as_deref(), name, "{text}");
    }
    let documents = findings("a c\nb c\n\nc c", &words(), Mode::lines());
    assert_eq!((documents.n_unknown, documents.n_token), (4, 6));
}

/// Letter pairs, and nothing for anything else.
fn dropping() -> Tokenizer {
    let vocab = json!({ "a": 0, "b": 1, "ab": 2, "</s>": 3 });
    let model = json!({ "type": "BPE", "vocab": vocab, "merges": [["a", "b"]], "unk_token": null, "dropout": null,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false });
    tokenizer(json!({ "model": model, "added_tokens": [special(3, "</s>")] }))
}

#[test]
fn text_that_becomes_no_token_is_counted() {
    let lost = |text: &str, mode| {
        let lost = findings(text, &dropping(), mode).lost;
        (lost.n_byte, lost.of)
    };
    assert_eq!(lost("ab ba a", Mode::Stream), (0, 5));
    assert_eq!(lost("xab \u{e9} a z\n", Mode::Stream), (4, 7));
    assert_eq!(lost("ab\nxa\n\naby", Mode::lines()), (2, 7));
    assert_eq!(lost(&"abx a ".repeat(60_000), Mode::Stream), (60_000, 240_000));
    // others lose nothing, or give an unknown token
    for other in [words(), Tokenizer::gpt2(), Tokenizer::from_hf_json(&Tokenizer::gpt2().to_hf_json()).unwrap()] {
        assert_eq!(findings("a b c \u{e9}", &other, Mode::Stream).lost.n_byte, 0);
    }
    // almost nothing is left
    for text in ["xyz xyz", &"xxxxxxxxxxa ".repeat(100)] {
        let data = Dataset::new(&Text::new(text), &dropping(), &Options::stream(4));
        let message = data.unwrap_err().to_string();
        assert!(message.contains("% of the text becomes no token, as the tokenizer leaves out"), "{message}");
    }
}

#[test]
fn a_long_text_is_counted_once_throughout() {
    let text = "a b c a ".repeat(50_000);
    let found = findings(&text, &words(), Mode::Stream);
    assert_eq!((found.n_unknown, found.n_token), (50_000, 200_000));
    assert_eq!(found.unknown_percent(), 25.0);
}

#[test]
fn names_of_special_tokens_are_counted_where_they_are_text() {
    let end = |n| vec![("<|endoftext|>".to_string(), n)];
    let text = "one<|endoftext|>two<|endoftext|>\n<|endoftext |>";
    for (tokenizer, expected) in [
        (Tokenizer::gpt2(), end(2)),
        (Tokenizer::bytes(), end(2)),
        (Tokenizer::chars(text), end(2)),
        (Tokenizer::train_bpe(text, 260).unwrap(), end(2)),
        (Tokenizer::gpt2().reading_specials(), vec![]),
        (words(), vec![]),
    ] {
        assert_eq!(findings(text, &tokenizer, Mode::Stream).names, expected, "{tokenizer:?}");
    }
    let found = findings("a </s> b </s> [UNK]", &words(), Mode::Stream);
    assert_eq!(found.names, [("</s>".to_string(), 2), ("[UNK]".to_string(), 1)]);
    // separators of documents are not part of their text
    let parted = Mode::Documents { separator: "<|endoftext|>".into() };
    assert_eq!(findings("one<|endoftext|>two", &Tokenizer::gpt2(), parted).names, []);
    assert_eq!(findings("one<|endoft\next|>two", &Tokenizer::gpt2(), Mode::lines()).names, []);
}

#[test]
fn a_name_is_found_wherever_a_long_text_is_cut() {
    // texts are cut between any characters, before white space, or into windows that overlap
    for (tokenizer, name) in
        [(Tokenizer::bytes(), "<|endoftext|>"), (Tokenizer::gpt2(), "<|endoftext|>"), (words(), "</s>")]
    {
        for text in [name.repeat(40_000), format!("a b {name}a ").repeat(40_000)] {
            // these take a word this long as a whole
            if text.contains(' ') || tokenizer == Tokenizer::bytes() {
                assert_eq!(findings(&text, &tokenizer, Mode::Stream).names, [(name.to_string(), 40_000)]);
            }
        }
    }
}

#[test]
fn limits_for_a_warning_and_for_an_error() {
    for (n_unknown, is_notable, is_right) in [
        (0, false, true),
        (9, false, true),
        (10, true, true),
        (900, true, true),
        (901, true, false),
        (1000, true, false),
    ] {
        let found = Findings { n_token: 1000, n_unknown, unknown: Some("[UNK]".into()), ..Findings::default() };
        assert_eq!((found.is_notable(), found.check().is_ok()), (is_notable, is_right), "{n_unknown}");
    }
    assert!(!Findings::default().is_notable() && Findings::default().check().is_ok());
}
