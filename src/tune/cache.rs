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

/// What one candidate showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// `kernel/variant`.
    pub candidate: String,
    /// Milliseconds of the shortest run; none where it wasn't timed, as it failed its check.
    pub ms: Option<f64>,
    /// What its first run took longer, milliseconds: compiling, unless the driver had it in a cache.
    pub compile_ms: f64,
    /// What its check found wrong.
    pub failed: Option<String>,
}

/// What is known of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Of the kernels and variants that were measured: others make the entry void.
    pub checksum: String,
    /// What the device takes without tuning.
    pub usual: String,
    /// What to take; none where no candidate passed its check.
    pub pick: Option<String>,
    /// Floating-point operations, 10^9.
    pub gflop: f64,
    /// Every candidate.
    pub laps: Vec<Measurement>,
}

impl Entry {
    /// Milliseconds of a candidate.
    pub fn ms(&self, candidate: &str) -> Option<f64> {
        self.laps.iter().find(|lap| lap.candidate == candidate)?.ms
    }
}

/// What was measured on one adapter with one driver: a JSON file of its own.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    content: Content,
    warning: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Content {
    /// All that the file is for: compared when it is read, since its name is only a hash of it.
    device: String,
    entries: BTreeMap<String, Entry>,
}

/// Where the caches are: `TRIL_CACHE_DIR`, or `tril` in the user's folder for caches; `None` where the system has none.
pub fn cache_dir() -> Option<PathBuf> {
    let own = std::env::var_os("TRIL_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    own.or_else(|| Some(dirs::cache_dir()?.join("tril")))
}

impl Cache {
    /// The cache of a device in a folder that need not exist yet. A damaged one is as good as none, and is written anew.
    pub fn open(dir: &Path, gpu: &Gpu) -> Self {
        let checks = if gpu.is_checked() { ", checked" } else { "" };
        Self::of(dir, &format!("{}{checks}", gpu.name()))
    }

    /// The same for a device by its name, driver and backend.
    pub fn of(dir: &Path, device: &str) -> Self {
        let path = dir.join(format!("tune-{:08x}.json", crc32fast::hash(device.as_bytes())));
        let empty = Content { device: device.into(), entries: BTreeMap::new() };
        let (content, warning) = match read(&path) {
            Ok(content) if content.device == device => (content, None),
            Ok(_) => (empty, None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (empty, None),
            Err(e) => (empty, Some(format!("{} is ignored and written anew: {e}", path.display()))),
        };
        Self { path, content, warning }
    }

    /// Takes what another process has written since.
    pub(super) fn reread(&mut self) {
        if let Ok(content) = read(&self.path)
            && content.device == self.content.device
        {
            self.content = content;
        }
    }

    /// What is wrong with the file, once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entry of a task, if it is of the kernels that there are.
    pub fn get(&self, key: &str, checksum: &str) -> Option<&Entry> {
        self.content.entries.get(key).filter(|entry| entry.checksum == checksum)
    }

    /// Whether there is such an entry.
    pub fn has(&self, key: &str, checksum: &str) -> bool {
        self.get(key, checksum).is_some()
    }

    /// Whether there is one for a task on a device.
    pub fn knows(&self, task: &Task, caps: &Caps) -> bool {
        self.has(&task.to_string(), &checksum(&task.candidates(caps)))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.content.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.content.entries.is_empty()
    }

    /// Adds entries and writes the file. Where another process has measured the same in the meantime, its entries stay,
    /// so that all of them make the same choice, unless all were to be measured.
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
        // a file system without locks is no reason not to write: the rename below leaves a whole file in any case
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
