//! Files and folders that a command is still writing, which are removed if the process is ended early.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static ALL: Mutex<Vec<Part>> = Mutex::new(vec![]);
static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Part {
    id: u64,
    path: PathBuf,
    goes: Goes,
}

/// What may be removed at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    /// The file, or the folder with all its contents, which this process created.
    Whole,
    /// A folder that was created along the way, unless others have put something there.
    WhenEmpty,
}

fn all() -> MutexGuard<'static, Vec<Part>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files and folders that this process has begun to write. Dropping this marks them as finished.
#[derive(Debug)]
pub struct Unfinished(u64);

impl Default for Unfinished {
    fn default() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Unfinished {
    /// Registers a file or folder of this process, which is removed if the process is ended.
    pub fn new(path: &Path) -> Self {
        let unfinished = Self::default();
        unfinished.add(path, Goes::Whole);
        unfinished
    }

    /// Adds another path, which is removed before those that were added earlier.
    pub fn add(&self, path: &Path, goes: Goes) {
        all().push(Part { id: self.0, path: path.to_path_buf(), goes });
    }

    /// Runs the last steps, such as renaming a file, during which the process can't be ended.
    pub fn finish<T>(&self, last_steps: impl FnOnce() -> T) -> T {
        let mut all = all();
        let done = last_steps();
        all.retain(|part| part.id != self.0);
        done
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.finish(|| {});
    }
}

/// While this lives, nothing is begun or finished: callers block.
#[derive(Debug)]
pub struct Ending(#[expect(dead_code, reason = "held for its lock")] MutexGuard<'static, Vec<Part>>);

/// Removes everything unfinished, for a process that is about to end.
pub fn remove_all() -> Ending {
    let mut all = all();
    all.drain(..).rev().for_each(|part| remove(&part));
    Ending(all)
}

/// Blocks if the process is ending: errors from then on are consequences of that.
pub fn wait_if_ending() {
    drop(all());
}

/// Removes a file or folder to which another thread may still be adding.
fn remove(Part { path, goes, .. }: &Part) {
    const TRIES: u32 = 20;
    if *goes == Goes::WhenEmpty {
        let _ = fs::remove_dir(path);
        return;
    }
    // renamed first, so that nothing is removed that others begin at the same path
    let aside = path.with_added_extension(format!("{}.part", std::process::id()));
    let is_dir = path.is_dir();
    let path = if is_dir && fs::rename(path, &aside).is_ok() { &aside } else { path };
    for _ in 0..TRIES {
        let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
}
