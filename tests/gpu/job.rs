//! A whole training through the library is the one that `tril train` does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tril::job::{JobError, Progress, TrainJob};
use tril::run::{OpenRun, RunConfig, RunDirError};
use tril::train::Event;

use super::{cli, train_text};

const SMALL: &str = "n_layer = 1\nn_head = 2\nn_embd = 16\nblock_size = 16\n";

/// A small training on a text in a folder.
fn job(dir: &std::path::Path, out: &str) -> TrainJob {
    let text = dir.join("text.txt");
    std::fs::write(&text, "to be or not to be, that is the question\n".repeat(50)).unwrap();
    let mut job = TrainJob::of_preset("nano", vec![text]).unwrap();
    job.config = RunConfig::overlaid(&job.config, "test", &format!("[model]\n{SMALL}")).unwrap();
    (job.config.train.steps, job.config.train.eval_every, job.config.train.sample_every) = (12, 5, 0);
    TrainJob { out: Some(dir.join(out)), tune: false, ..job }
}

#[test]
fn a_job_gives_the_weights_of_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let (mut heard, mut steps) = (vec![], 0);
    let trained = job(dir.path(), "job").run(&AtomicBool::new(false), &mut |progress| match progress {
        Progress::Loading(_) => heard.push("loading"),
        Progress::Encoded(findings) => heard.push(if findings.n_token > 0 { "encoded" } else { "nothing" }),
        Progress::Device(_) => heard.push("device"),
        Progress::Created { memory, .. } => heard.push(if memory.total() > 0 { "created" } else { "nothing" }),
        Progress::Training(Event::Step { .. }) => steps += 1,
        _ => {}
    });
    let trained = trained.unwrap();
    heard.dedup();
    assert_eq!(heard, ["loading", "encoded", "device", "created"]);
    assert_eq!((steps, trained.summary.step, trained.summary.interrupted), (12, 12, false));
    let flags = "train text.txt --n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --steps 12 --eval-every 5 --sample-every 0 \
                 --no-tune --out command";
    cli::said(dir.path(), &flags.split_whitespace().collect::<Vec<_>>());
    for file in ["model.safetensors", "checkpoints/00000012/state.safetensors", "tokenizer.json"] {
        let [job, command] = ["job", "command"].map(|run| std::fs::read(dir.path().join(run).join(file)).unwrap());
        // a checkpoint also has times
        let n = if file.contains("state") { 8192.min(job.len()) } else { job.len() };
        let tail = |bytes: &[u8]| bytes[bytes.len() - n..].to_vec();
        assert!(tail(&job) == tail(&command), "{file}");
    }
    let settings = |run: &str| OpenRun::open(&dir.path().join(run)).unwrap().config;
    assert_eq!(settings("job"), settings("command"));
}

#[test]
fn a_job_that_is_stopped_can_be_resumed_and_one_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let trained = job(dir.path(), "run").run(&stop, &mut |progress| {
        if let Progress::Training(Event::Step { result, .. }) = progress {
            stop.store(result.step >= 3, Ordering::Relaxed);
        }
    });
    let trained = trained.unwrap();
    assert!(trained.summary.interrupted && trained.summary.step < 12);
    cli::said(dir.path(), &["train", "--resume", "run"]);
    let again = job(dir.path(), "run").run(&AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(matches!(again, JobError::Dir(RunDirError::Exists(_))), "{again}");
    let mut tiny = job(dir.path(), "other");
    tiny.memory = Some(1 << 20);
    let refused = tiny.run(&AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, JobError::Memory(_)), "{refused}");
    assert!(!dir.path().join("other").exists());
}

#[test]
fn the_example_of_a_whole_training_runs() {
    let dir = tempfile::tempdir().unwrap();
    let text: PathBuf = dir.path().join("text.txt");
    std::fs::write(&text, "to be or not to be, that is the question\n".repeat(50)).unwrap();
    let root = train_text::train(vec![text], Some(dir.path().join("run")), 3).unwrap();
    assert!(root.join("model.safetensors").exists());
}
