//! Human-readable amounts.

/// Formats bytes with a binary unit, with at most four digits before the decimal point.
pub fn human_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    for unit in ["KiB", "MiB", "GiB", "TiB"] {
        // an amount that would be rounded to 1024.0 belongs to the next unit
        if amount < 1023.95 {
            return format!("{amount:.1} {unit}");
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} PiB")
}

/// Formats a count with its noun: `1 layer`, `2 layers`. `one` is the singular.
pub fn count(n: impl TryInto<u128>, one: &str) -> String {
    let n = n.try_into().unwrap_or(u128::MAX);
    let ending = match one {
        _ if n == 1 => "",
        _ if one.ends_with("ch") || one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{n} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_ends_where_the_next_one_begins() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (9_999, "9.8 KiB"),
            (1_048_524, "1023.9 KiB"),
            (1_048_525, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            // was "8994.4 KiB"
            (9_210_266, "8.8 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (1 << 30, "1.0 GiB"),
            (12_345_678_901, "11.5 GiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn counts_have_singular_and_plural() {
        for (n, one, text) in [
            (0usize, "row", "0 rows"),
            (1, "row", "1 row"),
            (2, "row", "2 rows"),
            (1, "dispatch", "1 dispatch"),
            (3, "dispatch", "3 dispatches"),
        ] {
            assert_eq!(count(n, one), text);
        }
    }
}
