//! The evidence of non-finite steps, and replaying it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{SMALL, fails, ok, text, tril};

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Trains a diverging run and returns the folders of its evidence, sorted.
fn explode(at: &Path, path: &str, more: &[&str]) -> Vec<PathBuf> {
    let huge = ["--lr", "1e30", "--min-lr", "1e30", "--clip", "0", "--no-tune"];
    let accumulated = ["--grad-accum", "2", "--dropout", "0.1", "--steps", "9", "--out", "run"];
    let output = tril(at, &[&["train", path][..], SMALL, &huge, &accumulated, more].concat());
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let mut kept: Vec<_> = fs::read_dir(at.join("run/nonfinite")).unwrap().map(|e| e.unwrap().path()).collect();
    kept.sort();
    kept
}

#[test]
fn a_non_finite_step_leaves_what_a_replay_needs() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let folder = &explode(at, &path, &["--checkpoint-every", "1"])[0];
    let (mut report, batches) = (json(&folder.join("report.json")), json(&folder.join("batches.json")));
    // the checksum of the file, which no other report has
    assert!(report.as_object_mut().unwrap().remove("crc32").unwrap().is_string());
    let first = &report["first"];
    assert!(first["count"].as_u64().unwrap() > 0 && first["label"].is_string() && first["largest_finite"].is_number());
    assert!(report["gradient_norms"].as_array().unwrap().iter().any(|layer| layer[1].is_null()));
    assert_eq!(batches.as_array().unwrap().len(), 2);
    assert_eq!(batches[0]["tokens"].as_array().unwrap().len(), 2 * 16);
    // the same result from the kept checkpoint and batch, even if the run's own files and its text are gone
    fs::remove_dir_all(at.join("run/checkpoints")).unwrap();
    fs::remove_file(&path).unwrap();
    let words: Vec<&str> = report["replay"].as_str().unwrap().split(' ').skip(1).collect();
    let again: serde_json::Value = serde_json::from_str(&ok(at, &[&words[..], &["--json"]].concat())).unwrap();
    // the first report may have been made after steps that weren't skipped; this one has the step's own parameters
    assert_eq!(again["params_after"].as_u64().unwrap() + 1, report["step"].as_u64().unwrap());
    assert_eq!(again["step"], report["step"]);
    assert!(again["first"]["count"].as_u64().unwrap() > 0, "{again}");
    if again["params_after"] == report["params_after"] {
        assert_eq!(again, report);
    }
    assert!(ok(at, &words).contains("the first output that is not finite"));
    // from the run's folder, too
    let inside = folder.strip_prefix(at.join("run")).unwrap().display().to_string();
    assert_eq!(ok(&at.join("run"), &["replay", &inside, "--json"]), ok(at, &[&words[..], &["--json"]].concat()));
    let line = fails(at, &["replay", "run"]);
    assert!(line.contains("RUN/nonfinite"), "{line}");
    // a report that was changed
    let kept = fs::read_to_string(folder.join("report.json")).unwrap();
    let of = format!("\"step\": {}", report["step"]);
    assert!(kept.contains(&of));
    fs::write(folder.join("report.json"), kept.replace(&of, "\"step\": 1")).unwrap();
    assert!(fails(at, &words).contains("report.json is damaged"));
    fs::write(folder.join("report.json"), kept).unwrap();
    // a batch that was changed
    let own = folder.join("batches.json");
    let whole = fs::read_to_string(&own).unwrap();
    for (bad, word) in [
        (whole.replacen("[", "[ ", 1), "changed or truncated"),
        (whole[..whole.len() / 2].to_string(), "changed or truncated"),
    ] {
        fs::write(&own, bad).unwrap();
        let line = fails(at, &words);
        assert!(line.contains("batches.json is damaged") && line.contains(word), "{line}");
    }
    fs::remove_file(&own).unwrap();
    assert!(fails(at, &words).contains("batches.json is damaged"));
}

#[test]
fn steps_between_the_checkpoint_and_the_bad_one_are_kept_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let folder = &explode(at, &path, &["--checkpoint-every", "0"])[0];
    let report = json(&folder.join("report.json"));
    let step = report["step"].as_u64().unwrap();
    assert!(step > 1, "the case is meant to have steps in between");
    assert_eq!(json(&folder.join("before.json")).as_array().unwrap().len() as u64, step - 1);
    let replay = ["replay", &folder.display().to_string(), "--json"];
    let with_text = ok(at, &replay);
    fs::remove_file(&path).unwrap();
    let again = ok(at, &replay);
    assert_eq!(again, with_text);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["params_after"].as_u64().unwrap() + 1, step);
    assert!(again["first"]["count"].as_u64().unwrap() > 0, "{again}");
}

#[test]
fn the_same_step_after_a_rollback_has_evidence_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    let kept = explode(at, &path, &["--checkpoint-every", "0", "--on-nonfinite", "rollback"]);
    let report = |folder: &PathBuf| json(&folder.join("report.json"));
    let second = kept.iter().find(|folder| folder.display().to_string().ends_with("-2"));
    let second = second.unwrap_or_else(|| panic!("{kept:?}"));
    let first = PathBuf::from(second.display().to_string().strip_suffix("-2").unwrap());
    assert_eq!(report(second)["step"], report(&first)["step"]);
    assert_ne!(fs::read(second.join("batches.json")).unwrap(), fs::read(first.join("batches.json")).unwrap());
    for folder in [first, second.clone()] {
        let again: serde_json::Value =
            serde_json::from_str(&ok(at, &["replay", &folder.display().to_string(), "--json"])).unwrap();
        assert_eq!(again["step"], report(&folder)["step"]);
        assert!(again["first"]["count"].as_u64().unwrap() > 0, "{again}");
    }
}
