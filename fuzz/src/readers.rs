//! Every reader of foreign bytes as a function of bytes, with valid seeds. The fuzzer calls these, and so does
//! `tests/cpu/malformed_files.rs`, which needs no fuzzer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use tril::data::grammar::Grammar;
use tril::data::tokens::{Layout, Width};
use tril::data::{self, Source, Tokenizer, TokenizerSpec};
use tril::gpu::DeviceSelector;
use tril::interop;
use tril::interop::import::ImportOptions;
use tril::model::ModelConfig;
use tril::run::{RunConfig, RunDir, Weights, checkpoint};
use tril::train::evidence::Evidence;
use tril::train::memory;
use tril::tune::Cache;

/// A reader: it may refuse bytes, but nothing worse.
pub struct Reader {
    /// The name of its fuzz target.
    pub name: &'static str,
    /// Reads bytes, some readers through a file in their own folder; returns whether it accepted them.
    pub read: fn(&[u8], &Path) -> bool,
    /// Bytes that it accepts.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All readers.
pub const ALL: &[Reader] = &[
    Reader { name: "checkpoint", read: read_checkpoint, seeds: || vec![state(PROGRESS)] },
    Reader { name: "config", read: read_config, seeds: configs },
    Reader { name: "evidence", read: read_evidence, seeds: || vec![EVIDENCE.into()] },
    Reader { name: "flags", read: read_flags, seeds: flags },
    Reader { name: "grammar", read: read_grammar, seeds: || vec![GRAMMAR.into()] },
    Reader { name: "hf_config", read: read_hf_config, seeds: || vec![HF_CONFIG.into()] },
    Reader { name: "hf_index", read: read_hf_index, seeds: || vec![HF_INDEX.into()] },
    Reader { name: "hf_model", read: read_hf_model, seeds: || HF_MODELS.map(Vec::from).to_vec() },
    Reader { name: "llmc_model", read: read_llmc_model, seeds: || LLMC_MODELS.map(Vec::from).to_vec() },
    Reader { name: "metrics", read: read_metrics, seeds: || vec![METRICS.into()] },
    Reader { name: "model", read: read_model, seeds: || vec![weights()] },
    Reader { name: "pickle", read: read_pickle, seeds: || PICKLES.map(Vec::from).to_vec() },
    Reader { name: "progress", read: read_progress, seeds: || vec![PROGRESS.into()] },
    Reader { name: "text", read: read_text, seeds: texts },
    Reader { name: "tokenizer", read: read_tokenizer, seeds: tokenizers },
    Reader { name: "tokens", read: read_tokens, seeds: tokens },
    Reader { name: "torch_model", read: read_torch_model, seeds: || TORCH_MODELS.map(Vec::from).to_vec() },
    Reader { name: "tune_cache", read: read_tune_cache, seeds: || vec![TUNED.into()] },
    Reader { name: "vocab_and_merges", read: read_vocab, seeds: || vec![VOCAB.into()] },
    Reader { name: "batches", read: read_batches, seeds: || vec![BATCHES.into(), PACKED_BATCHES.into()] },
];

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// A run's folder, valid except for what a reader puts there.
fn run(at: &Path) -> (RunDir, RunConfig) {
    if !at.join("checkpoints").exists() {
        fs::create_dir_all(at.join("checkpoints/00000007")).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
        put(&at.join("tokenizer.json"), Tokenizer::chars("abc").to_json().unwrap_or_default().as_bytes());
        put(&at.join("config.toml"), config().to_toml().as_bytes());
    }
    let (dir, config, _) = RunDir::open(at).unwrap_or_else(|e| panic!("{e}"));
    (dir, config)
}

/// A model of 244 parameters.
fn config() -> RunConfig {
    let mut config = RunConfig::preset("nano").unwrap_or_else(|e| panic!("{e}"));
    let model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 4, block_size: 4, vocab_size: 3, ..config.model };
    config.model = model;
    config.data.tokenizer = TokenizerSpec::Char;
    config
}

fn read_checkpoint(bytes: &[u8], at: &Path) -> bool {
    let (dir, config) = run(at);
    put(&checkpoint::folder(&dir, 7).join("state.safetensors"), bytes);
    checkpoint::find(&dir, &config.model).is_ok()
}

fn read_progress(bytes: &[u8], at: &Path) -> bool {
    read_checkpoint(&state(&String::from_utf8_lossy(bytes)), at)
}

fn read_model(bytes: &[u8], at: &Path) -> bool {
    let (dir, config) = run(at);
    put(&dir.path("model.safetensors"), bytes);
    Weights::best(&dir, &config.model).and_then(|mut weights| weights.read_all(&config.model)).is_ok()
}

fn read_metrics(bytes: &[u8], at: &Path) -> bool {
    let (dir, _) = run(at);
    put(&dir.path("metrics.jsonl"), bytes);
    dir.truncate_metrics(&checkpoint::Progress { step: 2, ..checkpoint::Progress::default() }).is_none()
}

fn read_evidence(bytes: &[u8], at: &Path) -> bool {
    put(&at.join("report.json"), bytes);
    Evidence::read(at).is_ok_and(|evidence| !evidence.to_string().is_empty())
}

fn read_batches(bytes: &[u8], at: &Path) -> bool {
    put(&at.join("batches.json"), bytes);
    let mut config = config();
    config.train.batch_size = 2;
    let evidence: Evidence = serde_json::from_str(EVIDENCE).unwrap_or_else(|e| panic!("{e}"));
    evidence.batches(at, &config).is_ok()
}

fn read_config(bytes: &[u8], _: &Path) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(preset) = RunConfig::preset("nano") else { return false };
    let mut is_taken = false;
    for config in [RunConfig::from_toml("config.toml", text), preset.overlaid("some.toml", text)] {
        let Ok(config) = config else { continue };
        if config.validate().is_ok() {
            is_taken = true;
            let _ = (config.schedule().at(0), config.schedule().at(config.train.steps - 1));
            let _ = (config.tokens_per_step(), config.eval_limit(), config.model.n_param());
            let _ = (config.data_options(), config.session().validate(), config.to_toml());
        }
    }
    is_taken
}

fn read_flags(bytes: &[u8], _: &Path) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let _ = text.parse::<DeviceSelector>();
    let spec = text.parse::<TokenizerSpec>().map(|spec| spec.to_string());
    memory::parse_bytes(text).is_ok() | spec.is_ok() | ModelConfig::preset(text).is_ok()
}

fn read_grammar(bytes: &[u8], _: &Path) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(grammar) = text.parse::<Grammar>() else { return false };
    let _ = (grammar.entropy(), grammar.rule_count());
    true
}

fn read_tune_cache(bytes: &[u8], at: &Path) -> bool {
    const DEVICE: &str = "a device";
    let path = Cache::of(at, DEVICE).path().to_path_buf();
    put(&path, bytes);
    let mut cache = Cache::of(at, DEVICE);
    let _ = cache.get("matmul 1 2 3", "00000000").map(|entry| entry.ms("matmul/cpu"));
    cache.take_warning().is_none()
}

/// Imports another program's model from a folder in which a reader changes one file.
fn import(at: &Path, files: &[(&str, &[u8])], model: &str) -> bool {
    let (from, to) = (at.join("model"), at.join("run"));
    fs::create_dir_all(&from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    files.iter().for_each(|(name, bytes)| put(&from.join(name), bytes));
    // a file alone doesn't contain the number of heads
    let n_head = match model.rsplit_once('.') {
        Some((_, "safetensors")) => Some(2),
        Some((_, "pt")) => Some(4),
        _ => None,
    };
    let options = ImportOptions { tokenizer: Some(TokenizerSpec::Byte), n_head, last: false };
    let is_taken = interop::import::import(&from.join(model), &to, &options).is_ok();
    assert!(is_taken == to.exists(), "a refused model leaves no run");
    let _ = fs::remove_dir_all(&to);
    is_taken
}

fn read_hf_config(bytes: &[u8], at: &Path) -> bool {
    import(at, &[("model.safetensors", HF_MODELS[0]), ("config.json", bytes)], "")
}

fn read_hf_index(bytes: &[u8], at: &Path) -> bool {
    let others = [("config.json", SHARDED_CONFIG), ("model.safetensors.index.json", bytes)];
    import(at, &[&HF_SHARDS[..], &others].concat(), "")
}

fn read_hf_model(bytes: &[u8], at: &Path) -> bool {
    import(at, &[("model.safetensors", bytes)], "model.safetensors")
}

fn read_llmc_model(bytes: &[u8], at: &Path) -> bool {
    import(at, &[("model.bin", bytes)], "model.bin")
}

fn read_torch_model(bytes: &[u8], at: &Path) -> bool {
    import(at, &[("model.pt", bytes)], "model.pt")
}

fn read_pickle(bytes: &[u8], _: &Path) -> bool {
    data::tokens::tokenizer_of_meta(bytes).is_ok()
}

fn read_tokens(bytes: &[u8], at: &Path) -> bool {
    let path = at.join("tokens.bin");
    put(&path, bytes);
    let Ok(set) = data::TokenSet::open(&[path], &[]) else { return false };
    let tokens = set.train();
    let all = tokens.get(0..tokens.len());
    assert_eq!(set.check(1 << 16).is_ok(), all.iter().all(|&id| id < 1 << 16));
    all.len() == tokens.len()
}

/// The vocabulary ends at the first zero byte; the merges follow.
fn read_vocab(bytes: &[u8], _: &Path) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (vocab, merges) = text.split_once('\0').unwrap_or((text, ""));
    let Ok(tokenizer) = Tokenizer::from_vocab_and_merges(vocab, merges) else { return false };
    let _ = tokenizer.encode("ab abc\u{e9}").map(|ids| tokenizer.decode(&ids));
    true
}

const FORMS: [&str; 6] = ["a.txt", "a.jsonl", "a.txt.gz", "a.txt.zst", "a.ndjson.gz", "a.jsonl.zst"];

/// The first byte selects the format of the other ones.
fn read_text(bytes: &[u8], at: &Path) -> bool {
    let Some((&kind, bytes)) = bytes.split_first() else { return false };
    let path = at.join(FORMS[usize::from(kind) % FORMS.len()]);
    put(&path, bytes);
    let Ok(corpus) = Source::from_paths(&[path]).lossily(kind >= 128).load() else { return false };
    let Some(text) = corpus.text() else { return false };
    let n = text.documents("\n").unwrap().iter().map(String::len).sum::<usize>();
    assert!(n as u64 <= text.n_byte() && text.read_all().unwrap().len() as u64 == text.n_byte());
    let _ = (text.n_replaced(), text.crc32());
    true
}

fn read_tokenizer(bytes: &[u8], _: &Path) -> bool {
    let Ok(json) = std::str::from_utf8(bytes) else { return false };
    let Ok(tokenizer) = Tokenizer::from_json(json) else { return false };
    let specials = tokenizer.clone().for_data(&data::Mode::lines(), true);
    for tokenizer in [tokenizer, specials] {
        let n = tokenizer.vocab_size() as u32;
        for text in ["", "abc <|endoftext|>ab", "Café\u{301}\u{0}\t\u{1f600}  1234567\r\n<s>don't"] {
            if let Ok(ids) = tokenizer.encode(text) {
                assert!(ids.iter().all(|&id| id < n), "an id beyond the vocabulary");
                let _ = tokenizer.decode(&ids);
            }
        }
        let ids = [0, 1, n / 2, n.saturating_sub(1), n, u32::MAX];
        let _ = (tokenizer.decode(&ids), tokenizer.byte_len(1), tokenizer.end_id());
        assert!(Tokenizer::from_json(&tokenizer.to_json().unwrap_or_default()).is_ok());
        let _ = tokenizer.to_hf_json();
    }
    true
}

fn texts() -> Vec<Vec<u8>> {
    let lines = "{\"text\":\"one\\ntwo\",\"more\":[1,{\"a\":null}]}\n\n{\"text\":\"\u{e9}\"}\n";
    let plain = "\u{feff}Some text.\nWith lines, caf\u{e9} and \u{1f600}.\n";
    let forms = FORMS.iter().enumerate().flat_map(|(kind, name)| {
        let inner = if name.contains("json") { lines } else { plain };
        let packed = match *name {
            _ if name.ends_with(".gz") => gz(inner.as_bytes()),
            _ if name.ends_with(".zst") => zst(inner.as_bytes()),
            _ => inner.into(),
        };
        let kind = kind as u8;
        [[vec![kind], packed.clone()].concat(), [vec![kind + 128 + 4], packed].concat()]
    });
    // zeros compress to almost nothing
    let bombs = [[vec![2], gz(&[0; 1 << 20])].concat(), [vec![3], zst(&[0; 1 << 20])].concat()];
    forms.chain(bombs).collect()
}

fn tokens() -> Vec<Vec<u8>> {
    let ids: Vec<u16> = (0..40).map(|i| i * i % 97).collect();
    let two: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let four: Vec<u8> = ids.iter().flat_map(|&id| u32::from(id).to_le_bytes()).collect();
    let n = ids.len() as u32;
    let [short, long] = [Width::Two, Width::Four].map(|width| Layout::header(width, n));
    let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (40,), }\n";
    let npy = [b"\x93NUMPY\x01\x00", &[header.len() as u8, 0][..], header.as_bytes(), &two].concat();
    vec![[short, two.clone()].concat(), [long, four].concat(), two, npy]
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let read =
        std::io::Read::read_to_end(&mut flate2::read::GzEncoder::new(bytes, flate2::Compression::best()), &mut out);
    read.unwrap_or_else(|e| panic!("{e}"));
    out
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn configs() -> Vec<Vec<u8>> {
    let mut documents = config();
    documents.data.mode = data::Mode::lines();
    documents.data.source = Source::Files { paths: vec!["/a/book.txt".into(), "-".into()], lossy: true };
    (documents.data.pack, documents.data.document_mask) = (Some(true), Some(false));
    let part = "[model]\nn_layer = 3\n[train]\nlr = 1e-3\nschedule = \"wsd\"\n[train.optimizer]\nbeta2 = 0.95\n";
    vec![config().to_toml().into(), documents.to_toml().into(), part.into()]
}

fn flags() -> Vec<Vec<u8>> {
    ["1500M", "1.5GiB", "800", "bpe:4096", "char", "./tokenizer.json", "gpt2-xl"].map(|text| text.into()).to_vec()
}

fn tokenizers() -> Vec<Vec<u8>> {
    let ours = ["cab", ""].map(Tokenizer::chars).into_iter().chain([Tokenizer::bytes(), Tokenizer::gpt2()]);
    let ours = ours.flat_map(|t| [t.clone(), t.for_documents()]).map(|t| t.to_json().unwrap_or_default());
    let learned = Tokenizer::train_bpe("the cat and the cat and a café\n", 280);
    let learned = learned.map(|t| t.to_hf_json()).unwrap_or_else(|e| panic!("{e}"));
    let chars = Tokenizer::chars("ab <|endoftx>").to_hf_json();
    let file = |normalizer: serde_json::Value,
                pre: serde_json::Value,
                post: serde_json::Value,
                decoder: serde_json::Value,
                model| {
        let unk = json!({
            "id": 0, "content": "<unk>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": true,
        });
        json!({
            "version": "1.0", "truncation": { "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0 },
            "padding": { "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>" },
            "added_tokens": [unk], "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": decoder,
            "model": model,
        })
        .to_string()
    };
    let vocab = json!({ "<unk>": 0, "a": 1, "b": 2, "##b": 3, "c": 4, "\u{2581}": 5, "\u{2581}a": 6, "<0x41>": 7 });
    let word_piece = file(
        json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true }),
        json!({ "type": "BertPreTokenizer" }),
        json!({ "type": "BertProcessing", "sep": ["b", 2], "cls": ["c", 4] }),
        json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
        json!({ "type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab }),
    );
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true });
    let unigram = file(
        json!({ "type": "Sequence", "normalizers": [
            { "type": "NFKC" }, { "type": "Lowercase" }, { "type": "Strip", "strip_left": true, "strip_right": true }, { "type": "StripAccents" },
            { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " }, { "type": "Prepend", "prepend": "a" }, { "type": "Nmt" },
        ] }),
        metaspace.clone(),
        json!({ "type": "TemplateProcessing", "single": [{ "Sequence": { "id": "A", "type_id": 0 } }], "pair": [], "special_tokens": {} }),
        metaspace,
        json!({ "type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": [["<unk>", 0.0], ["a", -1.5], ["b", -2.0], ["ab", -1.0], ["<0x41>", -9.0]] }),
    );
    let bpe = file(
        json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" }),
        json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": "\\p{N}{1,3}|(?i:'s|'t)|\\s+(?!\\S)" }, "behavior": "Isolated", "invert": false },
            { "type": "Digits", "individual_digits": true }, { "type": "Punctuation", "behavior": "Isolated" }, { "type": "WhitespaceSplit" },
            { "type": "CharDelimiterSplit", "delimiter": "x" }, { "type": "UnicodeScripts" }, { "type": "FixedLength", "length": 3 },
        ] }),
        json!({ "type": "Sequence", "processors": [{ "type": "RobertaProcessing", "sep": ["b", 2], "cls": ["c", 4], "trim_offsets": true, "add_prefix_space": true }] }),
        json!({ "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " }, { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 }, { "type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true },
            { "type": "BPEDecoder", "suffix": "</w>" },
        ] }),
        json!({ "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false, "vocab": { "<unk>": 0, "a": 1, "b": 2, "ab": 3, "<0x41>": 4 }, "merges": ["a b"] }),
    );
    ours.chain([learned, chars, word_piece, unigram, bpe]).map(String::into_bytes).collect()
}

/// A complete checkpoint of the run of [`config`], with the right checksum for any progress.
fn state(progress: &str) -> Vec<u8> {
    let params = config().model.param_shapes();
    let moments =
        params.iter().flat_map(|(name, dims)| ["moment1.", "moment2."].map(|m| (format!("{m}{name}"), dims.clone())));
    let all: Vec<_> = params.iter().cloned().chain(moments).chain([("corrections".to_string(), vec![4])]).collect();
    let meta = BTreeMap::from([("crc32_of", "metadata and tensors"), ("progress", progress)]);
    safetensors(&all, Some(meta))
}

fn weights() -> Vec<u8> {
    safetensors(&config().model.param_shapes(), None)
}

fn safetensors(tensors: &[(String, Vec<u64>)], checked: Option<BTreeMap<&str, &str>>) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), vec![]);
    for (name, dims) in tensors {
        let start = data.len();
        for i in 0..dims.iter().product::<u64>() {
            data.extend((i as f32 / 64.0).to_le_bytes());
        }
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": dims, "data_offsets": [start, data.len()] }));
    }
    if let Some(meta) = checked {
        let mut crc = crc32fast::Hasher::new();
        meta.iter().for_each(|(key, value)| {
            crc.update(key.as_bytes());
            crc.update(value.as_bytes());
        });
        crc.update(&data);
        let mut meta: BTreeMap<String, String> =
            meta.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        meta.insert("crc32".into(), format!("{:08x}", crc.finalize()));
        header.insert("__metadata__".into(), json!(meta));
    }
    let header = serde_json::Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

const PROGRESS: &str = r#"{"step":7,"best":[2.5,6],"elapsed_s":1.25,"tokens":336,"spikes":{"loss":{"n":7,"mean":2.5,"variance":0.25},"grad_norm":{"n":7,"mean":1.0,"variance":0.5}},"shift":3,"rolled_back":[5,1],"tuned":{"matmul 1 2 3":"matmul_tiled/small"},"kernels":["gelu_forward/cpu"],"device":"a device"}"#;
const BATCHES: &str = r#"[{"b":2,"t":4,"tokens":[0,1,2,0,1,2,0,1],"targets":[1,2,0,1,2,0,1,4294967295],"firsts":[]}]"#;
const PACKED_BATCHES: &str =
    r#"[{"b":2,"t":4,"tokens":[0,1,2,0,1,2,0,1],"targets":[1,2,0,1,2,0,1,2],"firsts":[0,0,2,2,0,1,1,1]}]"#;
const EVIDENCE: &str = r#"{"step":3,"params_after":2,"first":{"micro_batch":0,"label":"h.0.ln_1","op":"layernorm","tensor":"h.0.ln_1.out","count":1,"of":64,"largest_finite":3.5},"gradient_norms":[["wte",1.5],["h.0",null]],"replay":"tril replay run/nonfinite/step-00000003"}"#;
const METRICS: &str = "{\"step\":1,\"loss\":4.25,\"lr\":0.001}\n{\"step\":2,\"loss\":4.0}\n{\"step\":2,\"val_loss\":3.9}\n{\"step\":3,\"loss\":null}\n";
const TUNED: &str = r#"{"device":"a device","entries":{"matmul 1 2 3":{"checksum":"00000000","usual":"matmul/cpu","pick":"matmul/cpu","gflop":0.5,"laps":[{"candidate":"matmul/cpu","ms":1.5,"compile_ms":2.0,"failed":null}]}}}"#;
const GRAMMAR: &str = "# greetings\nstart:\n  3 | {greet:\"Mila\",\"she\"}\n  1 | {greet:\"Otto\",\"he\"}\ngreet(name, they):\n  1 | Hello, {name}! {^they} waves {how}.\\n\nhow:\n  2 | slowly\n  1 | with both hands\n";
const VOCAB: &str = "{\"<|endoftext|>\":0,\"a\":1,\"b\":2,\"ab\":3,\"\u{120}\":4}\0#version: 0.2\na b\n";

/// Files written by the other programs.
macro_rules! models {
    ($path:literal) => {
        include_bytes!(concat!("../../assets/interop/models/", $path))
    };
}

const HF_CONFIG: &[u8] = models!("hf_f32/config.json");
const SHARDED_CONFIG: &[u8] = models!("hf_bf16_sharded/config.json");
const HF_MODELS: [&[u8]; 2] = [models!("hf_f32/model.safetensors"), models!("hf_old_f16/model.safetensors")];
const HF_INDEX: &[u8] = models!("hf_bf16_sharded/model.safetensors.index.json");
const HF_SHARDS: [(&str, &[u8]); 3] = [
    ("model-00001-of-00003.safetensors", models!("hf_bf16_sharded/model-00001-of-00003.safetensors")),
    ("model-00002-of-00003.safetensors", models!("hf_bf16_sharded/model-00002-of-00003.safetensors")),
    ("model-00003-of-00003.safetensors", models!("hf_bf16_sharded/model-00003-of-00003.safetensors")),
];
const LLMC_MODELS: [&[u8]; 2] = [models!("llmc_f32.bin"), models!("llmc_bf16.bin")];
const TORCH_MODELS: [&[u8]; 2] = [models!("torch_views.pt"), models!("torch_old/pytorch_model.bin")];
const PICKLES: [&[u8]; 9] = [
    include_bytes!("../../assets/tokens/meta0.pkl"),
    include_bytes!("../../assets/tokens/meta1.pkl"),
    include_bytes!("../../assets/tokens/numpy0.pkl"),
    include_bytes!("../../assets/tokens/numpy2.pkl"),
    include_bytes!("../../assets/tokens/numpy4.pkl"),
    include_bytes!("../../assets/tokens/meta2.pkl"),
    include_bytes!("../../assets/tokens/meta3.pkl"),
    include_bytes!("../../assets/tokens/meta4.pkl"),
    include_bytes!("../../assets/tokens/meta5.pkl"),
];
