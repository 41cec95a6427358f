//! What a refactoring of the model must not change: graphs, plans, initial weights and exported files, by their
//! previous checksums.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use tril::data::Tokenizer;
use tril::graph::{AdamwConfig, Graph, Recompute, Training};
use tril::interop::export::{Target, export};
use tril::kernel::{Caps, Choice};
use tril::model::{BatchShape, CachedGpt, Gpt, Memory, ModelConfig, Positions, Purpose, ReadBack, init_values};
use tril::plan::Plan;

use crate::interop::export::{made, variants};

/// Tensors by name, nodes in order, slabs, and the plan's placement of all of them.
fn described(graph: Graph) -> String {
    let mut text = String::new();
    let mut tensors: Vec<_> = graph
        .tensors
        .iter()
        .map(|t| format!("{} {} {} {:?}", t.name, t.shape, t.dtype, t.role).replace("OptimizerState", "Moment"))
        .collect();
    tensors.sort();
    writeln!(text, "{}", tensors.join("\n")).unwrap();
    for node in &graph.nodes {
        let names =
            |ids: &[tril::tensor::TensorId]| ids.iter().map(|&t| graph.spec(t).name.clone()).collect::<Vec<_>>();
        let (inputs, outputs) = (names(&node.inputs), names(&node.outputs));
        let (op, add, phase) = (&node.op, &node.accumulate, node.phase);
        writeln!(text, "{}: {op:?} {inputs:?} {outputs:?} {add:?} {phase:?}", node.label).unwrap();
    }
    for slab in &graph.slabs {
        let members: Vec<_> = slab.members.iter().map(|m| (&graph.spec(m.param).name, m.start)).collect();
        writeln!(text, "{members:?} {} {}", slab.n_elem, slab.n_decay).unwrap();
    }
    writeln!(text, "{} {}", graph.n_forward, graph.stores_first).unwrap();
    let plan = Plan::new(graph, &Caps::lavapipe(), &Choice::default()).unwrap();
    writeln!(text, "{:?} {}", plan.bytes_by_role(), plan.steps.len()).unwrap();
    text.replace("OptimizerState", "Moment")
}

fn graphs(config: &ModelConfig) -> [(&'static str, String); 8] {
    let optimizer = |adds_up| Purpose::Train(Training { optimizer: &AdamwConfig::DEFAULT, max_norm: 1.0, adds_up });
    let build = |purpose, document_mask, keep, recompute| {
        let rows = BatchShape { document_mask, ..BatchShape::new(2, 4) };
        let memory = Memory { loss_chunk: 3, recompute };
        described(Gpt::build(config, purpose, rows, keep, memory).unwrap().graph)
    };
    let all = ReadBack { logits: true, attention: true };
    [
        ("train", build(optimizer(false), false, ReadBack::default(), Recompute::default())),
        ("train documents", build(optimizer(true), true, ReadBack::default(), Recompute::Block)),
        ("train, keeping all", build(optimizer(true), false, all, Recompute::default())),
        ("score", build(Purpose::Loss, true, ReadBack::default(), Recompute::default())),
        ("score, keeping all", build(Purpose::Loss, false, all, Recompute::default())),
        ("next", build(Purpose::Next, false, ReadBack::default(), Recompute::default())),
        ("prefill", described(CachedGpt::prefill(config, 2, 4).unwrap().graph)),
        ("decode", described(CachedGpt::decode(config, 2).unwrap().graph)),
    ]
}

fn weights(config: &ModelConfig) -> String {
    let mut text = String::new();
    for t in config.params() {
        let values: Vec<f32> = init_values(&t, 7).take(10).collect();
        writeln!(text, "{} {} {values:?}", t.name, t.shape).unwrap();
    }
    text
}

fn folder(path: &Path, crc: &mut crc32fast::Hasher) {
    if path.is_file() {
        crc.update(&fs::read(path).unwrap());
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        crc.update(entry.file_name().unwrap().as_encoded_bytes());
        crc.update(&fs::read(entry).unwrap());
    }
}

#[test]
fn graphs_weights_and_exports_are_what_they_were() {
    let tokenizer = Tokenizer::chars("abc\n");
    let mut got = vec![];
    let wide = ModelConfig { n_embd: 64, n_head: 2, n_layer: 3, ..variants(&tokenizer)[0].clone() };
    let plain =
        ModelConfig { positions: Positions::Sinusoidal, tied: false, bias: false, dropout: 0.0, ..wide.clone() };
    for (i, config) in variants(&tokenizer).into_iter().chain([wide, plain]).enumerate() {
        for (what, text) in graphs(&config) {
            got.push(format!("{i} {what} {:08x}", crc32fast::hash(text.as_bytes())));
        }
        got.push(format!("{i} weights {:08x}", crc32fast::hash(weights(&config).as_bytes())));
        let (temp, mut model) = made(&config, &tokenizer);
        for target in [Target::Hf, Target::Gguf, Target::Llmc] {
            let out = temp.path().join(format!("{target:?}"));
            let mut crc = crc32fast::Hasher::new();
            match export(&mut model, target, &out) {
                Ok(_) => folder(&out, &mut crc),
                Err(error) => crc.update(error.to_string().replace(&temp.path().display().to_string(), "").as_bytes()),
            }
            got.push(format!("{i} {target:?} {:08x}", crc.finalize()));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cpu/unchanged.txt");
    if std::env::var_os("TRIL_ACCEPT").is_some() {
        fs::write(&path, got.join("\n") + "\n").unwrap();
    }
    let want = fs::read_to_string(path).unwrap();
    let want: Vec<&str> = want.lines().collect();
    let changed: Vec<_> = got.iter().filter(|line| !want.contains(&line.as_str())).collect();
    assert!(changed.is_empty() && got.len() == want.len(), "changed: {changed:#?}");
}
