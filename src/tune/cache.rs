use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Which, checksum};
use crate::files::atomic;
use crate::gpu::Gpu;
use crate::kernel::Caps;
use crate::ops::Task;

/// The measurements of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// `kernel/variant`.
    pub candidate: String,
    /// Milliseconds of the shortest run; `None` if it wasn't timed because its check failed.
    pub ms: Option<f64>,
    /// Extra milliseconds of its first run: compile time, unless the driver had it cached.
    pub compile_ms: f64,
    /// What its check found wrong.
    pub failed: Option<String>,
}

/// The tuning result of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Checksum of the measured kernels and variants; a different one makes the entry invalid.
    pub checksum: String,
    /// The device's choice without tuning.
    pub usual: String,
    /// The choice after tuning; `None` if no candidate passed its check.
    pub pick: Option<String>,
    /// Floating-point operations, 10^9.
    pub gflop: f64,
    /// The measurements of every candidate.
    pub laps: Vec<Measurement>,
}

impl Entry {
    /// Milliseconds of a candidate's shortest run.
    pub fn ms(&self, candidate: &str) -> Option<f64> {
        self.laps.iter().find(|lap| lap.candidate == candidate)?.ms
    }
}

/// The measurements for one adapter with one driver, in a JSON file of its own.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    content: Content,
    warning: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Content {
    /// The full key of the file, compared on reading, since the file name is only a hash of it.
    device: String,
    entries: BTreeMap<String, Entry>,
}

/// The folder of the caches: `TRIL_CACHE_DIR`, or `tril` in the user's cache folder; `None` if the system has none.
pub fn cache_dir() -> Option<PathBuf> {
    let own = std::env::var_os("TRIL_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    own.or_else(|| Some(dirs::cache_dir()?.join("tril")))
}

impl Cache {
    /// Opens the cache of a device in a folder that need not exist yet. A damaged file is ignored and rewritten.
    pub fn open(dir: &Path, gpu: &Gpu) -> Self {
        let checks = if gpu.is_checked() { ", checked" } else { "" };
        Self::of(dir, &format!("{}{checks}", gpu.name()))
    }

    /// The same for a device given by name, driver and backend.
    pub fn of(dir: &Path, device: &str) -> Self {
        let path = dir.join(format!("tune-{:08x}.json", crc32fast::hash(device.as_bytes())));
        let empty = Content { device: device.into(), entries: BTreeMap::new() };
        let (content, warning) = match read(&path) {
            Ok(content) if content.device == device => (content, None),
            Ok(_) => (empty, None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (empty, None),
            Err(e) => (empty, Some(format!("{} can't be read, so it is ignored and rewritten: {e}", path.display()))),
        };
        Self { path, content, warning }
    }

    /// Rereads the file, which another process may have written.
    pub(super) fn reread(&mut self) {
        if let Ok(content) = read(&self.path)
            && content.device == self.content.device
        {
            self.content = content;
        }
    }

    /// Returns the warning about the file, once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entry of a task, if it is for the current kernels.
    pub fn get(&self, key: &str, checksum: &str) -> Option<&Entry> {
        self.content.entries.get(key).filter(|entry| entry.checksum == checksum)
    }

    /// Whether [`Cache::get`] finds an entry.
    pub fn has(&self, key: &str, checksum: &str) -> bool {
        self.get(key, checksum).is_some()
    }

    /// Whether the cache has a valid entry for a task on a device.
    pub fn knows(&self, task: &Task, caps: &Caps) -> bool {
        self.has(&task.to_string(), &checksum(&task.candidates(caps)))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.content.entries.len()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.content.entries.is_empty()
    }

    /// Adds entries and writes the file. If another process has measured the same tasks in the meantime, its entries
    /// stay, so that all processes make the same choice, unless all were to be measured.
    pub(super) fn add(&mut self, measured: BTreeMap<String, Entry>, which: Which) {
        if let Err(e) = self.write(&measured, which) {
            self.warning = Some(format!(
                "{} can't be written ({e}), so this is measured again next time; set TRIL_CACHE_DIR to another folder",
                self.path.display()
            ));
            self.content.entries.extend(measured);
        }
    }

    fn write(&mut self, measured: &BTreeMap<String, Entry>, which: Which) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let lock = File::options().append(true).create(true).open(dir.join("tune.lock"))?;
        // a file system without locks doesn't prevent writing: the rename below leaves a complete file in any case
        let _ = lock.lock();
        if let Ok(there) = read(&self.path)
            && there.device == self.content.device
        {
            self.content.entries = there.entries;
        }
        for (key, entry) in measured {
            if which == Which::All || !self.has(key, &entry.checksum) {
                self.content.entries.insert(key.clone(), entry.clone());
            }
        }
        let text = serde_json::to_string_pretty(&self.content)? + "\n";
        atomic::write_shared(&self.path, text.as_bytes()).map_err(io::Error::other)
    }
}

fn read(path: &Path) -> io::Result<Content> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}
