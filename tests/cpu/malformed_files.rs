//! Malformed files: every reader of foreign bytes gets thousands of mutated files, and may do no worse than refuse
//! them. `fuzz/` has the same readers for a fuzzer, which runs longer and also watches memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tril::run::{RunDir, checkpoint};

#[path = "../../fuzz/src/readers.rs"]
mod readers;

/// Mutated files per reader.
const FILES: usize = 2000;

/// Replacement bytes: numbers at the limits of types, and what parsers look for.
const WORDS: [&[u8]; 20] = [
    b"0",
    b"-1",
    b"18446744073709551615",
    b"9223372036854775808",
    b"4294967296",
    b"1e999",
    b"-0.0",
    b"NaN",
    b"null",
    b"true",
    b"\"\"",
    b"[]",
    b"{}",
    b"\\",
    b"\"",
    b"\n",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x00\x00\x00\x00\x80",
    b"\xf0\x9f\x98\x80",
    b"\xef\xbf\xbd",
];

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..=bytes.len());
    let to = (at + rng.random_range(0..16usize)).min(bytes.len());
    let word = WORDS[rng.random_range(0..WORDS.len())];
    match rng.random_range(0..8u32) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8u32),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => drop(bytes.drain(at..to)),
        3 => drop(bytes.splice(at..to, word.iter().copied())),
        4 => drop(bytes.splice(at..at, word.iter().copied())),
        5 => bytes.truncate(at),
        6 => {
            let again = bytes[at..to].repeat(rng.random_range(1..40usize));
            drop(bytes.splice(at..at, again));
        }
        // change a number in the text
        7 => {
            let Some(first) = bytes[at..].iter().position(u8::is_ascii_digit) else { return };
            let n = bytes[at + first..].iter().take_while(|b| b.is_ascii_digit()).count();
            drop(bytes.splice(at + first..at + first + n, word.iter().copied()));
        }
        _ => {
            let from = rng.random_range(0..=other.len());
            let rest = other[from..].iter().copied();
            drop(bytes.splice(at.., rest));
        }
    }
}

/// A folder in memory, if the system has one.
fn folder() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

#[test]
fn no_reader_of_foreign_bytes_panics() {
    std::thread::scope(|scope| {
        for (seed, reader) in (0..).zip(readers::ALL) {
            scope.spawn(move || {
                let folder = folder();
                let seeds = (reader.seeds)();
                for (i, bytes) in seeds.iter().enumerate() {
                    assert!((reader.read)(bytes, folder.path()), "{} doesn't take its seed {i}", reader.name);
                }
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                for i in 0..FILES {
                    let [mut bytes, other] = [(); 2].map(|()| seeds[rng.random_range(0..seeds.len())].clone());
                    for _ in 0..rng.random_range(1..6u32) {
                        change(&mut bytes, &other, &mut rng);
                    }
                    let read = catch_unwind(AssertUnwindSafe(|| (reader.read)(&bytes, folder.path())));
                    assert!(read.is_ok(), "{} panics at file {i}: {}", reader.name, bytes.escape_ascii());
                }
            });
        }
    });
}

/// A step plus or times something overflows only above the limit that a config has.
#[test]
fn checkpoint_steps_stay_within_the_limit_of_a_config() {
    let reader = readers::ALL.iter().find(|reader| reader.name == "progress").unwrap();
    let whole = String::from_utf8((reader.seeds)().remove(0)).unwrap();
    let folder = folder();
    for (field, old) in [("step", 7), ("shift", 3)] {
        let with = |n: u64| whole.replace(&format!("\"{field}\":{old}"), &format!("\"{field}\":{n}"));
        assert!((reader.read)(with(u32::MAX.into()).as_bytes(), folder.path()), "{field}");
        for n in [1 << 32, u64::MAX] {
            assert!(!(reader.read)(with(n).as_bytes(), folder.path()), "{field} {n}");
            let (dir, config, _) = RunDir::open(folder.path()).unwrap();
            let message = checkpoint::find(&dir, &config.model).unwrap_err().to_string();
            let told = format!("{} is damaged (it is of step {n})", checkpoint::folder(&dir, 7).display());
            assert!(message.contains(&told), "{message}");
        }
    }
}

#[test]
fn every_reader_has_a_fuzz_target() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for reader in readers::ALL {
        let path = format!("fuzz_targets/{}.rs", reader.name);
        let target = std::fs::read_to_string(root.join(&path)).unwrap();
        assert!(manifest.contains(&path) && target.contains(&format!("begin({:?})", reader.name)), "{path}");
    }
    assert_eq!(std::fs::read_dir(root.join("fuzz_targets")).unwrap().count(), readers::ALL.len());
}
