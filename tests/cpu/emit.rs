//! The shaders of a plan as files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tril::emit::{EmitError, Manifest, emit, kernels};
use tril::files::claim::Claim;
use tril::kernel::{Caps, Choice};
use tril::model::{Memory, ModelConfig, ReadBack};
use tril::plan::Plan;
use tril::train::{AdamwConfig, Session, SessionConfig};

fn plan(preset: &str, caps: &Caps, choice: &Choice) -> Plan {
    let model = ModelConfig::preset(preset).unwrap();
    let (optimizer, keep, memory) = (AdamwConfig::default(), ReadBack::default(), Memory::default());
    let config = SessionConfig {
        model,
        batch_size: 2,
        t: 64,
        micro_batches: 1,
        optimizer,
        seed: 1,
        keep,
        memory,
        document_mask: false,
    };
    Session::plan(&config, caps, choice).unwrap()
}

/// Both families, and a device without subgroups.
fn plans() -> Vec<Plan> {
    let families = [
        (Caps::lavapipe(), Choice::default()),
        (Caps { subgroup: 0, ..Caps::lavapipe() }, Choice::default()),
        (Caps::desktop(), Choice::gpu_family()),
    ];
    let presets = ["nano", "char", "gpt2"];
    families.iter().flat_map(|(caps, choice)| presets.map(|preset| plan(preset, caps, choice))).collect()
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_form_of_every_kernel_is_valid_and_in_the_manifest() {
    for plan in plans() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = emit(&plan, dir.path()).unwrap();
        let json = fs::read(dir.path().join("manifest.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&json).unwrap(), manifest);
        let mut expected = BTreeSet::from(["manifest.json".to_owned()]);
        for entry in &manifest.kernels {
            for ending in ["wgsl", "spv", "metal", "hlsl"] {
                expected.insert(format!("{}.{ending}", entry.file));
            }
            let read = |ending: &str| fs::read(dir.path().join(format!("{}.{ending}", entry.file))).unwrap();
            let [x, y, z] = entry.workgroup;
            let wgsl = String::from_utf8(read("wgsl")).unwrap();
            assert_eq!(format!("{:08x}", crc32fast::hash(wgsl.as_bytes())), entry.checksum);
            let module = naga::front::wgsl::parse_str(&wgsl).unwrap();
            assert_eq!(module.entry_points[0].workgroup_size, entry.workgroup, "{}", entry.file);
            let hlsl = String::from_utf8(read("hlsl")).unwrap();
            assert!(hlsl.contains(&format!("[numthreads({x}, {y}, {z})]")), "{}", entry.file);
            assert!(String::from_utf8(read("metal")).unwrap().contains("kernel void main_"), "{}", entry.file);
            let words: Vec<u32> = read("spv").chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect();
            // magic number; an instruction's first word is its length and its opcode; OpExecutionMode is 16, LocalSize
            // 17
            assert_eq!(words[0], 0x0723_0203);
            let mut at = 5;
            let mut sizes = vec![];
            while at < words.len() {
                let (len, op) = ((words[at] >> 16) as usize, words[at] & 0xffff);
                assert!(len > 0, "{}: an instruction without words at {at}", entry.file);
                if op == 16 && words[at + 2] == 17 {
                    sizes.push([words[at + 3], words[at + 4], words[at + 5]]);
                }
                at += len;
            }
            assert_eq!((at, sizes), (words.len(), vec![entry.workgroup]), "{}", entry.file);
        }
        assert_eq!(names(dir.path()), expected);
    }
}

#[test]
fn the_manifest_counts_every_dispatch_once() {
    for plan in plans() {
        let all = kernels(&plan);
        assert_eq!(all.iter().map(|(k, _)| k.n_dispatch).sum::<usize>(), plan.steps.len());
        assert_eq!(all.iter().map(|(k, _)| k.flops).sum::<u64>(), plan.steps.iter().map(|s| s.cost.flops).sum::<u64>());
        let files: BTreeSet<_> = all.iter().map(|(k, _)| &k.file).collect();
        assert_eq!(files.len(), all.len(), "a file for each");
        let labels: BTreeSet<_> = all.iter().flat_map(|(k, _)| &k.used_by).collect();
        assert_eq!(labels, plan.steps.iter().map(|s| &s.label).collect());
    }
}

#[test]
fn a_folder_with_files_is_left_alone() {
    let plan = plan("nano", &Caps::lavapipe(), &Choice::default());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.txt"), "kept").unwrap();
    let error = emit(&plan, dir.path()).unwrap_err();
    assert!(matches!(error, EmitError::NotEmpty(_)), "{error}");
    assert_eq!(names(dir.path()), BTreeSet::from(["mine.txt".to_owned()]));
    let file = dir.path().join("mine.txt").join("below");
    assert!(matches!(emit(&plan, &file).unwrap_err(), EmitError::Write { .. }));
}

#[test]
fn one_process_writes_to_a_folder_at_a_time_and_a_killed_one_is_no_hindrance() {
    let plan = plan("nano", &Caps::lavapipe(), &Choice::default());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/shaders");
    let claim = Claim::take(&out).unwrap().unwrap();
    let error = emit(&plan, &out).unwrap_err();
    assert!(error.to_string().contains("is being written by another tril"), "{error}");
    assert_eq!(names(&out), BTreeSet::from([".lock".to_owned()]));
    drop(claim);
    assert!(!dir.path().join("new").exists());

    fs::create_dir_all(&out).unwrap();
    for left in [".lock", "gelu_forward.default.01234567.wgsl", "manifest.json"] {
        fs::write(out.join(left), "").unwrap();
    }
    let manifest = emit(&plan, &out).unwrap();
    assert_eq!(names(&out).len(), 4 * manifest.kernels.len() + 1);
    assert!(!names(&out).contains(".lock"));

    // files of others are never removed
    fs::write(out.join(".lock"), "").unwrap();
    fs::write(out.join("mine.txt"), "kept").unwrap();
    let before = names(&out).len();
    assert!(matches!(emit(&plan, &out).unwrap_err(), EmitError::NotEmpty(_)));
    assert_eq!(names(&out).len(), before - 1);
}
