//! A plan's shaders as files: the WGSL that the device gets, and naga's translations for Vulkan, Metal and DX12.

mod translate;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use translate::Forms;

use crate::files::claim::{Claim, LOCK};
use crate::files::unfinished::Goes;
use crate::kernel::{Access, KernelDef, Variant};
use crate::plan::Plan;

/// Why the shaders could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The folder is not empty.
    #[error("{} is not empty: choose another --emit", .0.display())]
    NotEmpty(PathBuf),
    /// Another process is writing to the folder.
    #[error("{} is being written by another tril; wait for it or choose another --emit", .0.display())]
    Busy(PathBuf),
    /// A file or folder can't be written.
    #[error("can't write {}: {source}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// naga can't translate a shader.
    #[error("{name}: naga can't translate it to {form}: {reason}")]
    Translate {
        /// The kernel, its variant and modes.
        name: String,
        /// WGSL, SPIR-V, MSL or HLSL.
        form: &'static str,
        /// naga's message.
        reason: String,
    },
}

/// A storage binding, as in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingEntry {
    /// The variable's name.
    pub name: String,
    /// Whether the kernel writes it.
    pub written: bool,
    /// Bytes of one array element as the shader declares it.
    pub elem_bytes: u32,
}

/// One specialised shader of a plan, as in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelEntry {
    /// The kernel's name, which is its file name in `shaders/`.
    pub kernel: String,
    /// The variant's name.
    pub variant: String,
    /// The value of each mode constant.
    pub modes: BTreeMap<String, String>,
    /// The value of each tune constant that the variant sets.
    pub settings: BTreeMap<String, String>,
    /// Workgroup size.
    pub workgroup: [u32; 3],
    /// Workgroup memory, bytes.
    pub workgroup_bytes: u32,
    /// The required subgroup size; 0 if any will do.
    pub subgroup: u32,
    /// Storage bindings in the order of their indices; the uniform `params` has the next index.
    pub bindings: Vec<BindingEntry>,
    /// Bytes of `params`.
    pub params_bytes: u32,
    /// Number of the plan's dispatches that run it.
    pub n_dispatch: usize,
    /// Their floating-point operations.
    pub flops: u64,
    /// The minimum bytes that they move.
    pub bytes: u64,
    /// The labels of their nodes.
    pub used_by: Vec<String>,
    /// CRC-32 of the WGSL, hexadecimal.
    pub checksum: String,
    /// The file name without the extensions `.wgsl`, `.spv`, `.metal` and `.hlsl`.
    pub file: String,
}

impl KernelEntry {
    /// `kernel/variant`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kernel, self.variant)
    }
}

/// The contents of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// tril's version.
    pub tril: String,
    /// The major version of naga that translated the WGSL.
    pub naga: String,
    /// The limits that the plan is for.
    pub device: String,
    /// The shaders, by name.
    pub kernels: Vec<KernelEntry>,
}

type Specialised = (&'static KernelDef, &'static Variant, Vec<(&'static str, &'static str)>);

/// Returns the specialised shaders of a plan with their WGSL, by name.
pub fn kernels(plan: &Plan) -> Vec<(KernelEntry, String)> {
    let mut found: Vec<(Specialised, KernelEntry, String)> = vec![];
    for step in &plan.steps {
        let d = &step.dispatch;
        let same = |(s, ..): &(Specialised, KernelEntry, String)| {
            s.0.name == d.kernel.name && s.1.name == d.variant.name && s.2 == d.modes
        };
        let index = match found.iter().position(same) {
            Some(index) => index,
            None => {
                let source = d.kernel.specialised(&d.modes, d.variant);
                let entry = entry(d.kernel, d.variant, &d.modes, &source);
                found.push(((d.kernel, d.variant, d.modes.clone()), entry, source));
                found.len() - 1
            }
        };
        let entry = &mut found[index].1;
        entry.n_dispatch += 1;
        entry.flops += step.cost.flops;
        entry.bytes += step.cost.bytes;
        if entry.used_by.last() != Some(&step.label) {
            entry.used_by.push(step.label.clone());
        }
    }
    let mut all: Vec<_> = found.into_iter().map(|(_, entry, source)| (entry, source)).collect();
    all.sort_by(|a, b| a.0.file.cmp(&b.0.file));
    all
}

fn entry(kernel: &KernelDef, variant: &Variant, modes: &[(&str, &str)], source: &str) -> KernelEntry {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let bindings = kernel.bindings.iter().map(|b| BindingEntry {
        name: b.name.into(),
        written: b.access == Access::ReadWrite,
        elem_bytes: b.elem_bytes,
    });
    let checksum = format!("{:08x}", crc32fast::hash(source.as_bytes()));
    KernelEntry {
        kernel: kernel.name.into(),
        variant: variant.name.into(),
        modes: owned(modes),
        settings: owned(variant.settings),
        workgroup: variant.workgroup,
        workgroup_bytes: variant.workgroup_bytes,
        subgroup: variant.subgroup,
        bindings: bindings.collect(),
        params_bytes: kernel.params_bytes,
        n_dispatch: 0,
        flops: 0,
        bytes: 0,
        used_by: vec![],
        file: format!("{}.{}.{checksum}", kernel.name, variant.name),
        checksum,
    }
}

/// The file extensions of the four forms of a shader.
const ENDINGS: [&str; 4] = ["wgsl", "spv", "metal", "hlsl"];
const MANIFEST: &str = "manifest.json";

/// Writes every specialised shader of a plan in four forms, and `manifest.json`. All are translated first, so that a
/// shader that naga rejects leaves no half-filled folder.
///
/// # Errors
///
/// If `dir` holds files or can't be written, or naga rejects a shader. Nothing is left behind then.
pub fn emit(plan: &Plan, dir: &Path) -> Result<Manifest, EmitError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| EmitError::Write { path, source }
    };
    let mut kernels_of = vec![];
    let mut files = vec![];
    for (entry, wgsl) in kernels(plan) {
        let forms =
            Forms::of(&wgsl).map_err(|(form, reason)| EmitError::Translate { name: entry.name(), form, reason })?;
        let spirv = forms.spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
        for (ending, bytes) in [
            (ENDINGS[0], wgsl.into_bytes()),
            (ENDINGS[1], spirv),
            (ENDINGS[2], forms.msl.into_bytes()),
            (ENDINGS[3], forms.hlsl.into_bytes()),
        ] {
            files.push((format!("{}.{ending}", entry.file), bytes));
        }
        kernels_of.push(entry);
    }
    let manifest = Manifest {
        tril: env!("CARGO_PKG_VERSION").into(),
        naga: translate::NAGA.into(),
        device: plan.caps.name.clone(),
        kernels: kernels_of,
    };
    let mut json =
        serde_json::to_vec_pretty(&manifest).map_err(|error| at(&dir.join(MANIFEST))(io::Error::other(error)))?;
    json.push(b'\n');
    files.push((MANIFEST.into(), json));

    // check before anything is written there
    if !dir.join(LOCK).exists() && !others(dir).map_err(at(dir))?.is_empty() {
        return Err(EmitError::NotEmpty(dir.into()));
    }
    let claim = Claim::take(dir).map_err(at(dir))?.ok_or_else(|| EmitError::Busy(dir.into()))?;
    let left = others(dir).map_err(at(dir))?;
    let is_remains = claim.is_left() && left.iter().all(|path| is_emitted(path));
    if !left.is_empty() && !is_remains {
        return Err(EmitError::NotEmpty(dir.into()));
    }
    left.iter().try_for_each(fs::remove_file).map_err(at(dir))?;
    let unfinished = claim.unfinished();
    let mut written = vec![];
    let done = files.iter().try_for_each(|(name, bytes)| {
        let path = dir.join(name);
        unfinished.add(&path, Goes::Whole);
        written.push(path.clone());
        fs::write(&path, bytes).map_err(at(&path))
    });
    unfinished.finish(|| {
        if done.is_err() {
            // best effort: the error that led here is the one to report
            written.iter().for_each(|path| drop(fs::remove_file(path)));
        }
        drop(claim);
    });
    done.map(|()| manifest)
}

/// The files in a folder, without a lock file; empty if the folder doesn't exist.
fn others(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let all = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        all => all?,
    };
    let paths = all.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| !path.ends_with(LOCK)).collect())
}

/// Whether a file has the name of an emitted one, so that a killed process may have left it.
fn is_emitted(path: &Path) -> bool {
    let has = |ending: &str| path.extension().is_some_and(|other| other == ending);
    path.is_file() && (path.ends_with(MANIFEST) || ENDINGS.into_iter().any(has))
}
