//! Models of other programs on the device: the results of transformers, and training them further.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use safetensors::SafeTensors;
use tril::generate::{LoadedModel, logits};
use tril::reference::compare::{Tolerance, canary, compare};
use tril::run::Weights;

use crate::cli::{bytes, command, fails, misused, ok, states, text};
use crate::common::foreign::{MODELS, folder, imported, logits as golden_logits};
use crate::gpu;

#[test]
fn logits_are_those_of_transformers() {
    let (golden, dir) = (golden_logits(), tempfile::tempdir().unwrap());
    // as for tests/gpu/model.rs: values of order 1 after some 30 roundings, and exp's error on the coarsest device
    let tolerance = Tolerance { abs: 4e-6, rel: 4e-5 };
    for (name, path, bytes) in MODELS {
        let model = imported(path, bytes, &dir.path().join(name));
        let weights = Weights::best(&model.dir, &model.config.model).unwrap().read_all(&model.config.model).unwrap();
        let loaded = LoadedModel::new(&gpu(), &model.config.model, &weights).unwrap();
        let got = logits(loaded.program(), &model.config.model, &golden.u32(&format!("{name}.tokens"))).unwrap();
        let want = golden.f64(&format!("{name}.logits"));
        compare(&got, &want, tolerance).unwrap_or_else(|e| panic!("{name}: {e}"));
        canary(&got, &want, tolerance).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

fn import(dir: &Path, model: &str, run: &str) -> String {
    ok(dir, &["import", &folder().join(model).display().to_string(), "--out", run])
}

#[test]
fn an_imported_run_generates_evaluates_and_tells_its_logits() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let out = import(at, "hf_f32", "run");
    assert!(out.contains("tril generate run") && out.contains("266 ids"), "{out}");
    // 16 tokens a block, so that the window slides, and six ids of 272 without a text
    let said = ok(at, &["generate", "run", "--prompt", "the", "--tokens", "300", "--temperature", "2"]);
    assert!(said.starts_with("the") && said.chars().count() > 200, "{said}");

    let path = text(at);
    assert!(fails(at, &["eval", "run"]).contains("give a PATH"));
    let eval: serde_json::Value = serde_json::from_str(&ok(at, &["eval", "run", &path, "--json"])).unwrap();
    assert!(eval["loss"].as_f64().unwrap() > 3.0, "{eval}");

    ok(at, &["logits", "run", "--prompt", "the", "--out", "one.safetensors"]);
    ok(at, &["logits", "run", "--tokens", "257,101,0", "--out", "many.safetensors"]);
    let file = fs::read(at.join("many.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(tensors.tensor("logits").unwrap().shape(), [3, 272]);
    assert_eq!(tensors.tensor("tokens").unwrap().data()[..8], 257u64.to_le_bytes());
    assert!(misused(at, &["logits", "run", "--tokens", "272", "--out", "x"]).contains("id 272 is out of range"));
    let many = vec!["1"; 17].join(",");
    assert!(
        misused(at, &["logits", "run", "--tokens", &many, "--out", "x"])
            .contains("17 tokens, but the model takes 1 to 16")
    );
}

const FEW: [&str; 12] = [
    "--steps",
    "12",
    "--batch-size",
    "2",
    "--lr",
    "1e-3",
    "--warmup-steps",
    "2",
    "--eval-windows",
    "8",
    "--sample-every",
    "0",
];

fn fine_tune(dir: &Path, text: &str, run: &str, more: &[&str]) -> String {
    ok(dir, &[&["train", text, "--resume", run][..], &FEW, more].concat())
}

#[test]
fn fine_tuning_begins_with_the_models_weights_and_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    for run in ["whole", "stopped"] {
        import(at, "hf_bf16_sharded", run);
    }
    let output = command()
        .args(
            [&["train", &path, "--resume", "whole"][..], &FEW, &["--checkpoint-every", "4", "--dropout", "0.1"]]
                .concat(),
        )
        .current_dir(at)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("warning"), "{said}");
    let metrics = fs::read_to_string(at.join("whole/metrics.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(metrics.lines().nth(1).unwrap()).unwrap();
    let eval: serde_json::Value = {
        import(at, "hf_bf16_sharded", "fresh");
        serde_json::from_str(&ok(at, &["eval", "fresh", &path, "--json"])).unwrap()
    };
    let start: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert!(start["step"] == 0 && start["val_loss"].as_f64().unwrap() > 3.0, "{start}");
    // far above the 5.6 of a model that knows nothing; a batch of 32 targets is within 1 of the whole text
    let (first, whole) = (first["loss"].as_f64().unwrap(), eval["loss"].as_f64().unwrap());
    assert!((first - whole).abs() < 1.0, "the first step's loss is {first}, the text's {whole}");

    // ends after 8 of 12 steps, and the rest follows
    fine_tune(at, &path, "stopped", &["--checkpoint-every", "4", "--dropout", "0.1"]);
    fs::remove_dir_all(at.join("stopped/checkpoints/00000012")).unwrap();
    assert_eq!(states(&at.join("stopped")).len(), 1);
    let out = ok(at, &["train", "--resume", "stopped"]);
    assert!(out.contains("resumes at step 8"), "{out}");
    assert!(bytes(&at.join("whole")) == bytes(&at.join("stopped")));
    assert!(misused(at, &["train", "--resume", "whole", "--lr", "1"]).contains("--lr is "));
}

#[test]
fn fine_tuning_stopped_before_its_first_step_begins_again_with_other_settings() {
    let dir = tempfile::tempdir().unwrap();
    let (at, path) = (dir.path(), text(dir.path()));
    import(at, "hf_f32", "run");
    let settings = || fs::read_to_string(at.join("run/config.toml")).unwrap();
    let never =
        ["train", &path, "--resume", "run", "--steps", "1000000", "--checkpoint-every", "0", "--lr", "1", "--no-tune"];
    let mut child = command().args(never).current_dir(at).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !settings().contains("lr = 1.0") {
        assert!(child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let few = ["--steps", "2", "--lr", "0.25", "--no-tune"];
    assert!(misused(at, &[&["train", "--resume", "run"][..], &few].concat()).contains("--lr is 1.0"));
    ok(at, &[&["train", &path, "--resume", "run"][..], &few].concat());
    assert!(settings().contains("lr = 0.25"), "{}", settings());
    // from then on they are fixed
    assert!(misused(at, &["train", &path, "--resume", "run", "--lr", "0.5"]).contains("--lr is 0.25"));
}

#[test]
fn rows_may_be_shorter_than_the_models_block_and_documents_end_with_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    import(at, "hf_old_f16", "short");
    let before = fs::read(at.join("short/model.safetensors")).unwrap();
    fine_tune(at, &path, "short", &["--block-size", "8", "--weight-decay", "0", "--val-fraction", "0"]);
    let after = fs::read(at.join("short/model.safetensors")).unwrap();
    let rows = |file: &[u8]| {
        let tensors = SafeTensors::deserialize(file).unwrap();
        let wpe = tensors.tensor("wpe.weight").unwrap();
        assert_eq!(wpe.shape(), [16, 18]);
        (wpe.data()[..8 * 18 * 4].to_vec(), wpe.data()[8 * 18 * 4..].to_vec())
    };
    let ((seen, unseen), (seen_after, unseen_after)) = (rows(&before), rows(&after));
    assert!(seen != seen_after && unseen == unseen_after, "positions that no row has are not trained");
    let config = fs::read_to_string(at.join("short/config.toml")).unwrap();
    assert!(config.contains("block_size = 16") && config.contains("row_size = 8"), "{config}");
    ok(at, &["train", "--resume", "short", "--steps", "13"]);
    ok(at, &["eval", "short", &path]);

    import(at, "hf_old_f16", "documents");
    let out = fine_tune(at, &path, "documents", &["--mode", "documents"]);
    assert!(out.contains("documents in") && out.contains("attention stays within a document"), "{out}");
    let said = ok(at, &["generate", "documents", "--tokens", "40"]);
    assert!(!said.contains("<|endoftext|>"), "{said}");
}

#[test]
fn an_imported_run_reports_what_it_needs_and_keeps_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    import(at, "hf_f32", "run");
    ok(at, &["import", &folder().join("llmc_f32.bin").display().to_string(), "--out", "bytes", "--tokenizer", "byte"]);
    let before = bytes(&at.join("run"));
    let cases: [(&[&str], &str); 8] = [
        (&["--resume", "run"], "tril train TEXT --resume run"),
        (&[&path, "--resume", "run", "--n-layer", "3"], "only --dropout and a smaller --block-size"),
        (&[&path, "--resume", "run", "--tied", "false"], "only --dropout and a smaller --block-size"),
        (&[&path, "--resume", "run", "--block-size", "32"], "has only 16 positions"),
        (&[&path, "--resume", "run", "--block-size", "0"], "--block-size is 0"),
        (&[&path, "--resume", "run", "--tokenizer", "byte"], "keeps its tokenizer"),
        (&[&path, "--resume", "bytes", "--mode", "documents"], "use --mode stream"),
        (&[&path, "--resume", "bytes", "--special-tokens"], "--special-tokens is for byte-pair encodings"),
    ];
    for (args, words) in cases {
        let error = misused(at, &[&["train"][..], args].concat());
        assert!(error.contains(words), "{args:?}: {error}");
    }
    assert!(bytes(&at.join("run")) == before);
    let error = fails(at, &["import", &folder().join("hf_f32").display().to_string(), "--out", "run"]);
    assert!(error.contains("run already holds a run"), "{error}");
}

#[test]
fn token_files_of_another_tokenizer_are_refused_and_those_of_its_own_train() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    import(at, "hf_bf16_sharded", "run");
    let own = at.join("run/tokenizer.json").display().to_string();
    let set = |out: &str, tokenizer: &str| ok(at, &["tokenize", &path, "--out", out, "--tokenizer", tokenizer]);
    set("other", "byte");
    set("own", &own);
    let error = fails(at, &[&["train", "other", "--resume", "run"][..], &FEW].concat());
    assert!(error.contains("is not the run's tokenizer"), "{error}");
    fine_tune(at, "own", "run", &[]);
}

fn weights(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[data..].to_vec()
}

#[test]
fn a_model_that_training_makes_worse_stays_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    import(at, "hf_f32", "run");
    let model = weights(&at.join("run/model.safetensors"));
    let wild = ["--steps", "12", "--lr", "3", "--schedule", "constant", "--keep", "1", "--eval-windows", "8"];
    let out = ok(at, &[&["train", &path, "--resume", "run"][..], &wild].concat());
    let best = out.lines().find(|line| line.starts_with("best validation loss")).unwrap();
    assert!(out.contains("step 0: validation loss") && best.contains("at step 0"), "{out}");
    assert!(weights(&at.join("run/model.safetensors")) == model);
    assert!(weights(&states(&at.join("run")).pop().unwrap())[..model.len()] != model);
    for words in ["no step improved on the imported model", "--lr 3e-1", "tril generate run --last"] {
        assert!(out.contains(words), "{words}: {out}");
    }

    let told = |args: &[&str]| {
        let output = command().args(args).current_dir(at).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (out, err.contains("--last uses the checkpoint of step 12"))
    };
    let commands: [&[&str]; 4] = [
        &["generate", "run", "--tokens", "40", "--temperature", "0"],
        &["eval", "run", "--json"],
        &["logits", "run", "--tokens", "1,2,3", "--out", "logits.safetensors"],
        &["export", "run", "--to", "hf", "--out"],
    ];
    for (i, args) in commands.into_iter().enumerate() {
        let [best, last] = [&[][..], &["--last"]].map(|flag| {
            let _ = fs::remove_file(at.join("logits.safetensors"));
            let folder = format!("{i}{}", flag.len());
            let folder: &[&str] = if args[0] == "export" { &[&folder] } else { &[] };
            let said = told(&[args, folder, flag].concat());
            (said, fs::read(at.join("logits.safetensors")).unwrap_or_default())
        });
        assert!(best.0.1 && !last.0.1, "{args:?}");
        assert!((&best.0.0, best.1) != (&last.0.0, last.1), "{args:?} {}", best.0.0);
    }
}

#[test]
fn a_model_that_training_improves_is_not_reported_as_the_imported_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    import(at, "hf_f32", "run");
    let output = command().args(["generate", "run", "--tokens", "3"]).current_dir(at).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("note:"), "{output:?}");
    let out = fine_tune(at, &path, "run", &[]);
    assert!(!out.contains("imported model") && out.ends_with("tril generate run\n"), "{out}");
    let output = command().args(["generate", "run", "--tokens", "3"]).current_dir(at).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("note:"), "{output:?}");
}

#[test]
fn a_new_run_starts_with_the_weights_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    import(at, "hf_f32", "run");
    fine_tune(at, &path, "run", &["--keep", "1"]);
    // what it was begun with, it keeps; another one is begun with its weights
    let error = misused(at, &["train", "--resume", "run", "--lr", "1"]);
    assert!(error.contains("tril import run --out NEW"), "{error}");
    ok(at, &["import", "run", "--out", "best"]);
    let said = ok(at, &["import", "run", "--last", "--out", "last"]);
    assert!(said.contains("the checkpoint of step 12") && said.contains("a tril run"), "{said}");
    let model = weights(&at.join("run/model.safetensors"));
    assert!(weights(&at.join("best/model.safetensors")) == model);
    let state = weights(&states(&at.join("run")).pop().unwrap());
    assert!(weights(&at.join("last/model.safetensors"))[..] == state[..model.len()]);
    for new in ["best", "last"] {
        assert!(
            fs::read(at.join(new).join("tokenizer.json")).unwrap() == fs::read(at.join("run/tokenizer.json")).unwrap()
        );
        fine_tune(at, &path, new, &[]);
    }
    for (args, words) in [
        (&["import", "run", "--out", "best"][..], "best already holds a run"),
        (&["import", "run", "--out", "x", "--tokenizer", "byte"], "keeps its tokenizer"),
        (&["import", "run", "--out", "x", "--n-head", "2"], "keeps its tokenizer and heads"),
        (&["import", &folder().join("hf_f32").display().to_string(), "--out", "x", "--last"], "not a tril run"),
    ] {
        let error = fails(at, args);
        assert!(error.contains(words), "{args:?}: {error}");
    }
    assert!(!at.join("x").exists());
}

#[test]
fn a_new_run_from_a_run_on_documents_keeps_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    crate::cli::train(at, &path, &["--mode", "documents", "--steps", "3", "--no-tune", "--out", "run"]);
    ok(at, &["import", "run", "--out", "new"]);
    let out = fine_tune(at, &path, "new", &[]);
    assert!(out.contains("documents in"), "{out}");
    let config = fs::read_to_string(at.join("new/config.toml")).unwrap();
    assert!(config.contains("lr = 0.001") && config.contains("crc32"), "{config}");
}
