//! Checks that the golden files are those that the committed script made.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::golden::folder;

/// Compares a manifest with the files on disk, and returns their names.
pub fn check(folder: &Path, script: &str) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(folder.join("MANIFEST")).unwrap();
    let mut listed = BTreeSet::new();
    for line in manifest.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [crc32, n_bytes, name] = fields[..] else {
            panic!("not `crc32 bytes name`: {line}");
        };
        let bytes = std::fs::read(folder.join(name)).unwrap();
        assert_eq!(bytes.len().to_string(), n_bytes, "{name}: run {script} again");
        assert_eq!(format!("{:08x}", crc32fast::hash(&bytes)), crc32, "{name}: run {script} again");
        listed.insert(name.to_owned());
    }
    listed
}

#[test]
fn every_golden_is_listed_with_its_checksum() {
    let listed = check(&folder(), "make_golden.py");
    let present: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".safetensors") || name.ends_with(".py"))
        .collect();
    assert_eq!(listed, present, "MANIFEST on the left, the folder on the right");
}

#[test]
fn the_manifest_names_versions_and_seed() {
    let manifest = std::fs::read_to_string(folder().join("MANIFEST")).unwrap();
    for word in ["torch", "numpy", "python", "seed"] {
        assert!(manifest.lines().any(|line| line.starts_with('#') && line.contains(word)), "no {word}");
    }
}
