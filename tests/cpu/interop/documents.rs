//! Where exported tokenizers let a text begin.

use tril::data::Tokenizer;

/// Encodes a text with Hugging Face's own library and the exported tokenizer.
#[test]
fn a_documents_tokenizer_begins_every_text_with_its_start_token_and_comes_back_the_same() {
    let learned = Tokenizer::train_bpe("the thin thing and the thick thing", 264).unwrap();
    for (tokenizer, text) in [
        (Tokenizer::chars("ab"), "ab"),
        (Tokenizer::bytes(), "a\u{e9}"),
        (Tokenizer::gpt2(), "the thing"),
        (learned, "the thing"),
    ] {
        let ids = |tokenizer: &Tokenizer, text: &str| {
            let inner: tokenizers::Tokenizer = tokenizer.to_exported_json().parse().unwrap();
            inner.encode(text, true).unwrap().get_ids().to_vec()
        };
        assert_eq!(ids(&tokenizer, text), tokenizer.encode(text).unwrap());
        let documents = tokenizer.for_documents();
        let start = documents.start_id().unwrap();
        assert_eq!(ids(&documents, ""), [start]);
        assert_eq!(ids(&documents, text), [&[start][..], &documents.encode(text).unwrap()].concat());
        let back = Tokenizer::from_json(&documents.to_exported_json()).unwrap().recognised();
        assert_eq!(back.encode(text).unwrap(), documents.encode(text).unwrap());
        let own = Tokenizer::from_json(&documents.to_hf_json()).unwrap().recognised();
        assert!(back == own || back.to_hf_json() == documents.to_exported_json(), "{text}");
    }
}
