//! The command as a user runs it: its output, its exit code, and the files it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The command, started through the same dynamic loader as the tests.
pub fn command() -> Command {
    let mut command = loaded();
    // without this folder, libwayland prints a line that begins like our errors
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    command.env("XDG_RUNTIME_DIR", runtime);
    // the tests share no measurements with others; kernels compiled by a software device are the same every time
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    command.env("TRIL_CACHE_DIR", dir.join(format!("cache-{}", std::process::id())));
    // the tests don't choose a vector width by time; the library, which other tests compare with, uses 256 bits too
    if has_wide_vectors() && std::env::var_os("LP_NATIVE_VECTOR_WIDTH").is_none() {
        command.env("LP_NATIVE_VECTOR_WIDTH", "256");
    }
    if std::env::var_os("MESA_SHADER_CACHE_DIR").is_none() {
        let kernels = dir.join("mesa");
        let _ = fs::create_dir_all(&kernels);
        command.env("MESA_SHADER_CACHE_DIR", kernels);
    }
    command
}

/// Whether llvmpipe could be opened with vectors of 512 bits.
fn has_wide_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

fn loaded() -> Command {
    let tril = env!("CARGO_BIN_EXE_tril");
    // a test binary that was started through a dynamic loader of its own (`ld.so --library-path DIR BINARY`, to try a
    // driver that isn't the system's) starts tril through the same one
    let cmdline = fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<&str> = cmdline.split(|&b| b == 0).map(|w| std::str::from_utf8(w).unwrap_or("")).collect();
    let itself = std::env::args().next().unwrap_or_default();
    let before = words.iter().position(|word| *word == itself).unwrap_or(0);
    let Some((loader, options)) = words[..before].split_first() else { return Command::new(tril) };
    let mut command = Command::new(loader);
    command.args(options).arg(tril);
    command
}

pub fn tril(dir: &Path, args: &[&str]) -> Output {
    command().args(args).current_dir(dir).output().unwrap()
}

/// The standard error of a command that must succeed.
pub fn said(dir: &Path, args: &[&str]) -> String {
    let output = tril(dir, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !err.contains("panicked"), "tril {args:?}: {err}");
    err
}

pub fn ok(dir: &Path, args: &[&str]) -> String {
    let output = tril(dir, args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "tril {args:?}\n{out}\n{err}");
    out.into_owned()
}

/// The one error line of a command that must fail with exit code 1.
pub fn fails(dir: &Path, args: &[&str]) -> String {
    fails_with(1, dir, args)
}

/// The one error line of a command that must fail with a usage error.
pub fn misused(dir: &Path, args: &[&str]) -> String {
    fails_with(2, dir, args)
}

/// The one error line of a command that must fail with this exit code.
pub fn fails_with(code: i32, dir: &Path, args: &[&str]) -> String {
    let output = tril(dir, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "tril {args:?}: {err}");
    let lines: Vec<&str> = err.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "tril {args:?}: {err}");
    assert!(!err.contains("panicked"), "{err}");
    lines[0].into()
}

/// A model that trains in an instant.
pub const SMALL: &[&str] = &[
    "--n-layer",
    "1",
    "--n-head",
    "2",
    "--n-embd",
    "16",
    "--block-size",
    "16",
    "--batch-size",
    "2",
    "--warmup-steps",
    "2",
    "--eval-windows",
    "8",
    "--sample-every",
    "0",
];

pub fn text(dir: &Path) -> String {
    let path = dir.join("text.txt");
    let lines: String = (0..200).map(|i| format!("line {} says {}\n", i, (i * i) % 97)).collect();
    fs::write(&path, lines).unwrap();
    path.display().to_string()
}

/// A new folder with a text in it, as [`text`] writes it; removed on drop.
pub struct Folder {
    dir: tempfile::TempDir,
    pub text: String,
}

impl Folder {
    pub fn with_text() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { text: text(dir.path()), dir }
    }

    /// The command that trains a small model on the text, with more flags.
    pub fn train<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["train", &self.text][..], SMALL, more].concat()
    }
}

impl std::ops::Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.dir.path()
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        self
    }
}

pub fn train(dir: &Path, text: &str, more: &[&str]) -> String {
    ok(dir, &[&["train", text][..], SMALL, more].concat())
}

/// The checkpoints of a run, the last one last.
pub fn states(run: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(run.join("checkpoints")).unwrap();
    let mut all: Vec<_> = all.map(|entry| entry.unwrap().path().join("state.safetensors")).collect();
    all.sort();
    all
}

/// The files of a run that a resume must reproduce, without times.
pub fn bytes(run: &Path) -> Vec<(String, Vec<u8>)> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let untimed = metrics.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.retain(|key, _| !["elapsed_s", "tokens_per_s", "mfu"].contains(&key.as_str()));
        line.to_string()
    });
    let state = fs::read(states(run).pop().unwrap()).unwrap();
    let data_start = 8 + u64::from_le_bytes(state[..8].try_into().unwrap()) as usize;
    vec![
        ("metrics".into(), untimed.collect::<Vec<_>>().join("\n").into_bytes()),
        ("state".into(), state[data_start..].to_vec()),
        ("model".into(), fs::read(run.join("model.safetensors")).unwrap()),
        ("config".into(), fs::read(run.join("config.toml")).unwrap()),
    ]
}

#[test]
fn train_generate_eval_and_a_longer_resume() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(dir.path());
    let every = ["--eval-every", "4", "--checkpoint-every", "6", "--grad-accum", "2", "--dropout", "0.1"];
    let train_to = |steps, out| train(dir.path(), &path, &[&every[..], &["--steps", steps, "--out", out]].concat());
    let out = train_to("12", "whole");
    assert!(out.contains("device ") && out.contains("tril generate whole"), "{out}");
    for file in [
        "config.toml",
        "tokenizer.json",
        "metrics.jsonl",
        "model.safetensors",
        "checkpoints/00000012/state.safetensors",
    ] {
        assert!(dir.path().join("whole").join(file).exists(), "{file}");
    }

    let half = dir.path().join("half");
    train_to("8", "half");
    let resumed = ok(dir.path(), &["train", "--resume", "half", "--steps", "12"]);
    assert!(resumed.contains("resumes at step 8"), "{resumed}");
    let steps: Vec<u64> = fs::read_to_string(half.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .filter_map(|l| {
            let line: serde_json::Value = serde_json::from_str(l).unwrap();
            line.get("loss").map(|_| line["step"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(steps, (1..=12).collect::<Vec<u64>>());

    let say = |seed: &str| ok(dir.path(), &["generate", "whole", "--prompt", "line", "--tokens", "30", "--seed", seed]);
    assert!(say("5").starts_with("line") && say("5").chars().count() >= 34);
    assert_eq!(say("5"), say("5"));
    assert_ne!(say("5"), say("6"));
    let eval = ok(dir.path(), &["eval", "whole", "--json"]);
    let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
    assert!(eval["loss"].as_f64().unwrap() > 0.0 && eval["free_share"].as_array().unwrap().len() == 8, "{eval}");
    let (loss, perplexity) = (eval["loss"].as_f64().unwrap(), eval["perplexity"].as_f64().unwrap());
    assert!((loss.exp() - perplexity).abs() < 1e-9);
}

#[test]
fn killed_run_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(dir.path());
    let args =
        [&["train", &path][..], SMALL, &["--steps", "60", "--eval-every", "20", "--checkpoint-every", "10"]].concat();
    ok(dir.path(), &[&args[..], &["--out", "whole"]].concat());
    let killed = dir.path().join("killed");
    let mut child = command()
        .args([&args[..], &["--out", "killed"]].concat())
        .current_dir(dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let n_line = || fs::read_to_string(killed.join("metrics.jsonl")).unwrap_or_default().lines().count();
    while n_line() < 27 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ok(dir.path(), &["train", "--resume", "killed"]);
    assert_eq!(bytes(&dir.path().join("whole")), bytes(&killed));
}

#[test]
fn documents_from_standard_input_and_the_embedded_stories() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = command()
        .args(
            [
                &["train", "-", "--mode", "documents", "--tokenizer", "byte", "--steps", "2", "--out", "piped"][..],
                SMALL,
            ]
            .concat(),
        )
        .current_dir(dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let documents: String = (0..50).map(|i| format!("document {i}\n")).collect();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), documents.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    ok(dir.path(), &["generate", "piped", "--tokens", "5"]);

    let out = ok(dir.path(), &[&["train", "--steps", "2"][..], SMALL].concat());
    assert!(out.contains("floor ") && out.contains("runs/stories-1"), "{out}");
    let preset =
        "preset   stories, as no text is given: bpe:1280, documents, lr 0.004, 2 steps; --preset overrides this";
    assert!(out.contains(preset) && out.contains("1 layer, 2 heads, 16 channels, block 16,"), "{out}");
    let flags = ["--tokenizer", "char", "--mode", "stream", "--lr", "0.01", "--no-tune"];
    let out = ok(dir.path(), &[&["train", "--steps", "2", "--out", "mine"][..], SMALL, &flags].concat());
    assert!(out.contains("given: char, a stream, lr 0.01, 2 steps"), "{out}");
    let out = ok(dir.path(), &[&["train", "--preset", "nano", "--steps", "2", "--out", "nano"][..], SMALL].concat());
    assert!(!out.contains("preset ") && !out.contains("padding"), "{out}");
    let json = ok(dir.path(), &[&["train", "--steps", "2", "--json"][..], SMALL].concat());
    assert!(json.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()), "{json}");
    assert!(json.contains("runs/stories-2"), "{json}");
}

#[test]
fn packed_documents_train_and_their_packing_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let names: String = (0..60).map(|i| format!("{}\n", "name".repeat(i % 3 + 1))).collect();
    fs::write(at.join("names.txt"), names).unwrap();
    let train = |more: &[&str]| ok(at, &[&["train", "names.txt", "--mode", "documents"][..], SMALL, more].concat());
    let common = ["--steps", "4", "--seed", "7"];
    let out = train(&[&common[..], &["--out", "packed"]].concat());
    assert!(
        out.contains("54 documents in ")
            && out.contains("attention stays within a document")
            && out.contains("% padding"),
        "{out}"
    );
    let config = fs::read_to_string(at.join("packed/config.toml")).unwrap();
    assert!(config.contains("pack = true") && config.contains("document_mask = true"), "{config}");
    let json = train(&[&common[..], &["--out", "alone", "--pack", "false", "--json"]].concat());
    let header: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&header["documents"], &header["rows"]), (&54.into(), &54.into()));
    assert!(header["padding"].as_f64().unwrap() > 0.4, "{header}");

    // the same weights have the same loss, however the documents are packed
    let loss = || {
        let json = ok(at, &["eval", "packed", "--json"]);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        (value["loss"].as_f64().unwrap(), value["targets"].as_u64().unwrap(), value["windows"].as_u64().unwrap())
    };
    let (packed, targets, windows) = loss();
    let without: Vec<&str> =
        config.lines().filter(|l| !l.starts_with("pack") && !l.starts_with("document_mask")).collect();
    fs::write(at.join("packed/config.toml"), without.join("\n")).unwrap();
    let (alone, as_many, more) = loss();
    assert!(as_many == targets && more > windows && (packed - alone).abs() < 1e-5, "{packed} and {alone}");
    fs::write(at.join("packed/config.toml"), config).unwrap();

    // interrupted and resumed, a run of packed documents ends in the same bytes
    let constant = ["--checkpoint-every", "2", "--eval-every", "2", "--schedule", "constant"];
    train(&[&constant[..], &["--steps", "4", "--out", "whole"]].concat());
    train(&[&constant[..], &["--steps", "2", "--out", "part"]].concat());
    ok(at, &["train", "--resume", "part", "--steps", "4"]);
    assert_eq!(bytes(&at.join("whole")), bytes(&at.join("part")));
    let line = misused(at, &["train", "--resume", "part", "--pack", "false"]);
    assert!(line.contains("--pack is true and can't become false"), "{line}");
    for (flag, word) in [("--pack", "--mode documents"), ("--document-mask", "end-of-text")] {
        let line = misused(at, &[&["train", "names.txt", flag, "true", "--tokenizer", "byte"][..], SMALL].concat());
        assert!(line.contains(flag) && line.contains(word), "{line}");
    }
}

#[test]
fn plan_devices_and_help_answer() {
    let dir = tempfile::tempdir().unwrap();
    let plan = ok(dir.path(), &["plan", "--preset", "gpt2", "--limits", "desktop"]);
    for word in ["124439808", "largest binding", "moments", "GFLOP", "dispatches"] {
        assert!(plan.contains(word), "{word}: {plan}");
    }
    assert!(ok(dir.path(), &["devices"]).contains("largest"));
    let help = ok(dir.path(), &["generate", "--help"]);
    assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains("window slides"), "{help}");
    assert_eq!(tril(dir.path(), &["train", "--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn bad_input_gets_one_clear_line_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    fs::write(at.join("empty.txt"), "").unwrap();
    fs::write(at.join("tiny.txt"), "hello").unwrap();
    fs::write(at.join("latin1.txt"), b"caf\xe9 and more").unwrap();
    fs::write(at.join("bad.toml"), "[model]\nlayers = 3\n").unwrap();
    fs::create_dir(at.join("foreign")).unwrap();
    fs::write(at.join("foreign/photo.txt"), "not a run").unwrap();
    let bad_files: &[(&[&str], &str)] = &[
        (&["train", "missing.txt"], "missing.txt"),
        (&["train", "empty.txt"], "empty"),
        (&["train", "tiny.txt"], "--block-size"),
        (&["train", "latin1.txt"], "offset 3"),
        (&["train", &path, "--config", "bad.toml"], "layers"),
        (&["train", &path, "--config", "none.toml"], "none.toml"),
        (&["train", &path, "--out", "foreign"], "--out"),
        (&["train", &path, "--out", "text.txt/run"], "text.txt/run"),
        (&["train", "--resume", "foreign"], "is not a tril run"),
        (&["train", "--resume", "nowhere"], "nowhere"),
        (&["generate", "foreign"], "is not a tril run"),
        (&["eval", "nowhere"], "nowhere"),
    ];
    let wrong_usage: &[(&[&str], &str)] = &[
        (&["train", &path, "--n-head", "3"], "--n-head"),
        (&["train", &path, "--preset", "huge"], "gpt2-xl"),
        (&["train", &path, "--device", "no such device"], "--device"),
        (&["train", &path, "--batch-size", "4000000"], "--batch-size"),
        (&["train", &path, "--separator", "x"], "--mode documents"),
    ];
    for (code, cases) in [(1, bad_files), (2, wrong_usage)] {
        for (args, word) in cases {
            let line = fails_with(code, at, args);
            assert!(line.contains(word), "tril {args:?}: {line}");
        }
    }
    assert!(!at.join("runs").exists(), "a failed start left a run behind");
    assert_eq!(fs::read_dir(at.join("foreign")).unwrap().count(), 1);
}

#[test]
fn damaged_and_changed_runs_are_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let path = text(at);
    train(at, &path, &["--steps", "2", "--out", "run"]);
    let [first, state] = states(&at.join("run")).try_into().unwrap();
    fs::remove_file(first).unwrap();
    let good = fs::read(&state).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bad in [&good[..good.len() / 2], &flipped[..], b""] {
        fs::write(&state, bad).unwrap();
        let line = fails(at, &["train", "--resume", "run", "--steps", "3"]);
        assert!(line.contains("damaged"), "{line}");
        assert_eq!(fs::read(&state).unwrap(), bad);
    }
    fs::write(&state, &good).unwrap();
    let line = misused(at, &["train", "--resume", "run", "--steps", "1"]);
    assert!(line.contains("checkpoint's step 2"), "{line}");
    let line = misused(at, &["train", "--resume", "run", "--n-layer", "2"]);
    assert!(line.contains("--n-layer is 1 and can't become 2"), "{line}");
    let line = misused(at, &["generate", "run", "--prompt", "\u{1f600}"]);
    assert!(line.contains("1F600"), "{line}");
    let mut changed = fs::read_to_string(&path).unwrap();
    changed.push('x');
    fs::write(&path, changed).unwrap();
    let line = fails(at, &["train", "--resume", "run", "--steps", "3"]);
    assert!(line.contains("changed"), "{line}");
}

#[test]
fn a_profiled_run_says_where_its_time_went_and_computes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let text = text(dir.path());
    let common = ["--steps", "9", "--eval-every", "9"];
    train(dir.path(), &text, &[&common[..], &["--out", "plain"]].concat());
    let out = train(dir.path(), &text, &[&common[..], &["--out", "timed", "--profile", "2"]].concat());
    for word in ["2 steps on", "matmul", "of peak", "us per dispatch", "while timed", "trace.json"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert_eq!(bytes(&dir.path().join("plain")), bytes(&dir.path().join("timed")));
    let trace = fs::read_to_string(dir.path().join("timed/trace.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().filter(|e| e["ph"] == "X" && e["dur"].as_f64().is_some()).count() > 50);

    let short = [&["train", &text][..], SMALL, &["--steps", "4", "--out", "short", "--profile"]].concat();
    assert!(misused(dir.path(), &short).contains("--profile needs at least 5 steps, but only 4 are left"));
    assert!(!dir.path().join("short").exists());
    // a refused resume leaves the run as it is
    let config = || fs::read(dir.path().join("plain/config.toml")).unwrap();
    let before = config();
    let line = misused(dir.path(), &["train", "--resume", "plain", "--steps", "12", "--profile"]);
    assert!(line.contains("only 3 are left") && config() == before, "{line}");
}

#[test]
fn bench_prints_one_object_to_share() {
    let dir = tempfile::tempdir().unwrap();
    let few = ["bench", "--presets", "nano", "--seconds", "0", "--steps", "3"];
    let out = ok(dir.path(), &[&few[..], &["--json", "--out", "bench.json"]].concat());
    assert_eq!(out, fs::read_to_string(dir.path().join("bench.json")).unwrap());
    let report: tril::bench::BenchReport = serde_json::from_str(&out).unwrap();
    let [nano] = &report.results[..] else { panic!("{out}") };
    assert_eq!((nano.preset.as_str(), nano.batch_size, nano.t, nano.steps), ("nano", 12, 64, 3));
    assert!(nano.tokens_per_s > 0.0 && nano.mfu > 0.0 && nano.host_us_per_dispatch > 0.0 && report.peak_gflops > 0.0);
    assert!(!report.adapter.is_empty() && report.date.ends_with('Z'), "{out}");
    assert!(ok(dir.path(), &few).contains("tok/s"));
    assert!(misused(dir.path(), &["bench", "--presets", "huge"]).contains("nano, xs, s, char, gpt2"));
    let help = ok(dir.path(), &["bench", "--help"]);
    let usual = format!("[default: {}]", tril::bench::USUAL.join(","));
    assert!(help.contains(&usual), "{help}");
    // refused at once, leaving nothing behind
    for out in ["no/such/folder.json", "."] {
        assert!(fails(dir.path(), &[&few[..], &["--out", out]].concat()).contains("choose another"), "{out}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
