//! How amounts are written: `Bytes`' own display to be read, [`quantity`] to be pasted or computed with.

use memlet_bytes::Bytes;

/// The amount as an exact Kubernetes quantity, in the largest binary unit that leaves it whole: `1536Mi`,
/// `2041888Ki`; below one Ki or not whole in it, a number of bytes.
pub(crate) fn quantity(amount: Bytes) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let bytes = amount.get();
    UNITS
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// `1 process`, `2 processes`: the count with its noun.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact() {
        for (bytes, text) in [
            (0, "0"),
            (1000, "1000"),
            (1024, "1Ki"),
            (64 << 10, "64Ki"),
            (2_041_888 << 10, "2041888Ki"),
            (1536 << 20, "1536Mi"),
            (2 << 30, "2Gi"),
        ] {
            assert_eq!(quantity(Bytes::new(bytes)), text);
        }
    }
}
