//! The zip archive format, used since PyTorch 1.6.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use zip::{CompressionMethod, ZipArchive};

use super::{MAX_PICKLE_BYTES, Storage};

const PICKLE: &str = "data.pkl";

/// Reads the pickle and the storages of an archive of `len` bytes.
pub(super) fn read(file: &mut File, len: u64) -> Result<(Vec<u8>, BTreeMap<String, Storage>), String> {
    let mut archive = ZipArchive::new(file).map_err(|e| format!("it is not a complete zip archive ({e})"))?;
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let folders: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(PICKLE)).collect();
    let folder = match folders[..] {
        [folder] if folder.is_empty() || folder.ends_with('/') => folder.to_string(),
        [] => return Err("it is a zip archive without the data.pkl that torch.save writes".into()),
        _ => return Err("it is a zip archive with more than one data.pkl".into()),
    };
    let mut small = |name: &str| -> Result<Option<Vec<u8>>, String> {
        let Some(index) = archive.index_for_name(&format!("{folder}{name}")) else { return Ok(None) };
        let file = archive.by_index(index).map_err(|e| format!("its {name}: {e}"))?;
        if file.size() > MAX_PICKLE_BYTES.min(len) || file.compression() != CompressionMethod::Stored {
            return Err(format!("its {name} is compressed or too large"));
        }
        let mut bytes = vec![];
        file.take(MAX_PICKLE_BYTES).read_to_end(&mut bytes).map_err(|e| format!("its {name}: {e}"))?;
        Ok(Some(bytes))
    };
    let pickle = small(PICKLE)?.ok_or("its data.pkl can't be found")?;
    if small("byteorder")?.is_some_and(|order| order.trim_ascii() != b"little") {
        return Err("its numbers are big-endian; save it on a little-endian machine".into());
    }
    let mut storages = BTreeMap::new();
    for name in &names {
        let Some(key) = name.strip_prefix(&folder).and_then(|rest| rest.strip_prefix("data/")) else { continue };
        let Some(index) = archive.index_for_name(name) else { continue };
        let file = archive.by_index_raw(index).map_err(|e| format!("its storage {key}: {e}"))?;
        let start = file.data_start().filter(|start| start.checked_add(file.size()).is_some_and(|end| end <= len));
        let is_plain = file.compression() == CompressionMethod::Stored && file.size() == file.compressed_size();
        match start {
            Some(start) if is_plain && !file.encrypted() => {
                storages.insert(key.to_string(), Storage { start, len: file.size() });
            }
            _ => return Err(format!("its storage {key} is compressed or truncated")),
        }
    }
    Ok((pickle, storages))
}
