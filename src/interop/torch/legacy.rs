//! The format before PyTorch 1.6: a sequence of pickles, followed by the storages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::pickle::{Built, Pickle, Value};
use super::{MAX_PICKLE_BYTES, Storage, stored, width};

/// The first pickle: a number of ten bytes.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether a file's first bytes are those of this format.
pub(super) fn is_legacy(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Reads the pickle and the storages of a file of `len` bytes.
pub(super) fn read(file: &mut File, len: u64) -> Result<(Vec<u8>, BTreeMap<String, Storage>), String> {
    let mut bytes = vec![];
    let first = SeekFrom::Start(0);
    let read = file.seek(first).and_then(|_| file.take(MAX_PICKLE_BYTES).read_to_end(&mut bytes));
    read.map_err(|e| e.to_string())?;
    // magic number, version, sizes of types; then the saved object, and the keys of its storages
    let mut at = 0;
    for _ in 0..3 {
        at += Pickle::read(&bytes[at..])?.n_byte();
    }
    let pickle = Pickle::read(&bytes[at..])?;
    let (from, to) = (at, at + pickle.n_byte());
    let keys = Pickle::read(&bytes[to..])?;
    let mut start = (to + keys.n_byte()) as u64;
    let widths: BTreeMap<&str, u64> = pickle
        .values()
        .filter_map(|value| match value {
            Value::Own(Built::Outside(place)) => stored(&pickle, *place),
            _ => None,
        })
        .filter_map(|stored| Some((stored.key, width(stored.kind)?)))
        .collect();
    let Value::List(keys_of) = keys.root() else { return Err("it has no list of storages".into()) };
    let mut storages = BTreeMap::new();
    for &key in keys_of {
        let Value::Text(key) = keys.value(key) else { return Err("a storage has no name".into()) };
        let width = widths.get(key.as_ref()).ok_or_else(|| format!("its storage {key:?} is of an unknown kind"))?;
        // the number of elements, then the elements
        let mut count = [0; 8];
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut count));
        read.map_err(|_| format!("it is truncated at storage {key:?}"))?;
        let bytes = u64::from_le_bytes(count).checked_mul(*width);
        start += 8;
        let end = bytes.and_then(|n| start.checked_add(n)).filter(|&end| end <= len);
        let end = end.ok_or_else(|| format!("it is truncated at storage {key:?}"))?;
        storages.insert(key.to_string(), Storage { start, len: end - start });
        start = end;
    }
    bytes.truncate(to);
    Ok((bytes.split_off(from), storages))
}
