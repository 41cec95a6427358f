//! Paths that several processes want at once. A lock belongs to an open file, so threads stand for processes here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use tril::data::Tokenizer;
use tril::files::claim::{Claim, Filled, LockFile};
use tril::run::{OpenRun, RunClaim, RunConfig, RunDir, RunDirError};

fn begin(root: &Path) -> Result<RunDir, RunDirError> {
    RunDir::create(root, &RunConfig::preset("nano").unwrap(), &Tokenizer::chars("abc"))
}

#[test]
fn twenty_that_want_a_name_at_once_get_one_each() {
    let dir = tempfile::tempdir().unwrap();
    let start = Barrier::new(20);
    thread::scope(|scope| {
        let claim = || {
            start.wait();
            // folders come and go while others look for a free one
            for _ in 0..20 {
                drop(RunClaim::next(&dir.path().join("new/runs"), "text").unwrap());
            }
            let claim = RunClaim::next(&dir.path().join("new/runs"), "text").unwrap();
            fs::write(claim.root().join("mine"), "").unwrap();
            claim
        };
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(claim)).collect();
        let claims: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let names: BTreeSet<_> = claims.iter().map(|claim| claim.root().to_path_buf()).collect();
        assert_eq!(names.len(), 20);
        assert!(names.iter().all(|name| name.join("mine").exists()));
        names.iter().for_each(|name| fs::remove_file(name.join("mine")).unwrap());
    });
    // a folder that one thread made and another locked may stay, and is free
    for run in fs::read_dir(dir.path().join("new/runs")).into_iter().flatten() {
        assert_eq!(fs::read_dir(run.unwrap().path()).unwrap().count(), 0);
    }
}

#[test]
fn a_place_goes_to_one_process_and_is_free_again_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/run");
    let claim = RunClaim::take(&root).unwrap();
    let error = RunClaim::take(&root).unwrap_err();
    assert!(matches!(error, RunDirError::Taken(_)) && error.to_string().contains("choose another --out"), "{error}");
    assert!(matches!(OpenRun::open(&root).unwrap_err(), RunDirError::Busy(_)));
    assert_eq!(RunClaim::next(&dir.path().join("a"), "run").unwrap().root(), dir.path().join("a/run-1"));
    drop(claim);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    // remains of a killed process: a folder, then its lock, then the first files
    fs::create_dir_all(&root).unwrap();
    drop(RunClaim::take(&root).unwrap());
    assert!(root.exists() && fs::read_dir(&root).unwrap().count() == 0, "an empty folder is somebody's");
    fs::write(root.join(".lock"), "").unwrap();
    let error = OpenRun::open(&root).unwrap_err().to_string();
    assert!(error.contains("was stopped before its first checkpoint"), "{error}");
    for part in ["config.toml", "tokenizer.json.part", "metrics.jsonl"] {
        fs::write(root.join(part), "").unwrap();
    }
    fs::create_dir_all(root.join("checkpoints/00000000.part")).unwrap();
    begin(&root).unwrap();
    assert_eq!(fs::read_to_string(root.join("metrics.jsonl")).unwrap(), "");
    assert!(!root.join("checkpoints").exists() && root.join(".lock").exists());
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir_all(at.join("photos")).unwrap();
    fs::write(at.join("photos/1.png"), "").unwrap();
    fs::create_dir_all(at.join("run/checkpoints/00000003")).unwrap();
    fs::write(at.join("run/config.toml"), "").unwrap();
    fs::write(at.join("file"), "").unwrap();
    for (root, word) in [
        ("photos", "photos is not empty"),
        ("run", "run already holds a run"),
        ("file", "can't write a run to"),
        ("file/run", "can't write a run to"),
    ] {
        let error = begin(&at.join(root)).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("choose another --out"), "{error}");
    }
    assert_eq!(fs::read_dir(at.join("photos")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(at.join("run")).unwrap().count(), 2);
    // a file with the name of a run is skipped
    fs::write(at.join("text-1"), "").unwrap();
    assert_eq!(RunClaim::next(at, "text").unwrap().root(), at.join("text-2"));
}

#[test]
fn a_lock_file_that_was_removed_locks_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let first = LockFile::take(&path).unwrap().unwrap();
    assert!(LockFile::take(&path).unwrap().is_none());
    // if somebody removes the lock, the next claim makes a new one, which dropping the first must not remove
    fs::remove_file(&path).unwrap();
    let second = LockFile::take(&path).unwrap().unwrap();
    first.leave();
    assert!(LockFile::take(&path).unwrap().is_none());
    drop(second);
    assert!(!path.exists());

    let claim = Claim::take(&dir.path().join("folder")).unwrap().unwrap();
    claim.set_filled(Filled::Yes);
    let lock = claim.lock().unwrap();
    drop(claim);
    // the new run continues to hold it
    assert!(Claim::take(&dir.path().join("folder")).unwrap().is_none());
    drop(lock);
    assert!(Claim::take(&dir.path().join("folder")).unwrap().is_some());
}
