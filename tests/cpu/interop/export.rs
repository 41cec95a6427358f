//! Exports to other projects' formats, read back.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;
use tril::data::{Mode, Tokenizer};
use tril::interop::export::{Model, Target, export};
use tril::model::{ModelConfig, Positions, Table};
use tril::run::{RunConfig, RunDir, Weights};

use super::gguf_file;
use super::vocabulary::bytes_of_characters;

/// Every element of every parameter has a distinct value, so that swapped ones are noticed.
fn value(tensor: usize, elem: usize) -> f32 {
    (tensor * 4096 + elem) as f32
}

pub fn model(n_embd: u64, tokenizer: &Tokenizer) -> ModelConfig {
    ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd,
        block_size: 6,
        vocab_size: tokenizer.vocab_size() as u64,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout: 0.1,
    }
}

/// An untrained run.
fn run(root: &Path, model: &ModelConfig, tokenizer: &Tokenizer) -> RunDir {
    let mut config = RunConfig::preset("nano").unwrap();
    config.model = model.clone();
    if tokenizer.pad_id().is_some() {
        config.data.mode = Mode::lines();
    }
    let dir = RunDir::create(root, &config, tokenizer).unwrap();
    let params = model.param_shapes();
    let data: Vec<Vec<u8>> = (0..)
        .zip(&params)
        .map(|(n, (_, dims))| {
            let n_elem = usize::try_from(dims.iter().product::<u64>()).unwrap();
            (0..n_elem).flat_map(|i| value(n, i).to_le_bytes()).collect()
        })
        .collect();
    let views = params.iter().zip(&data).map(|((name, dims), data)| {
        let shape = dims.iter().map(|&d| usize::try_from(d).unwrap()).collect();
        (name, TensorView::new(Dtype::F32, shape, data).unwrap())
    });
    safetensors::serialize_to_file(views, None, &dir.path("model.safetensors")).unwrap();
    dir
}

/// A model of a run in a temporary folder.
pub fn made(config: &ModelConfig, tokenizer: &Tokenizer) -> (TempDir, Model) {
    let temp = TempDir::new().unwrap();
    let dir = run(&temp.path().join("run"), config, tokenizer);
    let weights = Weights::best(&dir, config).unwrap();
    (temp, Model { config: config.clone(), tokenizer: tokenizer.clone(), weights })
}

/// The expected value of a parameter of a run made by [`run`], in a format that has all of GPT-2's.
fn expected(config: &ModelConfig, name: &str) -> Vec<f32> {
    if name == "wpe.weight" && config.positions == Positions::Sinusoidal {
        return Table::Sinusoidal { t: config.block_size, c: config.n_embd }.values();
    }
    let all = ModelConfig { bias: true, positions: Positions::Learned, ..config.clone() }.param_shapes();
    let n_elem = |dims: &[u64]| usize::try_from(dims.iter().product::<u64>()).unwrap();
    match config.param_shapes().iter().position(|(other, _)| other == name) {
        Some(n) => (0..n_elem(&config.param_shapes()[n].1)).map(|i| value(n, i)).collect(),
        None => vec![0.0; n_elem(&all.iter().find(|(other, _)| other == name).unwrap().1)],
    }
}

/// Transposes a matrix.
fn transposed(values: &[f32], n_col: usize) -> Vec<f32> {
    (0..n_col).flat_map(|col| values.iter().skip(col).step_by(n_col).copied().collect::<Vec<_>>()).collect()
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn variants(tokenizer: &Tokenizer) -> [ModelConfig; 4] {
    let plain = model(4, tokenizer);
    [
        plain.clone(),
        ModelConfig { bias: false, dropout: 0.0, ..plain.clone() },
        ModelConfig { tied: false, n_head: 1, n_embd: 6, ..plain.clone() },
        ModelConfig { positions: Positions::Sinusoidal, ..plain },
    ]
}

#[test]
fn transformers_gets_every_tensor_and_setting() {
    let tokenizer = Tokenizer::chars("abc\n");
    for config in variants(&tokenizer) {
        let (temp, mut model) = made(&config, &tokenizer);
        let out = temp.path().join("hf");
        export(&mut model, Target::Hf, &out).unwrap();
        let files =
            ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names(&out), files);

        let bytes = fs::read(out.join("model.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let full = ModelConfig { bias: true, positions: Positions::Learned, ..config.clone() }.param_shapes();
        assert_eq!(tensors.len(), full.len());
        for (name, dims) in full {
            let theirs = if name == "lm_head.weight" { name.clone() } else { format!("transformer.{name}") };
            let tensor = tensors.tensor(&theirs).unwrap();
            let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
            assert_eq!((tensor.dtype(), shape), (Dtype::F32, dims), "{name}");
            let bytes: Vec<u8> = expected(&config, &name).into_iter().flat_map(f32::to_le_bytes).collect();
            assert!(tensor.data() == bytes, "{name}");
        }

        let json: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        let table = [
            ("model_type", json!("gpt2")),
            ("architectures", json!(["GPT2LMHeadModel"])),
            ("activation_function", json!("gelu_new")),
            ("layer_norm_epsilon", json!(1e-5)),
            ("n_layer", json!(config.n_layer)),
            ("n_head", json!(config.n_head)),
            ("n_embd", json!(config.n_embd)),
            ("n_positions", json!(config.block_size)),
            ("n_ctx", json!(config.block_size)),
            ("n_inner", Value::Null),
            ("vocab_size", json!(config.vocab_size)),
            ("tie_word_embeddings", json!(config.tied)),
            ("bos_token_id", Value::Null),
            ("eos_token_id", Value::Null),
            ("resid_pdrop", json!(if config.dropout > 0.0 { 0.1 } else { 0.0 })),
            ("embd_pdrop", json!(if config.dropout > 0.0 { 0.1 } else { 0.0 })),
            ("attn_pdrop", json!(if config.dropout > 0.0 { 0.1 } else { 0.0 })),
        ];
        for (key, value) in table {
            assert_eq!(json.get(key), Some(&value), "{key}");
        }
    }
}

#[test]
fn transformers_gets_the_tokenizer_and_where_texts_begin_and_end() {
    let table = [
        (Tokenizer::gpt2(), Some((50_256, "<|endoftext|>")), Some((50_256, "<|endoftext|>")), None),
        (Tokenizer::chars("ab"), None, None, None),
        (Tokenizer::chars("ab").for_documents(), Some((3, "<start>")), Some((4, "<end>")), Some((0, "<pad>"))),
        (Tokenizer::bytes().for_documents(), Some((257, "<start>")), Some((258, "<end>")), Some((0, "<pad>"))),
    ];
    for (tokenizer, begin, end, pad) in table {
        let (temp, mut model) = made(&model(2, &tokenizer), &tokenizer);
        let out = temp.path().join("hf");
        export(&mut model, Target::Hf, &out).unwrap();
        assert_eq!(fs::read_to_string(out.join("tokenizer.json")).unwrap(), tokenizer.to_exported_json());
        let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(out.join(name)).unwrap()).unwrap() };
        let (config, generation, names) =
            (json("config.json"), json("generation_config.json"), json("tokenizer_config.json"));
        for (key, token) in [("bos_token", begin), ("eos_token", end), ("pad_token", pad)] {
            let id = token.map_or(Value::Null, |(id, _)| json!(id));
            assert_eq!(config[format!("{key}_id")], id, "{key}");
            assert_eq!(generation[format!("{key}_id")], id, "{key}");
            assert_eq!(names[key], token.map_or(Value::Null, |(_, name)| json!(name)));
        }
        assert_eq!((&names["model_max_length"], &config["n_positions"]), (&json!(6), &json!(6)));
        assert!(generation.get("max_length").is_none());
    }
}

#[test]
fn llm_c_gets_every_tensor_in_its_order() {
    let tokenizer = Tokenizer::chars("abc\n");
    for config in variants(&tokenizer).into_iter().filter(|c| c.tied && c.positions == Positions::Learned) {
        let (temp, mut model) = made(&config, &tokenizer);
        let out = temp.path().join("llmc");
        export(&mut model, Target::Llmc, &out).unwrap();
        assert_eq!(names(&out), ["model.bin", "tokenizer.bin", "tokenizer.json"]);
        let bytes = fs::read(out.join("model.bin")).unwrap();
        let words: Vec<i32> = bytes[..1024].chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(words[..8], [20_240_326, 3, 6, 4, 2, 2, 4, 128]);
        assert!(words[8..].iter().all(|&word| word == 0));

        let order = "wte.weight wpe.weight ln_1.weight ln_1.bias attn.c_attn.weight attn.c_attn.bias attn.c_proj.weight \
                     attn.c_proj.bias ln_2.weight ln_2.bias mlp.c_fc.weight mlp.c_fc.bias mlp.c_proj.weight \
                     mlp.c_proj.bias ln_f.weight ln_f.bias";
        let mut floats: Vec<f32> = vec![];
        for name in order.split(' ') {
            let layers: &[&str] =
                if name.starts_with('w') || name.starts_with("ln_f") { &[""] } else { &["h.0.", "h.1."] };
            for layer in layers {
                let values = expected(&config, &format!("{layer}{name}"));
                let n_out = match name {
                    "attn.c_attn.weight" => 12,
                    "attn.c_proj.weight" | "mlp.c_proj.weight" => 4,
                    "mlp.c_fc.weight" => 16,
                    _ => 1,
                };
                floats.extend(transposed(&values, n_out));
                if name == "wte.weight" {
                    floats.extend(vec![0.0; 124 * 4]);
                }
            }
        }
        let floats: Vec<u8> = floats.into_iter().flat_map(f32::to_le_bytes).collect();
        assert!(bytes[1024..] == floats);
    }
}

#[test]
fn llm_c_gets_every_token() {
    let table = [
        (Tokenizer::gpt2(), 50_256),
        (Tokenizer::train_bpe("the thin thing and the thick thing", 264).unwrap(), 263),
        (Tokenizer::chars("naïve\n"), 0),
        (Tokenizer::chars("ab").for_documents(), 3),
        (Tokenizer::bytes(), 10),
    ];
    for (tokenizer, end) in table {
        let (temp, mut model) = made(&model(2, &tokenizer), &tokenizer);
        let out = temp.path().join("llmc");
        export(&mut model, Target::Llmc, &out).unwrap();
        let bytes = fs::read(out.join("tokenizer.bin")).unwrap();
        let words: Vec<u32> = bytes[..1024].chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        let n = tokenizer.vocab_size();
        assert_eq!(words[..4], [20_240_328, 2, u32::try_from(n).unwrap(), end]);
        let mut rest = &bytes[1024..];
        for id in 0..u32::try_from(n).unwrap() {
            let (token, behind) = rest[1..].split_at(rest[0].into());
            assert_eq!(token, tokenizer.listed_bytes(id).unwrap());
            rest = behind;
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn llama_cpp_gets_every_tensor_and_key() {
    let tokenizer = Tokenizer::train_bpe("the thin thing and the thick thing", 264).unwrap();
    for config in variants(&tokenizer).into_iter().filter(|c| c.positions == Positions::Learned) {
        let (temp, mut model) = made(&config, &tokenizer);
        let out = temp.path().join("gguf");
        export(&mut model, Target::Gguf, &out).unwrap();
        assert_eq!(names(&out), ["model.gguf"]);
        let file = gguf_file::parse(&fs::read(out.join("model.gguf")).unwrap());
        let c = config.n_embd;
        let mut table = vec![
            ("token_embd.weight".to_string(), "wte.weight".to_string(), vec![264, c]),
            ("position_embd.weight".into(), "wpe.weight".into(), vec![6, c]),
            ("output_norm.weight".into(), "ln_f.weight".into(), vec![c]),
            ("output_norm.bias".into(), "ln_f.bias".into(), vec![c]),
        ];
        if !config.tied {
            table.push(("output.weight".into(), "lm_head.weight".into(), vec![264, c]));
        }
        for i in 0..2 {
            for (theirs, ours, n_out, n_in) in [
                ("attn_norm", "ln_1", c, 0),
                ("attn_qkv", "attn.c_attn", 3 * c, c),
                ("attn_output", "attn.c_proj", c, c),
                ("ffn_norm", "ln_2", c, 0),
                ("ffn_up", "mlp.c_fc", 4 * c, c),
                ("ffn_down", "mlp.c_proj", c, 4 * c),
            ] {
                let dims = if n_in > 0 { vec![n_out, n_in] } else { vec![n_out] };
                table.push((format!("blk.{i}.{theirs}.weight"), format!("h.{i}.{ours}.weight"), dims));
                table.push((format!("blk.{i}.{theirs}.bias"), format!("h.{i}.{ours}.bias"), vec![n_out]));
            }
        }
        assert_eq!(file.tensors.len(), table.len());
        for (theirs, ours, dims) in table {
            let mut values = expected(&config, &ours);
            if theirs.starts_with("blk") && dims.len() == 2 {
                values = transposed(&values, usize::try_from(dims[0]).unwrap());
            }
            assert!(file.tensors[&theirs] == (dims, values), "{theirs}");
        }
        let keys = [
            ("general.architecture", json!("gpt2")),
            ("general.file_type", json!(0)),
            ("gpt2.context_length", json!(6)),
            ("gpt2.embedding_length", json!(c)),
            ("gpt2.feed_forward_length", json!(4 * c)),
            ("gpt2.block_count", json!(2)),
            ("gpt2.attention.head_count", json!(config.n_head)),
            ("gpt2.attention.layer_norm_epsilon", json!(1e-5f32)),
            ("tokenizer.ggml.model", json!("gpt2")),
            ("tokenizer.ggml.pre", json!("gpt-2")),
            ("tokenizer.ggml.bos_token_id", json!(263)),
            ("tokenizer.ggml.eos_token_id", json!(263)),
            ("tokenizer.ggml.add_bos_token", json!(false)),
            ("tokenizer.ggml.add_eos_token", json!(false)),
        ];
        for (key, value) in keys {
            assert_eq!(file.keys.get(key), Some(&value), "{key}");
        }
        assert_eq!(file.keys.get("tokenizer.ggml.padding_token_id"), None);
        let level = tokenizer.byte_level().unwrap();
        let texts: Vec<&str> = level.tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(file.keys["tokenizer.ggml.tokens"], json!(texts));
        assert_eq!(file.keys["tokenizer.ggml.merges"], json!(level.merges));
        let kinds: Vec<i32> = (0..264).map(|id| if id == 263 { 3 } else { 1 }).collect();
        assert_eq!(file.keys["tokenizer.ggml.token_type"], json!(kinds));
    }
}

#[test]
fn gguf_without_an_end_of_text_token_gets_an_unused_one() {
    let tokenizer = Tokenizer::chars("ab\n");
    let config = ModelConfig { tied: false, ..model(4, &tokenizer) };
    let (temp, mut model) = made(&config, &tokenizer);
    let out = temp.path().join("gguf");
    export(&mut model, Target::Gguf, &out).unwrap();
    let file = gguf_file::parse(&fs::read(out.join("model.gguf")).unwrap());
    assert_eq!(file.keys["tokenizer.ggml.tokens"], json!(["\u{10a}", "a", "b", "<|endoftext|>"]));
    assert_eq!(bytes_of_characters()[&'\u{10a}'], b'\n');
    assert_eq!(file.keys["tokenizer.ggml.token_type"], json!([1, 1, 1, 3]));
    assert_eq!(file.keys["tokenizer.ggml.merges"], json!([]));
    assert_eq!(file.keys["tokenizer.ggml.eos_token_id"], 3);
    assert_eq!(file.keys["tokenizer.ggml.bos_token_id"], 0);
    for (theirs, ours) in [("token_embd.weight", "wte.weight"), ("output.weight", "lm_head.weight")] {
        let (dims, values) = &file.tensors[theirs];
        assert_eq!(dims, &[4, 4]);
        let (rows, mean) = values.split_at(12);
        assert_eq!(rows, expected(&config, ours));
        // of three rows, the middle one
        assert_eq!(mean, &rows[4..8]);
    }
}

#[test]
fn llama_cpp_begins_documents_as_tril_does() {
    let tokenizer = Tokenizer::chars("ab").for_documents();
    let (temp, mut model) = made(&model(4, &tokenizer), &tokenizer);
    let out = temp.path().join("gguf");
    export(&mut model, Target::Gguf, &out).unwrap();
    let file = gguf_file::parse(&fs::read(out.join("model.gguf")).unwrap());
    assert_eq!(file.keys["tokenizer.ggml.tokens"], json!(["<pad>", "a", "b", "<start>", "<end>"]));
    assert_eq!(file.keys["tokenizer.ggml.token_type"], json!([3, 1, 1, 3, 3]));
    let keys = [
        ("bos_token_id", json!(3)),
        ("eos_token_id", json!(4)),
        ("padding_token_id", json!(0)),
        ("add_bos_token", json!(true)),
    ];
    for (key, value) in keys {
        assert_eq!(file.keys[&format!("tokenizer.ggml.{key}")], value, "{key}");
    }
    assert_eq!(file.tensors["token_embd.weight"].0, [5, 4]);
}

#[test]
fn models_a_format_cannot_represent_are_refused_and_nothing_is_left() {
    let (ascii, other) = (Tokenizer::chars("ab"), Tokenizer::chars("né"));
    let words = r#"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},"decoder":null,
        "model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"}}"#;
    let words = Tokenizer::from_hf_json(words).unwrap();
    let long = Tokenizer::train_bpe(&"x".repeat(5000), 270).unwrap();
    let untied = |t: &Tokenizer| ModelConfig { tied: false, ..model(4, t) };
    let sines = |t: &Tokenizer| ModelConfig { positions: Positions::Sinusoidal, ..model(4, t) };
    let table = [
        (Target::Llmc, untied(&ascii), &ascii, "tied = false"),
        (Target::Llmc, sines(&ascii), &ascii, "sinusoidal"),
        (Target::Llmc, model(4, &words), &words, "token 0 of its tokenizer has no bytes of its own"),
        (Target::Llmc, model(4, &long), &long, "has 256 bytes, and llm.c's have 1 to 255"),
        (Target::Gguf, sines(&ascii), &ascii, "sinusoidal"),
        (Target::Gguf, model(4, &other), &other, "'é'"),
        (Target::Gguf, model(4, &words), &words, "WordLevel"),
    ];
    for (target, config, tokenizer, reason) in table {
        let (temp, mut model) = made(&config, tokenizer);
        let message = export(&mut model, target, &temp.path().join("out")).unwrap_err().to_string();
        assert!(message.contains("can't represent this model: ") && message.contains(reason), "{message}");
        assert!(message.contains("; use --to hf"), "{message}");
        assert_eq!(names(temp.path()), ["run"]);
        // which is true
        export(&mut model, Target::Hf, &temp.path().join("out")).unwrap();
    }
}

pub fn small() -> (TempDir, Model) {
    let tokenizer = Tokenizer::chars("ab\n");
    made(&model(4, &tokenizer), &tokenizer)
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let (temp, mut model) = small();
    for target in [Target::Hf, Target::Llmc, Target::Gguf] {
        let [first, second] = ["first", "second"].map(|name| temp.path().join(format!("{target:?} {name}")));
        export(&mut model, target, &first).unwrap();
        export(&mut model, target, &second).unwrap();
        for name in names(&first) {
            assert!(fs::read(first.join(&name)).unwrap() == fs::read(second.join(&name)).unwrap(), "{name}");
        }
    }
}

#[test]
fn only_an_empty_or_new_folder_is_written() {
    let (temp, mut model) = small();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/mine"), "mine").unwrap();
    fs::write(at("file"), "mine").unwrap();
    let message = export(&mut model, Target::Gguf, &at("run")).unwrap_err().to_string();
    assert!(message.ends_with("run is a run; give another --out"), "{message}");
    for name in ["full", "file"] {
        let message = export(&mut model, Target::Gguf, &at(name)).unwrap_err().to_string();
        assert!(message.ends_with(&format!("{name} is not an empty folder; give another --out")), "{message}");
    }
    fs::create_dir(at("empty")).unwrap();
    export(&mut model, Target::Gguf, &at("empty")).unwrap();
    export(&mut model, Target::Gguf, &at("new/and/deep")).unwrap();
    assert_eq!(names(&at("new/and/deep")), ["model.gguf"]);
    assert_eq!(names(temp.path()), ["empty", "file", "full", "new", "run"]);
}

#[test]
fn what_an_interrupted_export_left_is_replaced_and_other_files_are_not() {
    let (temp, mut model) = small();
    let part = temp.path().join("out.part");
    fs::create_dir(&part).unwrap();
    fs::write(part.join("model.bin"), "half").unwrap();
    let error = export(&mut model, Target::Gguf, &temp.path().join("out")).unwrap_err();
    assert!(error.to_string().contains("out.part is not an empty folder"), "{error}");
    // with this next to it, it belongs to an export
    fs::write(temp.path().join("out.part.lock"), "").unwrap();
    export(&mut model, Target::Gguf, &temp.path().join("out")).unwrap();
    assert_eq!(names(temp.path()), ["out", "run"]);

    fs::create_dir(temp.path().join("other.part")).unwrap();
    fs::write(temp.path().join("other.part/mine"), "mine").unwrap();
    let message = export(&mut model, Target::Gguf, &temp.path().join("other")).unwrap_err().to_string();
    assert!(message.contains("other.part"), "{message}");
    assert_eq!(names(temp.path()), ["other.part", "out", "run"]);
    assert_eq!(fs::read(temp.path().join("other.part/mine")).unwrap(), b"mine");
}

#[test]
fn an_export_that_fails_midway_leaves_nothing() {
    let tokenizer = Tokenizer::chars("ab\n");
    let mut config = model(4, &tokenizer);
    let temp = TempDir::new().unwrap();
    let dir = run(&temp.path().join("run"), &config, &tokenizer);
    // the file lacks the last layer
    config.n_layer = 3;
    for target in [Target::Hf, Target::Llmc, Target::Gguf] {
        let weights = Weights::best(&dir, &config).unwrap();
        let mut model = Model { config: config.clone(), tokenizer: tokenizer.clone(), weights };
        let message = export(&mut model, target, &temp.path().join("out")).unwrap_err().to_string();
        assert!(message.contains("no tensor h.2."), "{message}");
        assert_eq!(names(temp.path()), ["run"]);
    }
}
