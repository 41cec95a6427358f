//! What a run keeps: the best and the last model, as many checkpoints as --keep sets, trustworthy evidence.

use std::fs;

use crate::cli::{bytes, fails, ok, states, text, train, tril};

#[test]
fn the_best_model_is_kept_beside_the_last_and_survives_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    // a rate at which the loss goes up and down
    let wild = ["--lr", "0.3", "--schedule", "constant", "--eval-every", "3", "--checkpoint-every", "6", "--no-tune"];
    let to = |out: &str, steps: &str| train(at, &path, &[&wild[..], &["--steps", steps, "--out", out]].concat());
    to("whole", "60");
    let losses: Vec<(u64, f64)> = fs::read_to_string(at.join("whole/metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| Some((line["step"].as_u64()?, line["val_loss"].as_f64()?)))
        .collect();
    let (step, best) = losses.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let (last_step, last) = *losses.last().unwrap();
    assert!(step < last_step && best < last - 0.1, "the case is meant to get worse: {losses:?}");
    // run's own windows, as many rows at a time as in training
    let eval = ok(at, &["eval", "whole", "--eval-windows", "8", "--batch-size", "2", "--json"]);
    let loss = serde_json::from_str::<serde_json::Value>(&eval).unwrap()["loss"].as_f64().unwrap();
    assert!((loss - best).abs() < 1e-5, "{loss} is not the best {best} of step {step}");
    let progress = String::from_utf8_lossy(&fs::read(states(&at.join("whole")).pop().unwrap()).unwrap()).into_owned();
    assert!(progress.contains(&format!(r#"\"best\":[{best},{step}]"#)), "{best} {step}");

    // a run that is resumed after its best step still knows it
    to("part", &(step + 1).to_string());
    ok(at, &["train", "--resume", "part", "--steps", "60"]);
    let of = |run: &str| bytes(&at.join(run)).into_iter().filter(|(name, _)| name != "metrics").collect::<Vec<_>>();
    assert!(of("part") == of("whole"));
}

#[test]
fn keep_sets_the_number_of_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    for (keep, every, kept) in [
        ("1", "4", vec!["00000014"]),
        ("2", "4", vec!["00000012", "00000014"]),
        ("3", "0", vec!["00000000", "00000014"]),
        ("9", "5", vec!["00000000", "00000005", "00000010", "00000014"]),
    ] {
        let out = format!("keep-{keep}");
        let flags = ["--keep", keep, "--checkpoint-every", every, "--steps", "14", "--no-tune", "--out", &out];
        train(at, &path, &flags);
        let names: Vec<String> = states(&at.join(&out))
            .iter()
            .map(|state| state.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, kept, "--keep {keep} --checkpoint-every {every}");
    }
}

#[test]
fn evidence_of_a_step_that_the_run_never_had_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    train(at, &path, &["--steps", "6", "--no-tune", "--out", "run"]);
    let folder = at.join("run/nonfinite/step");
    fs::create_dir_all(&folder).unwrap();
    let report =
        |step: &str| format!(r#"{{"step":{step},"params_after":0,"first":null,"gradient_norms":[],"replay":""}}"#);
    let replay = ["replay", "run/nonfinite/step"];
    fs::write(folder.join("report.json"), report("5")).unwrap();
    assert!(fails(at, &replay).contains("state.safetensors"));
    let [first, _] = states(&at.join("run")).try_into().unwrap();
    fs::copy(first, folder.join("state.safetensors")).unwrap();
    for step in ["0", "7", "18446744073709551615"] {
        fs::write(folder.join("report.json"), report(step)).unwrap();
        let line = fails(at, &replay);
        assert!(line.contains(&format!("step {step}, but the run has 6")), "{line}");
    }
    for bad in ["", "{}", "[1]", &report("-1"), &report("5.5")] {
        fs::write(folder.join("report.json"), bad).unwrap();
        assert!(fails(at, &replay).contains("report.json"), "{bad}");
    }
    fs::write(folder.join("report.json"), report("5")).unwrap();
    let refused = |batches: &str| {
        fs::write(folder.join("batches.json"), batches).unwrap();
        let line = fails(at, &replay);
        assert!(line.contains("batches.json is damaged"), "{line}");
        line
    };
    // of the run's shape and vocabulary, whatever they are
    let ids = |id: u32| [id; 32].map(|id| id.to_string()).join(",");
    let batch = |b: u64, token: u32, targets: &str| {
        format!(r#"{{"b":{b},"t":16,"tokens":[{}],"targets":[{targets}],"firsts":[]}}"#, ids(token))
    };
    let whole = batch(2, 0, &ids(1));
    assert!(refused("").contains("EOF"));
    assert!(refused("[]").contains("0 micro-batches"));
    assert!(refused(&format!("[{whole},{whole}]")).contains("2 micro-batches"));
    assert!(refused(&format!("[{}]", batch(1, 0, &ids(1)))).contains("2 rows of 16"));
    assert!(refused(&format!("[{}]", batch(2, 0, "1,2"))).contains("2 rows of 16"));
    assert!(refused(&format!("[{}]", batch(2, 999, &ids(1)))).contains("token 999"));
    fs::write(folder.join("batches.json"), format!("[{whole}]")).unwrap();
    assert!(ok(at, &replay).contains("step 5: everything is finite"));
    // steps between the checkpoint and the replayed one that weren't kept need the text
    fs::rename(at.join("text.txt"), at.join("away.txt")).unwrap();
    let output = tril(at, &replay);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.contains("warning: the run's text is gone"), "{err}");
    assert!(out.contains("examined with the parameters after step 0"), "{out}");
}
