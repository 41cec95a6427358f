//! Files and folders that a command is still making: whoever ends the process at once removes them first.

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

/// What may be removed of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    /// The file, or the folder with all that is in it: this process has made all of it.
    Whole,
    /// A folder that was made on the way, unless others have put something there.
    WhenEmpty,
}

fn all() -> MutexGuard<'static, Vec<Part>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files and folders that this process has begun to make. They count as finished once this is dropped.
#[derive(Debug)]
pub struct Unfinished(u64);

impl Default for Unfinished {
    fn default() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Unfinished {
    /// A file or folder that is this process's own by now: it is removed where the process is told to end.
    pub fn new(path: &Path) -> Self {
        let unfinished = Self::default();
        unfinished.add(path, Goes::Whole);
        unfinished
    }

    /// Adds another path, which is removed before those that were added earlier.
    pub fn add(&self, path: &Path, goes: Goes) {
        all().push(Part { id: self.0, path: path.to_path_buf(), goes });
    }

    /// Takes the last steps, such as giving a file its name: the process isn't ended between them.
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

/// As long as this lives, nothing is begun or finished: whoever tries waits.
#[derive(Debug)]
pub struct Ending(#[expect(dead_code, reason = "held for its lock")] MutexGuard<'static, Vec<Part>>);

/// Removes whatever isn't finished, for a process that is about to end.
pub fn remove_all() -> Ending {
    let mut all = all();
    all.drain(..).rev().for_each(|part| remove(&part));
    Ending(all)
}

/// Waits for the end of a process that is ending: what fails from then on fails because of it.
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
    // under another name, so that nothing is removed of what others begin in the same place
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
