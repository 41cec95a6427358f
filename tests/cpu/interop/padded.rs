//! Models of other programs whose vocabulary is padded beyond their tokenizer's.

use std::fs;

use serde_json::{Value, json};
use tril::data::Tokenizer;
use tril::interop::export::{Target, export};

use super::export::{made, model};
use super::gguf_file;

#[test]
fn padding_rows_are_exported_and_imported_too() {
    let tokenizer = Tokenizer::train_bpe("the thin thing", 259).unwrap();
    let n = tokenizer.vocab_size();
    let mut config = model(4, &tokenizer);
    config.vocab_size += 3;
    for target in [Target::Hf, Target::Llmc, Target::Gguf] {
        let (temp, mut model) = made(&config, &tokenizer);
        let out = temp.path().join("out");
        export(&mut model, target, &out).unwrap();
        let read = |name: &str| fs::read(out.join(name)).unwrap();
        let word = |bytes: &[u8], i: usize| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap()) as usize;
        match target {
            Target::Hf => {
                let config: Value = serde_json::from_slice(&read("config.json")).unwrap();
                assert_eq!(config["vocab_size"], n + 3);
            }
            Target::Llmc => {
                let (model, tokens) = (read("model.bin"), read("tokenizer.bin"));
                assert_eq!((word(&model, 3), word(&model, 7), word(&tokens, 2)), (n + 3, 384, n));
            }
            Target::Gguf => {
                let file = gguf_file::parse(&read("model.gguf"));
                assert_eq!(file.tensors["token_embd.weight"].0, [n as u64 + 3, 4]);
                let (tokens, kinds) = (&file.keys["tokenizer.ggml.tokens"], &file.keys["tokenizer.ggml.token_type"]);
                assert_eq!(tokens.as_array().unwrap().len(), n + 3);
                assert_eq!((&tokens[n], &kinds[n]), (&json!(format!("[unused {n}]")), &json!(5)));
                assert_eq!(kinds[n + 2], 5);
            }
        }
    }
}
