//! Imports of other programs' models.

mod names;
mod torch;
mod wide;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tril::data::Batch;
use tril::data::{Tokenizer, TokenizerSpec};
use tril::doctor::interpret;
use tril::interop::export::{Model, Target, export};
use tril::interop::import::{ImportOptions, import};
use tril::reference::IGNORE;
use tril::reference::compare::{Tolerance, compare_f64};
use tril::run::{RunDir, Weights, checkpoint};

use crate::common::foreign::{MODELS, folder, imported, logits};
use crate::reference::manifest;

/// Models whose output projection isn't the token embedding.
const HEADS: [&str; 2] = ["hf_untied", "torch_views"];

/// All files of a run.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name().into_string().unwrap());
        if path.is_dir() {
            all.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            all.insert(name, fs::read(path).unwrap());
        }
    }
    all
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

#[test]
fn the_models_are_those_that_the_script_made() {
    let assets = folder().parent().unwrap().to_path_buf();
    let listed = manifest::check(&assets, "make_models.py");
    let there = files(&folder()).into_keys().map(|name| format!("models/{name}"));
    let there: BTreeSet<String> = there.chain(["make_models.py".to_string()]).collect();
    assert_eq!(listed, there, "MANIFEST on the left, the folder on the right");
}

/// The reference computes in f64 with the imported weights, and so did transformers, whose logits were rounded to f32.
#[test]
fn imported_weights_give_the_logits_of_transformers() {
    let (golden, dir) = (logits(), tempfile::tempdir().unwrap());
    for (name, path, bytes) in MODELS {
        let model = imported(path, bytes, &dir.path().join(name));
        let m = &model.config.model;
        let weights = Weights::best(&model.dir, m).unwrap().read_all(m).unwrap();
        let params = weights.into_iter().map(|(name, w)| (name, w.into_iter().map(f64::from).collect())).collect();
        let tokens = golden.u32(&format!("{name}.tokens"));
        let (b, t) = (1, tokens.len());
        let batch = Batch { tokens, targets: vec![IGNORE; t], firsts: vec![], b, t };
        let got = interpret(m, &params, &batch).unwrap().logits;
        let want = golden.f64(&format!("{name}.logits"));
        compare_f64(&got, &want, Tolerance::ulps(1.0)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(m.tied, !HEADS.contains(&name), "{name}");
    }
}

#[test]
fn an_import_is_a_whole_run_of_the_same_bytes_each_time() {
    let dir = tempfile::tempdir().unwrap();
    for (name, path, bytes) in MODELS {
        let runs = [1, 2].map(|i| dir.path().join(format!("{name}{i}")));
        runs.iter().for_each(|run| drop(imported(path, bytes, run)));
        let first = files(&runs[0]);
        assert_eq!(first, files(&runs[1]), "{name}");
        let names: Vec<&str> = first.keys().map(String::as_str).collect();
        let expected = [
            ".lock",
            "checkpoints/00000000/state.safetensors",
            "checkpoints/00000000/tokenizer.json",
            "config.toml",
            "metrics.jsonl",
            "model.safetensors",
            "tokenizer.json",
        ];
        assert_eq!(names, expected, "{name}");
        let (run, config, _) = RunDir::open(&runs[0]).unwrap();
        let found = checkpoint::find(&run, &config.model).unwrap();
        assert_eq!((found.progress.step, found.passed_over.len()), (0, 0), "{name}");
    }
}

#[test]
fn the_weights_alone_make_the_same_model_once_the_heads_are_given() {
    let dir = tempfile::tempdir().unwrap();
    for (name, n_head) in [("hf_f32", 2), ("hf_untied", 1)] {
        let alone = dir.path().join(name);
        fs::create_dir(&alone).unwrap();
        let file = alone.join("model.safetensors");
        fs::copy(folder().join(name).join("model.safetensors"), &file).unwrap();
        let options = ImportOptions { n_head: Some(n_head), ..crate::common::foreign::options(true) };
        let model = import(&file, &dir.path().join(format!("{name}_run")), &options).unwrap();
        let whole = imported(name, true, &dir.path().join(format!("{name}_whole")));
        assert_eq!(model.config.model, whole.config.model);
        assert_eq!(model.notes.len(), usize::from(name == "hf_untied"), "{:?}", model.notes);
        assert_eq!(files(model.dir.root())["model.safetensors"], files(whole.dir.root())["model.safetensors"]);
    }
}

/// A model that was exported and imported again.
#[test]
fn exports_of_imports_come_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for (name, path, bytes) in MODELS {
        let at = |part: &str| dir.path().join(format!("{name}_{part}"));
        if !imported(path, bytes, &at("first")).config.model.bias {
            // the formats have biases, so a re-imported model has them, too
            continue;
        }
        for (target, back) in [(Target::Hf, at("Hf")), (Target::Llmc, at("Llmc").join("model.bin"))] {
            let (run, config, tokenizer) = RunDir::open(&at("first")).unwrap();
            let weights = Weights::best(&run, &config.model).unwrap();
            let mut model = Model { config: config.model.clone(), tokenizer, weights };
            let exported = export(&mut model, target, &at(&format!("{target:?}")));
            assert_eq!(exported.is_ok(), !HEADS.contains(&name) || target == Target::Hf, "{name} {target:?}");
            if exported.is_err() {
                continue;
            }
            // llm.c stores neither this kind of tokenizer nor the dropout
            let json = Some(TokenizerSpec::File(at("first").join("tokenizer.json")));
            let options = if target == Target::Hf {
                ImportOptions::default()
            } else {
                ImportOptions { tokenizer: json, ..ImportOptions::default() }
            };
            let second = at(&format!("{target:?}_again"));
            import(&back, &second, &options).unwrap_or_else(|e| panic!("{name} {target:?}: {e}"));
            let (mut before, mut after) = (files(&at("first")), files(&second));
            if target == Target::Llmc {
                assert!(before.remove("config.toml").is_some() && after.remove("config.toml").is_some());
            }
            let differing = |name: &&String| before.get(*name) != after.get(*name);
            assert_eq!(before.keys().chain(after.keys()).find(differing), None, "{name} {target:?}");
        }
    }
}

#[test]
fn weights_of_a_tril_run_record_their_heads() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    imported("hf_f32", false, &first);
    import(&first.join("model.safetensors"), &second, &ImportOptions::default()).unwrap();
    assert_eq!(files(&first), files(&second));
    let other = ImportOptions { n_head: Some(4), ..ImportOptions::default() };
    let error = import(&first.join("model.safetensors"), &dir.path().join("third"), &other).unwrap_err();
    assert!(error.to_string().contains("2 heads, not --n-head 4"), "{error}");
}

#[test]
fn a_run_of_trils_without_biases_comes_in_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain.safetensors");
    wrong::without(&folder().join("hf_f32/model.safetensors"), &plain, |name| name.ends_with(".bias"));
    let options = ImportOptions { n_head: Some(2), ..crate::common::foreign::options(true) };
    let model = import(&plain, &dir.path().join("run"), &options).unwrap();
    assert!(!model.config.model.bias && model.config.model.tied);
}

#[test]
fn a_tokenizer_of_two_files_is_that_of_one() {
    let dir = tempfile::tempdir().unwrap();
    imported("hf_old_f16", false, &dir.path().join("old"));
    let two = RunDir::open(&dir.path().join("old")).unwrap().2;
    let one = Tokenizer::from_json(&fs::read_to_string(folder().join("hf_f32/tokenizer.json")).unwrap()).unwrap();
    let text = "the hands in the sand <|endoftext|> on an \u{e9}\u{1f600}\n\n";
    let ids = two.encode(text).unwrap();
    assert_eq!((&ids, two.vocab_size(), two.end_of_text()), (&one.encode(text).unwrap(), 266, Some(265)));
    assert!(ids.len() < text.len() && two.decode(&ids) == text);
}

#[test]
fn gpt2s_tokenizer_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(&folder().join("hf_f32"), &model);
    // the vocabulary has room for it once it has that many rows
    wrong::grow_vocabulary(&model, 50_257);
    let run = |name: &str| {
        let path = dir.path().join(name);
        import(&model, &path, &ImportOptions::default()).unwrap();
        files(&path)
    };
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    let by_size = run("by_size");
    fs::write(model.join("tokenizer.json"), Tokenizer::gpt2().to_hf_json()).unwrap();
    assert_eq!(by_size, run("from_file"));
    assert_eq!(RunDir::open(&dir.path().join("by_size")).unwrap().2, Tokenizer::gpt2());
}

#[test]
fn padding_ids_have_no_text_and_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    imported("hf_f32", false, &dir.path().join("run"));
    let (_, config, tokenizer) = RunDir::open(&dir.path().join("run")).unwrap();
    assert_eq!((config.model.vocab_size, tokenizer.vocab_size()), (272, 266));
    assert_eq!(tokenizer.decode(&[72, 270, 73]).chars().filter(|&c| c == '\u{fffd}').count(), 1);
}

#[test]
fn nothing_is_left_of_an_import_that_fails_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (model, run) = (dir.path().join("model"), dir.path().join("run"));
    copy(&folder().join("hf_f32"), &model);
    // the last tensor to be read
    wrong::set_first(&model.join("model.safetensors"), "transformer.ln_f.bias", f32::NAN);
    assert!(import(&model, &run, &ImportOptions::default()).is_err());
    assert!(!run.exists());

    imported("hf_f32", false, &run);
    let before = files(&run);
    let error = import(&folder().join("hf_untied"), &run, &crate::common::foreign::options(true)).unwrap_err();
    assert!(error.to_string().contains("already holds a run"), "{error}");
    assert_eq!(files(&run), before);
}

#[test]
fn an_import_that_was_killed_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    imported("hf_f32", false, &run);
    let whole = files(&run);
    let checkpoints = run.join("checkpoints");
    // the state before each of the two renames
    fs::rename(checkpoints.join("00000000"), checkpoints.join("00000000.part")).unwrap();
    assert!(RunDir::never_started(&run));
    imported("hf_f32", false, &run);
    assert_eq!(files(&run), whole);
    fs::rename(checkpoints.join("00000000"), checkpoints.join("00000000.part")).unwrap();
    fs::rename(run.join("model.safetensors"), run.join("model.safetensors.part")).unwrap();
    imported("hf_f32", false, &run);
    assert_eq!(files(&run), whole);
    // weights without any sign of an import may belong to somebody
    fs::remove_dir_all(&checkpoints).unwrap();
    assert!(!RunDir::never_started(&run));
}
