//! Paths that only one process may fill.

use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use same_file::Handle;

use crate::files::unfinished::{Goes, Unfinished};

/// The lock file in a claimed folder.
pub const LOCK: &str = ".lock";

/// Attempts to take a path that other processes create and remove at the same time.
const TRIES: usize = 100;

/// A lock file that this process holds. Dropping it removes the file.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    file: Option<File>,
    is_left: bool,
}

impl LockFile {
    /// Creates a file and locks it. Returns `None` if another process holds it.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            let (file, is_new) = match File::options().append(true).create_new(true).open(path) {
                Ok(file) => (file, true),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match File::options().append(true).open(path) {
                    Ok(file) => (file, false),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                },
                Err(e) => return Err(e),
            };
            match file.try_lock() {
                Ok(()) => {}
                // on a file system without locks, the file belongs to whoever created it
                Err(TryLockError::Error(_)) if is_new => {}
                Err(_) => return Ok(None),
            }
            // the previous holder may have removed the file that was locked here, and then others can't see this lock
            if Handle::from_path(path).ok() == Some(Handle::from_file(file.try_clone()?)?) {
                return Ok(Some(Self { path: path.into(), file: Some(file), is_left: !is_new }));
            }
        }
        Ok(None)
    }

    /// The same, creating missing parent folders; returns those it created, the innermost first.
    ///
    /// # Errors
    ///
    /// The operating system's error; nothing is left behind then.
    pub fn take_with_folders(path: &Path) -> io::Result<Option<(Self, Vec<PathBuf>)>> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut gone = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..TRIES {
            let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
            let made: Vec<PathBuf> = folder.ancestors().take_while(is_missing).map(Path::to_path_buf).collect();
            match fs::create_dir_all(folder).and_then(|()| Self::take(path)) {
                Ok(lock) => return Ok(lock.map(|lock| (lock, made))),
                // another process has dropped its claim and removed the folder in the meantime
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => gone = e,
                Err(e) => {
                    remove(&made);
                    return Err(e);
                }
            }
        }
        Err(gone)
    }

    /// Whether the file already existed: left by a process that was killed, or on purpose by [`LockFile::leave`].
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// Leaves the file on the disk. It stays locked until the last handle to it is closed.
    pub fn leave(mut self) {
        self.file = None;
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // while it is locked, so that nobody else's file is removed; best effort, as an unlocked file blocks nobody
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A folder that only this process may fill. Dropping the claim removes what was created for it, unless the folder was
/// filled.
#[derive(Debug)]
pub struct Claim {
    root: PathBuf,
    /// Folders created for it, the innermost first.
    made: Vec<PathBuf>,
    lock: Option<LockFile>,
    is_filled: Cell<bool>,
}

impl Claim {
    /// Creates a folder if it doesn't exist, and locks it. Returns `None` if another process has claimed it. The caller
    /// must check the folder's contents once it is claimed.
    ///
    /// # Errors
    ///
    /// The operating system's error; nothing is left behind then.
    pub fn take(root: &Path) -> io::Result<Option<Self>> {
        let Some((lock, mut made)) = LockFile::take_with_folders(&root.join(LOCK))? else { return Ok(None) };
        if lock.is_left() {
            made = vec![root.into()];
        }
        Ok(Some(Self { root: root.into(), made, lock: Some(lock), is_filled: Cell::new(false) }))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the lock file already existed, as a process that was killed leaves it.
    pub fn is_left(&self) -> bool {
        self.lock.as_ref().is_some_and(LockFile::is_left)
    }

    /// What to remove of the claim on a signal: the lock file, and the folders created for it, if they are empty.
    pub fn unfinished(&self) -> Unfinished {
        let unfinished = Unfinished::default();
        self.made.iter().rev().for_each(|folder| unfinished.add(folder, Goes::WhenEmpty));
        unfinished.add(&self.root.join(LOCK), Goes::Whole);
        unfinished
    }

    /// Another handle to the lock, which keeps the folder locked while it is open.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn lock(&self) -> io::Result<File> {
        let file = self.lock.as_ref().and_then(|lock| lock.file.as_ref());
        file.map_or_else(|| Err(io::ErrorKind::NotFound.into()), File::try_clone)
    }

    /// Sets whether the folder stays, with its lock file, when the claim is dropped.
    pub fn set_filled(&self, is_filled: Filled) {
        self.is_filled.set(is_filled == Filled::Yes);
    }
}

/// Whether a claimed folder was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// It stays.
    Yes,
    /// It is empty except for the lock file.
    No,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_filled.get() {
            return self.lock.take().into_iter().for_each(LockFile::leave);
        }
        self.lock = None;
        remove(&self.made);
    }
}

/// Removes folders that are empty; best effort, since whatever stays is recognised and reused.
fn remove(folders: &[PathBuf]) {
    folders.iter().for_each(|folder| drop(fs::remove_dir(folder)));
}
