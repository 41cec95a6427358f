//! NumPy's `.npy` files: a magic number, a version, the length of a header, and the header, a Python dictionary as
//! text.
//!
//! Source: the docstring of `numpy.lib.format`.

use super::layout::Layout;
use super::width::Width;
use crate::units;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Whether a file that begins with these bytes is a `.npy` file.
pub(super) fn is_npy(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// The layout of an array of integers in a file of `n_bytes` bytes that begins with `head`.
///
/// # Errors
///
/// What is wrong with it, worded to follow the file's name.
pub(super) fn layout(head: &[u8], n_bytes: u64) -> Result<Layout, String> {
    const CUT_OFF: &str = "is a NumPy file that ends within its header: it is truncated; create it again";
    let (&[major, _], rest) = head[MAGIC.len()..].split_first_chunk().ok_or(CUT_OFF)?;
    let (length, text) = match major {
        1 => rest.split_first_chunk().map(|(&n, text)| (u16::from_le_bytes(n).into(), text)),
        _ => rest.split_first_chunk().map(|(&n, text)| (u64::from(u32::from_le_bytes(n)), text)),
    }
    .ok_or(CUT_OFF)?;
    let start = (head.len() - text.len()) as u64 + length;
    // the header of a simple array is shorter than `head`
    let header = usize::try_from(length).ok().and_then(|n| text.get(..n)).ok_or(CUT_OFF)?;
    let header = String::from_utf8_lossy(header);
    let entry = |name: &str| Some(header.split_once(&format!("'{name}':"))?.1.trim_start());
    let type_name = entry("descr").and_then(|rest| rest.strip_prefix('\'')?.split_once('\'')).map(|(name, _)| name);
    let width = match type_name {
        Some("|u1" | "|i1") => Width::One,
        Some("<u2" | "<i2") => Width::Two,
        Some("<u4" | "<i4") => Width::Four,
        Some("<u8" | "<i8") => Width::Eight,
        other => {
            let bits = |name: &str| {
                name.strip_prefix(['<', '>'])?.strip_prefix('f')?.parse().ok().map(|n: u8| 8 * u16::from(n))
            };
            let floats =
                |name| bits(name).map_or(String::new(), |bits| format!(" ({bits}-bit floating-point numbers)"));
            return Err(format!(
                "is a NumPy file of type {}: save little-endian integers, as with ids.astype('<u2')",
                other.map_or("other than numbers".into(), |name| format!("{name:?}{}", floats(name)))
            ));
        }
    };
    let shape = entry("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).map(|(shape, _)| shape);
    let count = shape.map(|shape| shape.trim_end_matches(','));
    let Some(n_token) = count.and_then(|count| count.trim().parse::<u64>().ok()) else {
        let shape = shape.unwrap_or_default();
        return Err(format!("is a NumPy file of shape ({shape}), not a flat array of ids: save it with ids.ravel()"));
    };
    let there = n_bytes.saturating_sub(start);
    if n_token.checked_mul(width.bytes()) != Some(there) {
        let bits = width.bits();
        return Err(format!(
            "declares {} of {bits} bits in its header, but has {} for them: it is truncated or damaged; create it again",
            units::count(n_token, "token"),
            units::count(there, "byte")
        ));
    }
    Ok(Layout { start, width, n_token })
}
