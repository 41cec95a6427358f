//! Graphs and plans without a device.

use tril::data::{Mode, Source};
use tril::graph::{Phase, Recompute};
use tril::kernel::{Caps, Choice};
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::plan::{Interval, Plan, PlanError, assign, most_alive};
use tril::run::{RunConfig, Schedule, ScheduleKind};
use tril::tensor::{Role, TensorId};
use tril::train::{AdamwConfig, Session, SessionConfig, SessionError};

fn plan(preset: &str, batch_size: u64, t: u64, caps: &Caps) -> Result<Plan, SessionError> {
    let model = ModelConfig::preset(preset).unwrap();
    let optimizer = AdamwConfig::default();
    let config = SessionConfig {
        model,
        batch_size,
        t,
        micro_batches: 1,
        optimizer,
        seed: 1,
        keep: ReadBack::default(),
        memory: Memory::default(),
        document_mask: false,
    };
    Session::plan(&config, caps, &Choice::default())
}

#[test]
fn gpt2_fits_bindings_of_128_mib() {
    for caps in [Caps::lavapipe(), Caps { max_buffer_bytes: 2 << 30, ..Caps::webgpu_default() }] {
        let plan = plan("gpt2", 1, 1024, &caps).unwrap();
        let (bytes, _) = plan.largest_binding();
        assert!(bytes <= 128 << 20);
        let params = plan.bytes_by_role()[&Role::Param];
        assert!((124_439_808 * 4..125_000_000 * 4).contains(&params), "{params}");
        assert_eq!(plan.bytes_by_role()[&Role::OptimizerState], 2 * params);
    }
}

#[test]
fn nano_fits_webgpu_defaults() {
    plan("nano", 12, 64, &Caps::webgpu_default()).unwrap();
}

#[test]
fn plans_that_do_not_fit_fail_before_a_device_is_used() {
    let error = plan("gpt2", 64, 1024, &Caps::lavapipe()).unwrap_err().to_string();
    assert!(error.contains("--batch-size"), "{error}");
}

#[test]
fn presets_have_the_known_numbers_of_parameters() {
    // GPT-2's published sizes; nanoGPT prints 0.80M and 10.65M without positions
    let cases = [
        ("stories", 393_600),
        ("nano", 804_096),
        ("char", 10_745_088),
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ];
    for (name, n) in cases {
        assert_eq!(ModelConfig::preset(name).unwrap().n_param(), n, "{name}");
    }
}

#[test]
fn activations_alive_together_never_share_memory() {
    // a deterministic spread of overlapping lifetimes, of similar sizes except for a few huge ones
    for tower in [1u64, 40] {
        let mut intervals = vec![];
        for i in 0..200usize {
            let first = (i * 37) % 150;
            let last = first + (i * 13) % 40;
            let bytes = 16 + (i as u64 * 7919) % 5000 * if i % 20 == 0 { tower } else { 1 };
            let nodes = if first == last { vec![first] } else { vec![first, last] };
            intervals.push(Interval { tensor: TensorId(i), first, last, nodes, bytes });
        }
        let slots = assign(&intervals);
        for (i, a) in intervals.iter().enumerate() {
            assert!(slots.bytes[slots.slot[i]] >= slots.offset[i] + a.bytes);
            assert!(slots.offset[i].is_multiple_of(256));
            for (j, b) in intervals.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                if slots.slot[i] == slots.slot[j] && together {
                    let apart =
                        slots.offset[i] + a.bytes <= slots.offset[j] || slots.offset[j] + b.bytes <= slots.offset[i];
                    assert!(apart && !a.nodes.iter().any(|n| b.nodes.contains(n)), "{a:?} and {b:?}");
                }
            }
        }
        let naive: u64 = intervals.iter().map(|i| i.bytes).sum();
        let taken = slots.bytes.iter().sum::<u64>();
        assert!(taken < naive / 2 && taken >= most_alive(&intervals), "{taken}");
    }
}

#[test]
fn updates_come_after_micro_batches() {
    let plan = plan("nano", 2, 16, &Caps::lavapipe()).unwrap();
    let phases: Vec<Phase> = plan.steps.iter().map(|s| s.phase).collect();
    assert!(phases.is_sorted());
    assert!(plan.n_dispatch(Phase::Update) >= 4);
}

#[test]
fn invalid_settings_name_their_flag() {
    let base = RunConfig::preset("nano").unwrap();
    let change = |f: &dyn Fn(&mut RunConfig)| {
        let mut config = base.clone();
        f(&mut config);
        config.validate().unwrap_err().to_string()
    };
    let cases: [(&str, String); 9] = [
        ("--n-head", change(&|c| c.model.n_head = 3)),
        ("--n-layer", change(&|c| c.model.n_layer = 0)),
        ("--dropout", change(&|c| c.model.dropout = 1.0)),
        ("--batch-size", change(&|c| c.train.batch_size = 0)),
        ("--lr", change(&|c| c.train.lr = f64::NAN)),
        ("--warmup-steps", change(&|c| c.train.warmup_steps = u64::MAX)),
        ("--warmup-steps", change(&|c| c.train.warmup_steps = 1 << 32)),
        ("--min-lr", change(&|c| c.train.min_lr = 1.0)),
        ("--beta2", change(&|c| c.train.optimizer.beta2 = 1.0)),
    ];
    for (flag, message) in cases {
        assert!(message.starts_with(flag), "{flag}: {message}");
    }
    let mut longest = base.clone();
    longest.train.warmup_steps = u32::MAX.into();
    longest.validate().unwrap();
    let lr = longest.schedule().at(0);
    assert!(lr > 0.0 && lr < longest.train.lr, "{lr}");
    assert!(ModelConfig::preset("huge").unwrap_err().to_string().contains("gpt2-xl"));
}

#[test]
fn toml_goes_over_a_preset_and_back() {
    let base = RunConfig::preset("nano").unwrap();
    let over = base.overlaid("f.toml", "[model]\nn_layer = 2\n[train.optimizer]\nbeta1 = 0.8\n").unwrap();
    assert_eq!((over.model.n_layer, over.train.optimizer.beta1), (2, 0.8));
    assert_eq!(over.model.n_head, base.model.n_head);
    assert_eq!(RunConfig::from_toml("config.toml", &over.to_toml()).unwrap(), over);
    let documents = base.overlaid("f.toml", "[data.mode]\nkind = \"documents\"\nseparator = \"%\"\n").unwrap();
    assert_eq!(documents.data.mode, Mode::Documents { separator: "%".into() });
    let files = base.overlaid("f.toml", "[data.source]\nkind = \"files\"\npaths = [\"a.txt\"]\n").unwrap();
    assert_eq!(files.data.source, Source::Files { paths: vec!["a.txt".into()], lossy: false });
}

/// A configuration from before the option existed keeps its behaviour.
#[test]
fn packing_and_its_mask_are_recorded_and_off_in_old_runs() {
    let base = RunConfig::preset("nano").unwrap();
    assert!(!base.to_toml().contains("pack") && !base.to_toml().contains("document_mask"));
    let (old, options) = (base.to_toml(), |config: &RunConfig| (config.data_options(), config.session().document_mask));
    let (of_old, mask) = options(&RunConfig::from_toml("config.toml", &old).unwrap());
    assert!(!of_old.pack && !of_old.document_mask && !mask);
    let new = base.overlaid(
        "f.toml",
        "[data]\npack = true\ndocument_mask = true\nmode = { kind = \"documents\", separator = \"%\" }",
    );
    let new = RunConfig::from_toml("config.toml", &new.unwrap().to_toml()).unwrap();
    let (of_new, mask) = options(&new);
    assert!(of_new.pack && of_new.document_mask && mask);
    let mut stream = new.clone();
    (stream.data.mode, stream.model.vocab_size) = (Mode::Stream, 10);
    let message = stream.validate().unwrap_err().to_string();
    assert!(message.starts_with("--pack") && message.contains("--mode documents"), "{message}");
}

#[test]
fn learning_rate_schedules_have_their_shapes() {
    let at = |kind, step| Schedule { kind, lr: 1.0, min_lr: 0.1, warmup_steps: 10, steps: 110 }.at(step);
    let cases = [
        (ScheduleKind::Constant, 0, 1.0 / 11.0),
        (ScheduleKind::Constant, 9, 10.0 / 11.0),
        (ScheduleKind::Constant, 100, 1.0),
        (ScheduleKind::Cosine, 10, 1.0),
        (ScheduleKind::Cosine, 60, 0.55),
        (ScheduleKind::Cosine, 110, 0.1),
        (ScheduleKind::Linear, 60, 0.55),
        (ScheduleKind::Linear, 200, 0.1),
        (ScheduleKind::Wsd, 89, 1.0),
        (ScheduleKind::Wsd, 100, 0.55),
        (ScheduleKind::Wsd, 110, 0.1),
    ];
    for (kind, step, want) in cases {
        assert!((at(kind, step) - want).abs() < 1e-9, "{kind:?} at {step}: {}", at(kind, step));
    }
}

#[test]
fn a_plan_error_is_a_limit_with_its_numbers() {
    let caps = Caps { max_invocations: 4, ..Caps::webgpu_default() };
    let error = plan("nano", 1, 8, &caps).unwrap_err();
    let SessionError::Exec(tril::exec::ExecError::Plan(PlanError::Limit { value, limit, .. })) = error else {
        panic!("{error}")
    };
    assert!(limit == 4 && value > 4);
}

/// The schedule of fixed configurations, dispatch by dispatch, so that a refactoring shows its changes. After an
/// intended change, `TRIL_BLESS=1 cargo test --release --test cpu snapshot` rewrites the files.
#[test]
fn schedules_equal_their_snapshots() {
    let cases = [
        ("nano_webgpu", ModelConfig { n_layer: 2, ..ModelConfig::preset("nano").unwrap() }, Caps::webgpu_default()),
        ("dropout_lavapipe", ModelConfig { n_layer: 1, ..ModelConfig::preset("char").unwrap() }, Caps::lavapipe()),
        (
            "gpt2_128_mib",
            ModelConfig { n_layer: 1, block_size: 128, ..ModelConfig::preset("gpt2").unwrap() },
            Caps { max_binding_bytes: 128 << 20, ..Caps::desktop() },
        ),
    ];
    for (name, model, caps) in cases {
        let (t, optimizer) = (model.block_size, AdamwConfig::default());
        let config = SessionConfig {
            model,
            batch_size: 2,
            t,
            micro_batches: 1,
            optimizer,
            seed: 1,
            keep: ReadBack::default(),
            memory: Memory::default(),
            document_mask: false,
        };
        let plan = Session::plan(&config, &caps, &Choice::default()).unwrap();
        let mut text = format!("{plan}\n\n");
        for step in &plan.steps {
            let d = &step.dispatch;
            let modes: Vec<String> = d.modes.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let bound: Vec<String> = d
                .bind
                .iter()
                .map(|r| format!("{}[{}..{}]", plan.spec(r.tensor).name, r.start, r.start + r.len))
                .collect();
            let kernel = format!("{}/{} {}", d.kernel.name, d.variant.name, modes.join(" "));
            text += &format!("{} | {} | {:?} | {}\n", step.label, kernel.trim_end(), d.groups, bound.join(", "));
        }
        let path = format!("{}/tests/cpu/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("TRIL_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let known = std::fs::read_to_string(&path).unwrap();
        let changed = text.lines().zip(known.lines()).find(|(now, then)| now != then);
        assert!(changed.is_none(), "{name}: {changed:?}");
        assert_eq!(text.lines().count(), known.lines().count(), "{name} has another number of dispatches");
    }
}

#[test]
fn activations_need_little_more_than_the_live_tensors() {
    let nano = ModelConfig::preset("nano").unwrap();
    let xs = ModelConfig { n_layer: 4, n_head: 4, n_embd: 128, block_size: 128, vocab_size: 256, ..nano.clone() };
    let s = ModelConfig { n_layer: 6, n_head: 6, n_embd: 384, block_size: 256, vocab_size: 65, ..nano };
    let cases =
        [(xs, 8), (s, 12), (ModelConfig::preset("char").unwrap(), 16), (ModelConfig::preset("gpt2").unwrap(), 1)];
    for (model, batch_size) in cases {
        let mut before = u64::MAX;
        for recompute in Recompute::ALL {
            let (t, optimizer, keep) = (model.block_size, AdamwConfig::default(), ReadBack::default());
            let memory = Memory { recompute, ..Memory::default() };
            let config = SessionConfig {
                model: model.clone(),
                batch_size,
                t,
                micro_batches: 1,
                optimizer,
                seed: 1,
                keep,
                memory,
                document_mask: false,
            };
            let plan = Session::plan(&config, &Caps::lavapipe(), &Choice::default()).unwrap();
            let (taken, least) = (plan.bytes_by_role()[&Role::Activation], plan.least_activation_bytes());
            assert!(taken as f64 <= 1.04 * least as f64, "--recompute {recompute}: {taken} for {least}, {model:?}");
            assert!(taken < before, "--recompute {recompute} saves nothing, {model:?}");
            before = taken;
        }
    }
}
