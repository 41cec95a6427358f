//! Which model is kept as the best if it can't be saved for a while, or is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tril::data::{Corpus, Text, Tokenizer};
use tril::kernel::Choice;
use tril::run::{RunClaim, RunConfig, ScheduleKind};
use tril::train::{Event, Repaired, Run, Summary};

use crate::cli::{bytes, fails, ok, states, text, train, tril};
use crate::common::foreign::folder;
use crate::gpu;

/// Steps between evaluations and checkpoints.
const EVERY: u64 = 10;

/// A small model whose learning rate grows until it does harm.
#[rustfmt::skip]
const WILD: [&str; 22] = [
    "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16", "--batch-size", "2", "--steps", "80",
    "--lr", "1", "--warmup-steps", "80", "--schedule", "constant", "--eval-windows", "8", "--sample-every", "0",
];

/// The events of a run whose model can't be saved from its first step until the evaluation of `until`.
struct Seen {
    /// Step, loss, and whether it was reported as the best so far.
    evals: Vec<(u64, f64, bool)>,
    /// The step, and the repair.
    repaired: Vec<(u64, Repaired)>,
    summary: Summary,
}

fn run(root: &Path, keep: u64, until: u64) -> Seen {
    let content: String = (0..200).map(|i| format!("line {i} says {}\n", (i * i) % 97)).collect();
    let tokenizer = Tokenizer::chars(&content);
    let mut config = RunConfig::preset("nano").unwrap();
    (config.model.n_layer, config.model.n_head, config.model.n_embd, config.model.block_size) = (1, 2, 16, 16);
    config.model.vocab_size = tokenizer.vocab_size() as u64;
    let train = &mut config.train;
    (train.steps, train.batch_size, train.eval_windows, train.sample_every) = (80, 2, 8, 0);
    (train.eval_every, train.checkpoint_every, train.keep) = (EVERY, EVERY, keep);
    (train.lr, train.min_lr, train.warmup_steps, train.schedule) = (1.0, 1.0, 80, ScheduleKind::Constant);
    let corpus = Corpus::Text(Text::new(content));
    config.data.crc32 = corpus.crc32();
    let claim = RunClaim::take(root).unwrap();
    let mut run = Run::create(&gpu(), &claim, config, &corpus, tokenizer, &Choice::default()).unwrap();
    let obstacle = root.join("model.safetensors.part");
    let (mut evals, mut repaired) = (vec![], vec![]);
    let summary = run.train(&AtomicBool::new(false), |event| match event {
        Event::Step { result, .. } if result.step == 1 && until > 0 => fs::create_dir(&obstacle).unwrap(),
        Event::Eval { step, loss, best, .. } => {
            evals.push((*step, *loss, *best));
            if *step == until {
                fs::remove_dir(&obstacle).unwrap();
            }
        }
        Event::Repaired { step, repaired: what } => repaired.push((*step, what.clone())),
        _ => {}
    });
    Seen { evals, repaired, summary: summary.unwrap() }
}

/// Step and loss of the best evaluation.
fn best(seen: &Seen) -> (u64, f64) {
    let least = seen.evals.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    (least.0, least.1)
}

fn model(root: &Path) -> Vec<u8> {
    fs::read(root.join("model.safetensors")).unwrap()
}

/// The step recorded in a file of weights.
fn step(root: &Path) -> u64 {
    let bytes = model(root);
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    header["__metadata__"]["step"].as_str().unwrap().parse().unwrap()
}

fn tensors(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).unwrap();
    bytes[8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize..].to_vec()
}

#[test]
fn the_best_model_is_saved_as_soon_as_it_can_be_and_no_worse_one_is_called_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let whole = run(&at("whole"), 100, 0);
    let (least, loss) = best(&whole);
    assert!(least + 3 * EVERY <= 80 && whole.repaired.is_empty(), "the case is meant to get worse: {:?}", whole.evals);

    // from its checkpoint, although there are later ones
    let late = run(&at("late"), 100, least + EVERY);
    assert_eq!(late.evals, whole.evals);
    assert_eq!(late.repaired, [(least + EVERY, Repaired { of: least, loss: Some(loss), lost: None })]);
    assert!(model(&at("late")) == model(&at("whole")));
    assert_eq!(late.summary, whole.summary);

    // its checkpoint has been deleted by then
    let lost = run(&at("lost"), 1, least + 2 * EVERY);
    assert_eq!(lost.evals, whole.evals);
    let mut least_so_far = f64::INFINITY;
    for &(step, loss, is_best) in &lost.evals {
        assert_eq!(is_best, loss < least_so_far, "{step}");
        least_so_far = least_so_far.min(loss);
    }
    let (when, first) = lost.repaired[0].clone();
    assert_eq!((when, first.lost), (least + 2 * EVERY, Some((loss, least))));
    let (_, last) = lost.repaired.last().unwrap();
    let of = lost.evals.iter().find(|&&(step, ..)| step == last.of).unwrap();
    assert_eq!((step(&at("lost")), last.loss), (last.of, Some(of.1)));
    assert_eq!((lost.summary.best, lost.summary.saved), (Some((loss, least)), Some((of.1, of.0))));
    // the best of what was at hand: the checkpoint of the evaluation before, that one, and what came then
    let at_hand = lost.evals.iter().filter(|&&(step, ..)| step > least).map(|&(_, loss, _)| loss);
    assert_eq!(at_hand.fold(f64::INFINITY, f64::min), of.1);
}

/// The output of a resume, which must succeed.
fn resume(at: &Path, args: &[&str]) -> String {
    let output = tril(at, &[&["train", "--resume", "run"][..], args].concat());
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    err
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap().path()) {
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/{step:08}"))
}

fn metrics(run: &Path) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| Some((line["step"].as_u64()?, line["val_loss"].as_f64()?))).collect()
}

#[test]
fn a_resume_mends_the_model_from_the_best_checkpoint_and_trains_on_from_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let often = ["--checkpoint-every", "10", "--eval-every", "10", "--keep", "100", "--no-tune", "--out", "whole"];
    ok(at, &[&["train", &path][..], &WILD, &often].concat());
    let evals = metrics(&at.join("whole"));
    let (least, loss) = evals.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert!(least < 80 && step(&at.join("whole")) == least, "the case is meant to get worse: {evals:?}");
    let run = at.join("run");
    copy(&at.join("whole"), &run);
    let before = bytes(&run);
    let good = model(&run);
    copy(&run, &at.join("other"));
    let obstacle = run.join("model.safetensors.part");
    // of the last the failure to mend it is all that is left to tell
    for what in ["is missing", "is damaged", "could not be saved before"] {
        match what {
            "is missing" => fs::remove_file(run.join("model.safetensors")).unwrap(),
            "is damaged" => fs::write(run.join("model.safetensors"), &good[..good.len() - 1]).unwrap(),
            _ => {
                train(at, &path, &["--steps", "1", "--no-tune", "--out", "short"]);
                let old = at.join("short/model.safetensors");
                fs::copy(old, run.join("model.safetensors")).unwrap();
            }
        }
        fs::create_dir(&obstacle).unwrap();
        assert!(fails(at, &["train", "--resume", "run"]).contains("could not be saved"), "{what}");
        fs::remove_dir(&obstacle).unwrap();
        let said = resume(at, &[]);
        let words = [what, &format!("saved the weights of step {least}"), &format!("loss of {loss:.4}")];
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains("lost"), "{what}: {said}");
        assert!(bytes(&run) == before, "{what}");
        assert!(!resume(at, &[]).contains("model.safetensors"), "{what}");
    }
    // without that checkpoint the best of the others is used, marked as not the best so far
    fs::remove_dir_all(checkpoint(&run, least)).unwrap();
    fs::remove_file(run.join("model.safetensors")).unwrap();
    let (second, _) = evals.iter().copied().filter(|e| e.0 != least).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let said = resume(at, &[]);
    let words = [&format!("saved the weights of step {second}"), &format!("those of step {least}, with {loss:.4}")];
    assert!(words.iter().all(|word| said.contains(*word)), "{said}");
    assert_eq!(step(&run), second);
    assert!(!resume(at, &[]).contains("model.safetensors"));
    // training continues as if nothing had happened
    let on = ["--steps", "90"];
    ok(at, &[&["train", "--resume", "other"][..], &on].concat());
    let said = ok(at, &[&["train", "--resume", "run"][..], &on].concat());
    assert!(!said.contains("(best so far)") && said.contains(&format!("{loss:.4} at step {least}")), "{said}");
    let last = |run: &str| tensors(&checkpoint(&at.join(run), 90).join("state.safetensors"));
    assert!(last("run") == last("other") && metrics(&run) == metrics(&at.join("other")));
}

#[test]
fn checkpoints_that_were_not_evaluated_are_evaluated_before_one_becomes_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    // one evaluation, at the end, when the loss has grown
    let often = ["--checkpoint-every", "10", "--eval-every", "80", "--keep", "100", "--no-tune", "--dropout", "0.1"];
    for name in ["run", "other"] {
        ok(at, &[&["train", &path][..], &WILD, &often, &["--out", name]].concat());
    }
    let run = at.join("run");
    assert_eq!(step(&run), 80);
    fs::remove_file(run.join("model.safetensors")).unwrap();
    let before = tensors(&states(&run).pop().unwrap());
    let said = resume(at, &[]);
    let of = step(&run);
    assert!(of < 80 && said.contains(&format!("saved the weights of step {of}")), "{said}");
    let weights = tensors(&run.join("model.safetensors"));
    assert!(weights == tensors(&checkpoint(&run, of).join("state.safetensors"))[..weights.len()]);
    // their evaluation leaves no trace in the training
    assert!(tensors(&states(&run).pop().unwrap()) == before);
    let eval: serde_json::Value =
        serde_json::from_str(&ok(at, &["eval", "run", "--eval-windows", "8", "--batch-size", "2", "--json"])).unwrap();
    assert!(said.contains(&format!("{:.4}", eval["loss"].as_f64().unwrap())), "{said}");
    for name in ["run", "other"] {
        ok(at, &["train", "--resume", name, "--steps", "95"]);
    }
    let last = |run: &str| tensors(&checkpoint(&at.join(run), 95).join("state.safetensors"));
    assert!(last("run") == last("other"));
}

#[test]
fn a_missing_model_of_an_import_is_rebuilt_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    ok(at, &["import", &folder().join("hf_f32").display().to_string(), "--out", "run"]);
    let good = model(&at.join("run"));
    for bad in [None, Some(&good[..good.len() - 1])] {
        ok(at, &["import", "run", "--last", "--out", "again"]);
        let file = at.join("again/model.safetensors");
        match bad {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let few = ["--steps", "2", "--batch-size", "2", "--eval-windows", "4", "--sample-every", "0", "--no-tune"];
        let args = [&["train", &path, "--resume", "again"][..], &few].concat();
        let output = tril(at, &args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let what = if bad.is_some() { "is damaged" } else { "is missing" };
        assert!(said.contains(what) && said.contains("saved the weights of step 0"), "{said}");
        fs::remove_dir_all(at.join("again")).unwrap();
    }
}
