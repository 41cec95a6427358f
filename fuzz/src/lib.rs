//! Shared code of all fuzz targets.

pub mod readers;

use std::alloc::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cap::Cap;
use readers::Reader;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The memory a reader may use: this many bytes for each byte that it reads, plus a constant.
const FOLD: usize = 64;
const BESIDES: usize = 24 << 20;

/// The reader of this process, and a folder for its files.
static THIS: OnceLock<(&Reader, PathBuf)> = OnceLock::new();

/// Chooses the reader, puts its seeds where `cargo fuzz` looks for them, and reads them once to initialize statics.
pub fn begin(name: &str) {
    let reader = readers::ALL.iter().find(|reader| reader.name == name);
    let reader = reader.unwrap_or_else(|| panic!("no reader is called {name}"));
    // in memory, if the system has a place for that
    let shm = PathBuf::from("/dev/shm");
    let root = if shm.is_dir() { shm } else { std::env::temp_dir() };
    let scratch = root.join(format!("tril-fuzz-{name}-{}", std::process::id()));
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    for folder in [&scratch, &corpus] {
        fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    }
    for (i, seed) in (reader.seeds)().iter().enumerate() {
        let path = corpus.join(format!("seed-{i}"));
        fs::write(&path, seed).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!((reader.read)(seed, &scratch), "{name} doesn't take its seed {i}");
    }
    let _ = THIS.set((reader, scratch));
}

/// Runs the reader, which may use no more memory than a small multiple of the input's size.
pub fn run(bytes: &[u8]) {
    let (reader, scratch) = THIS.get().unwrap_or_else(|| panic!("begin comes first"));
    let _ = ALLOCATOR.set_limit(ALLOCATOR.allocated() + BESIDES + FOLD * bytes.len());
    let _ = (reader.read)(bytes, scratch);
    let _ = ALLOCATOR.set_limit(usize::MAX);
}
