//! The tuner: what it measures, what it never picks, what it remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tril::bench::BenchPreset;
use tril::doctor::check_model;
use tril::exec::ExecError;
use tril::gpu::{Gpu, GpuOptions};
use tril::graph::Phase;
use tril::kernel::{Caps, Choice};
use tril::model::{Memory, ModelConfig, Positions, ReadBack};
use tril::ops::Task;
use tril::train::{AdamwConfig, Session, SessionConfig};
use tril::tune::{Cache, Measure, Measurement, OnDevice, Shapes, Tuned, Which, shapes, tune};

use crate::{cli, gpu};

/// A model with few products and attentions, just large enough to be tuned.
fn config() -> SessionConfig {
    let model = ModelConfig {
        n_layer: 1,
        n_head: 2,
        n_embd: 128,
        block_size: 128,
        vocab_size: 61,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout: 0.0,
    };
    let optimizer = AdamwConfig::default();
    SessionConfig {
        model,
        batch_size: 4,
        t: 128,
        micro_batches: 1,
        optimizer,
        seed: 7,
        keep: ReadBack::default(),
        memory: Memory::default(),
        document_mask: false,
    }
}

fn shapes_of(config: &SessionConfig, caps: &Caps) -> Shapes {
    let plan = Session::plan(config, caps, &Choice::default()).unwrap();
    shapes(&plan.graph, caps)
}

/// Reports made-up times: each candidate's place in the list, with the usual one last.
struct Fake {
    caps: Caps,
    failing: BTreeSet<String>,
    n_race: usize,
}

impl Fake {
    fn new(caps: Caps) -> Self {
        Self { caps, failing: BTreeSet::new(), n_race: 0 }
    }
}

impl Measure for Fake {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn usual(&self, task: &Task) -> String {
        task.candidates(&self.caps).last().unwrap().clone()
    }

    fn race(&mut self, task: &Task, candidates: &[String]) -> Result<Vec<Measurement>, ExecError> {
        self.n_race += 1;
        let all = task.candidates(&self.caps);
        let lap = |candidate: &String| {
            let failed = self.failing.contains(candidate).then(|| "wrong on purpose".to_string());
            let place = all.iter().position(|c| c == candidate).unwrap();
            // a failed one may even have a time
            Measurement { candidate: candidate.clone(), ms: Some(1.0 + place as f64), compile_ms: 0.0, failed }
        };
        Ok(candidates.iter().map(lap).collect())
    }
}

fn tune_with(shapes: &Shapes, which: Which, cache: &mut Cache, measure: &mut dyn Measure) -> Tuned {
    tune(shapes, which, Duration::MAX, cache, measure, |_, _| {}).unwrap()
}

#[test]
fn the_most_work_is_measured_first_and_nothing_beyond_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), &gpu());
    let shapes = shapes_of(&config(), &Caps::desktop());
    let mut fake = Fake::new(Caps::desktop());
    let mut order = vec![];
    let none = tune(&shapes, Which::Missing, Duration::ZERO, &mut cache, &mut fake, |_, _| {}).unwrap();
    assert_eq!((none.n_measured, none.entries.len(), fake.n_race), (0, 0, 0));
    let all = tune(&shapes, Which::Missing, Duration::MAX, &mut cache, &mut fake, |key, _| order.push(key.to_string()));
    assert_eq!(all.unwrap().n_measured, shapes.len());
    let work: Vec<u64> = order.iter().map(|key| shapes[key].0.flops() * shapes[key].1).collect();
    assert!(work.len() > 2 && work.is_sorted_by(|a, b| a >= b), "{work:?}");
}

#[test]
fn every_product_and_attention_of_a_model_has_a_task() {
    for caps in [Caps::lavapipe(), Caps::desktop()] {
        for preset in ["xs", "s", "gpt2"] {
            let session = BenchPreset::by_name(preset).unwrap().session();
            let plan = Session::plan(&session, &caps, &Choice::default()).unwrap();
            let tuned = |kernel: &str| kernel.starts_with("matmul_") || kernel.starts_with("attention_flash_");
            let n = plan.steps.iter().filter(|s| tuned(s.dispatch.kernel.name)).count();
            let small = |s: &&tril::plan::Step| tuned(s.dispatch.kernel.name) && s.dispatch.flops < 1 << 23;
            // what is too small to matter has none; attention doesn't say its operations in its dispatches
            let n_small = plan.steps.iter().filter(small).filter(|s| s.dispatch.flops > 0).count();
            let found = shapes(&plan.graph, &caps);
            let n_found: u64 = found.values().map(|(_, n)| n).sum();
            assert_eq!(n_found as usize, n - n_small, "{preset}: {:?}", found.keys());
            for (key, (task, _)) in &found {
                assert!(task.candidates(&caps).len() > 1 || !caps.is_cpu, "{key}: {:?}", task.candidates(&caps));
            }
        }
    }
}

#[test]
fn tuned_tasks_use_the_pick_and_pins_take_precedence() {
    let (config, caps) = (config(), Caps::lavapipe());
    let found = shapes_of(&config, &caps);
    let picks: BTreeMap<String, String> =
        found.iter().map(|(key, (task, _))| (key.clone(), task.candidates(&caps).pop().unwrap())).collect();
    let names = |choice: &Choice| -> BTreeSet<String> {
        let plan = Session::plan(&config, &caps, choice).unwrap();
        plan.steps.iter().map(|s| s.dispatch.name()).collect()
    };
    let (tuned, usual) = (names(&Choice::of_tuned(picks.clone())), names(&Choice::default()));
    assert_ne!(tuned, usual);
    for pick in picks.values() {
        // a product whose rows don't begin at multiples of four uses the other kernel
        assert!(tuned.contains(pick) || pick.contains("direct"), "{pick}: {tuned:?}");
    }
    let pinned = names(&Choice::of_tuned(picks).pin("matmul", "tiled").pin("attention_flash", "tiled"));
    assert_eq!(pinned, names(&Choice::default().pin("matmul", "tiled").pin("attention_flash", "tiled")));
    let unknown = found.keys().map(|key| (key.clone(), "matmul_none/none".to_string())).collect();
    names(&Choice::of_tuned(unknown));
}

#[test]
fn a_kernel_that_fails_its_check_is_never_picked() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cache, mut fake) = (Cache::of(dir.path(), "device"), Fake::new(Caps::lavapipe()));
    let found = shapes_of(&config(), &fake.caps);
    let all: BTreeSet<String> = found.values().flat_map(|(task, _)| task.candidates(&fake.caps)).collect();
    for failing in all {
        fake.failing = BTreeSet::from([failing.clone()]);
        let tuned = tune_with(&found, Which::All, &mut cache, &mut fake);
        assert!(tuned.choice.tuned().values().all(|pick| *pick != failing), "{failing}");
        let others = |task: &Task| task.candidates(&fake.caps).into_iter().find(|c| *c != failing);
        for (key, (task, _)) in &found {
            assert_eq!(tuned.choice.tuned().get(key), others(task).as_ref(), "{key}");
        }
    }
    fake.failing = found.values().flat_map(|(task, _)| task.candidates(&fake.caps)).collect();
    assert!(tune_with(&found, Which::All, &mut cache, &mut fake).choice.tuned().is_empty());
}

#[test]
fn the_device_finds_a_candidate_that_computes_wrongly() {
    let gpu = gpu();
    let found = shapes_of(&config(), gpu.caps());
    let (key, (task, _)) = found.iter().find(|(key, _)| key.starts_with("matmul") && key.contains("bias")).unwrap();
    let one = Shapes::from([(key.clone(), (*task, 1))]);
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open(dir.path(), &gpu);
    let sound = tune_with(&one, Which::All, &mut cache, &mut OnDevice::new(&gpu));
    let entry = &sound.entries[key];
    assert!(entry.laps.iter().all(|lap| lap.failed.is_none() && lap.ms.is_some()), "{entry:?}");
    let pick = entry.pick.clone().unwrap();
    let spoiled = tune_with(&one, Which::All, &mut cache, &mut OnDevice::new(&gpu).spoil(&pick));
    let entry = &spoiled.entries[key];
    let lap = entry.laps.iter().find(|lap| lap.candidate == pick).unwrap();
    assert!(lap.failed.as_ref().is_some_and(|why| why.contains("row")) && lap.ms.is_none(), "{lap:?}");
    assert_ne!(entry.pick.as_ref(), Some(&pick));
}

#[test]
fn the_device_finds_errors_in_fused_work() {
    let gpu = gpu();
    // a GPU's tasks, on whatever device is available
    let found = shapes_of(&config(), &Caps::desktop());
    let candidates = ["default", "t32"].map(|variant| format!("matmul_tiled4_fused/{variant}"));
    let kinds = [("bias gelu", "second"), ("gelu gradient", "row"), ("bias residual", "row"), (" columns", "second")];
    for (kind, said) in kinds {
        let (key, (task, _)) = found.iter().find(|(key, _)| key.contains(kind)).unwrap();
        assert!(candidates.iter().all(|c| task.candidates(&Caps::desktop()).contains(c)), "{key}");
        let sound = OnDevice::new(&gpu).race(task, &candidates).unwrap();
        assert_eq!(sound.len(), 2);
        assert!(sound.iter().all(|lap| lap.failed.is_none()), "{key}: {sound:?}");
        let spoiled = OnDevice::new(&gpu).spoil(&candidates[1]).race(task, &candidates).unwrap();
        assert!(spoiled[0].failed.is_none() && spoiled[1].ms.is_none(), "{key}: {spoiled:?}");
        assert!(spoiled[1].failed.as_ref().is_some_and(|why| why.contains(said)), "{key}: {spoiled:?}");
    }
}

#[test]
fn measurements_are_remembered_per_device_and_kernels() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::new(Caps::lavapipe());
    let found = shapes_of(&config(), &fake.caps);
    let first = tune_with(&found, Which::Missing, &mut Cache::of(dir.path(), "device"), &mut fake);
    assert_eq!((first.n_measured, first.n_task), (found.len(), found.len()));
    fake.n_race = 0;
    let second = tune_with(&found, Which::Missing, &mut Cache::of(dir.path(), "device"), &mut fake);
    assert_eq!((fake.n_race, second.n_measured, &second.choice), (0, 0, &first.choice));
    // another driver
    assert!(tune_with(&found, Which::Cached, &mut Cache::of(dir.path(), "device 2"), &mut fake).entries.is_empty());
    // another version of a kernel
    let path = Cache::of(dir.path(), "device").path().to_path_buf();
    let text = fs::read_to_string(&path).unwrap();
    let checksum = &first.entries.values().next().unwrap().checksum;
    fs::write(&path, text.replace(checksum.as_str(), "00000000")).unwrap();
    let with_it = first.entries.values().filter(|entry| entry.checksum == *checksum).count();
    let third = tune_with(&found, Which::Missing, &mut Cache::of(dir.path(), "device"), &mut fake);
    assert_eq!((third.n_measured, &third.choice), (with_it, &first.choice));
    // results of another process in the meantime are adopted, so that both choose alike
    let (mut one, mut two) = (Cache::of(dir.path(), "both"), Cache::of(dir.path(), "both"));
    let first = tune_with(&found, Which::Missing, &mut one, &mut fake);
    fake.failing = found.values().map(|(task, _)| task.candidates(&fake.caps)[0].clone()).collect();
    let later = tune_with(&found, Which::Missing, &mut two, &mut fake);
    assert_eq!((later.n_measured, &later.choice), (1, &first.choice));
}

#[test]
fn a_damaged_cache_is_measured_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::new(Caps::lavapipe());
    let found = shapes_of(&config(), &fake.caps);
    let path = Cache::of(dir.path(), "device").path().to_path_buf();
    for damaged in ["", "{\"device\": \"device\"", "[1, 2]"] {
        fs::write(&path, damaged).unwrap();
        let mut cache = Cache::of(dir.path(), "device");
        assert!(cache.take_warning().is_some_and(|w| w.contains("ignored") && w.lines().count() == 1));
        assert_eq!(tune_with(&found, Which::Missing, &mut cache, &mut fake).n_measured, found.len());
        assert!(cache.take_warning().is_none());
        assert!(Cache::of(dir.path(), "device").take_warning().is_none());
    }
    // nowhere to write
    fs::write(dir.path().join("file"), "").unwrap();
    let mut cache = Cache::of(&dir.path().join("file"), "device");
    cache.take_warning();
    let tuned = tune_with(&found, Which::Missing, &mut cache, &mut fake);
    assert_eq!(tuned.choice.tuned().len(), found.len());
    assert!(cache.take_warning().is_some_and(|w| w.contains("TRIL_CACHE_DIR")));
}

/// A separate device, whose choice of kernels isn't shared with other tests.
fn own_gpu() -> std::sync::Arc<Gpu> {
    Gpu::open(&GpuOptions { checked: gpu().is_checked(), ..GpuOptions::default() }).unwrap()
}

#[test]
fn a_tuned_model_trains_like_an_untuned_one() {
    let (gpu, config) = (own_gpu(), config());
    let found = shapes_of(&config, gpu.caps());
    let usual = Session::plan(&config, gpu.caps(), &Choice::default()).unwrap();
    let other = |task: &Task| {
        let used = |c: &&String| usual.steps.iter().any(|s| s.dispatch.name() == **c);
        let candidates = task.candidates(gpu.caps());
        candidates.iter().find(|c| !used(c)).unwrap_or(&candidates[0]).clone()
    };
    // a kernel other than the usual one everywhere, whether or not it is faster
    let picks = found.iter().map(|(key, (task, _))| (key.clone(), other(task))).collect();
    let batch = tril::data::Batch {
        tokens: (0..512).map(|i| (i * 7 + i / 9) % 61).collect(),
        targets: (0..512).map(|i| (i * 7 + i / 9 + 1) % 61).collect(),
        firsts: vec![],
        b: 4,
        t: 128,
    };
    let mut gradients = vec![];
    for choice in [Choice::default(), Choice::of_tuned(picks)] {
        let mut session = Session::with_kernels(&gpu, config.clone(), &choice).unwrap();
        let loss = session.forward_backward(&batch).unwrap();
        let weights = session.param_names().into_iter().map(|name| session.gradient(&name).unwrap());
        gradients.push((loss, weights.collect::<Vec<_>>(), session.program().plan().n_dispatch(Phase::MicroBatch)));
    }
    let (usual, tuned) = (&gradients[0], &gradients[1]);
    assert!((usual.0 - tuned.0).abs() < 1e-5, "{} {}", usual.0, tuned.0);
    for (a, b) in usual.1.iter().zip(&tuned.1) {
        let largest = a.iter().fold(0f32, |most, x| most.max(x.abs()));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-5 * largest.max(1e-3)));
    }
    check_model(&gpu).unwrap();
}

/// The settings of [`config`] for the command.
const FLAGS: &str = "--n-layer 1 --n-head 2 --n-embd 128 --block-size 128 --batch-size 4 --warmup-steps 2 --eval-windows 4 \
                     --sample-every 0";

fn tril(dir: &Path, cache: &str, args: &str) -> Output {
    let output = cli::command()
        .args(args.split_whitespace())
        .env("TRIL_CACHE_DIR", dir.join(cache))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "tril {args}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The header of a tensor file, the bytes after it, and the progress in it.
fn progress(path: &Path) -> (Vec<u8>, Vec<u8>, serde_json::Value) {
    let bytes = fs::read(path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let progress = serde_json::from_str(header["__metadata__"]["progress"].as_str().unwrap()).unwrap();
    (bytes[8..end].to_vec(), bytes[end..].to_vec(), progress)
}

#[test]
fn the_command_tunes_once_and_runs_use_it_and_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let first = said(&tril(at, "cache", &format!("tune {FLAGS}")));
    assert!(first.contains("GFLOP/s") && first.contains("shapes measured in"), "{first}");
    let cache = fs::read_dir(at.join("cache")).unwrap().map(|e| e.unwrap().path());
    let file = cache.filter(|p| p.extension().is_some_and(|e| e == "json")).collect::<Vec<_>>();
    let [file] = &file[..] else { panic!("{file:?}") };
    let text = fs::read_to_string(file).unwrap();
    let again = said(&tril(at, "cache", &format!("tune {FLAGS}")));
    assert!(again.contains("0 shapes measured") && again.contains("--force"), "{again}");
    assert_eq!(fs::read_to_string(file).unwrap(), text);

    // without tuning, and with other kernels than usual
    let train = |out: &str, more: &str| {
        said(&tril(at, "cache", &format!("train {FLAGS} --seed 3 --checkpoint-every 2 --out {out} {more}")))
    };
    let plain = train("plain", "--steps 4 --no-tune");
    assert!(!plain.contains("kernels  "), "{plain}");
    let mut other: serde_json::Value = serde_json::from_str(&text).unwrap();
    for entry in other["entries"].as_object_mut().unwrap().values_mut() {
        let laps: Vec<String> = entry["laps"].as_array().unwrap().iter().map(|l| l["candidate"].to_string()).collect();
        let usual = entry["usual"].to_string();
        let pick = laps.iter().find(|c| **c != usual).unwrap_or(&usual);
        entry["pick"] = serde_json::from_str(pick).unwrap();
    }
    fs::write(file, other.to_string()).unwrap();
    let whole = train("whole", "--steps 4");
    assert!(whole.contains("kernels  tuned before"), "{whole}");
    train("part", "--steps 2");
    // a run that has begun ignores the cache
    fs::write(file, &text).unwrap();
    let resumed = said(&tril(at, "cache", "train --resume part --steps 4"));
    assert!(!resumed.contains("warning"), "{resumed}");
    let model = |run: &str| fs::read(at.join(run).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("part"));
    let kernels = |run: &str| {
        let (_, _, progress) = progress(&cli::states(&at.join(run)).pop().unwrap());
        (progress["kernels"].clone(), progress["tuned"].clone())
    };
    assert_eq!(kernels("whole"), kernels("part"));
    assert_ne!(kernels("whole").0, kernels("plain").0);
    assert!(kernels("plain").1.as_object().unwrap().is_empty());

    // on another device (here only the checkpoint names one) a run chooses again, and reports it
    let state = cli::states(&at.join("part")).pop().unwrap();
    let (header, rest, mut elsewhere) = progress(&state);
    elsewhere["device"] = "another GPU".into();
    let mut header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    // its checksum is of the tensors alone, as it once was
    let meta = header["__metadata__"].as_object_mut().unwrap();
    meta.insert("progress".into(), elsewhere.to_string().into());
    meta.insert("crc32".into(), format!("{:08x}", crc32fast::hash(&rest)).into());
    assert!(meta.remove("crc32_of").is_some());
    let header = header.to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&state, [&length[..], &header, &rest].concat()).unwrap();
    let moved = said(&tril(at, "cache", "train --resume part --steps 5"));
    assert!(
        moved.contains("the checkpoint was made on another GPU") && moved.contains("kernels  tuned before"),
        "{moved}"
    );
    assert_ne!(kernels("part"), kernels("whole"));
}

#[test]
fn a_model_whose_products_are_all_small_has_nothing_to_measure() {
    let dir = tempfile::tempdir().unwrap();
    let small = "tune --vocab-size 65 --n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --batch-size 2";
    let out = said(&tril(dir.path(), "cache", small));
    assert!(
        out.contains("nothing to measure: all matrix products of this model are too small for the choice to matter\n"),
        "{out}"
    );
}

#[test]
fn without_tuning_nothing_is_measured_and_nothing_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let first = said(&tril(at, "cache", &format!("train {FLAGS} --steps 1 --no-tune --out run")));
    let device = first.lines().find_map(|line| line.strip_prefix("device   ")).unwrap();
    // the check of the device is recorded there, too
    let kept = fs::read_dir(at.join("cache")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(kept.map(|name| name.to_string_lossy().into_owned()).all(|name| name.starts_with("right-")));
    let damaged = at.join("damaged");
    fs::create_dir(&damaged).unwrap();
    let name = Cache::of(&damaged, device).path().file_name().unwrap().to_owned();
    fs::write(damaged.join(name), "{").unwrap();
    let out = said(&tril(at, "damaged", &format!("train {FLAGS} --steps 1 --out other")));
    assert_eq!(out.matches("is ignored").count(), 1, "{out}");
}

#[test]
fn a_run_that_will_take_long_tunes_first_and_a_short_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let short = said(&tril(at, "cache", &format!("train {FLAGS} --steps 1 --out short")));
    if crate::gpu().caps().is_cpu {
        assert!(short.contains("kernels  chosen by the kind of device"), "{short}");
    }
    // years on any device, of which the header is enough
    let long = |out: &str, more: &str| {
        let args = format!("train {FLAGS} --steps 1000000000 --out {out} {more}");
        let mut command = cli::command();
        command.args(args.split_whitespace()).env("TRIL_CACHE_DIR", at.join("cache")).current_dir(at);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let head: Vec<String> = lines.take_while(|line| !line.starts_with("step ")).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        head.join("\n")
    };
    assert!(!long("untuned", "--no-tune").contains("kernels  "));
    let first = long("first", "");
    assert!(first.contains("kernels  tuned for ") && first.contains("also for later runs"), "{first}");
    assert!(long("second", "").contains("kernels  tuned "));
    let (_, _, progress) = progress(&cli::states(&at.join("first")).pop().unwrap());
    assert!(!progress["tuned"].as_object().unwrap().is_empty());
    let again = said(&tril(at, "cache", &format!("train {FLAGS} --steps 1 --out again")));
    assert!(again.contains("kernels  tuned before"), "{again}");
}
