//! A count of bytes as a type, so that an amount of memory is never confused with pages, KiB or a count.
//!
//! [`Bytes`] prints as Kubernetes users read amounts (`128Mi`, `127.4Mi`, `512B`) and serialises as a plain
//! integer of bytes. Parsing of Kubernetes quantities (`128Mi`, `1e3`) is `memlet-policy`'s.
#![forbid(unsafe_code)]

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// A number of bytes.
///
/// ```
/// use memlet_bytes::Bytes;
/// assert_eq!(Bytes::from_mib(128).to_string(), "128Mi");
/// assert_eq!(Bytes::new(133_591_040).to_string(), "127.4Mi");
/// assert_eq!(Bytes::new(512).to_string(), "512B");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(u64);

const KIB: u64 = 1 << 10;
const UNITS: [(u64, &str); 4] = [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (KIB, "Ki")];

impl Bytes {
    /// No bytes at all: a measured zero, not "unknown" (that is `Option::None`).
    pub const ZERO: Self = Self(0);

    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `kib` × 1024 bytes, as the kernel's `kB` means; saturates at the largest count.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(KIB))
    }

    /// `mib` × 1024² bytes; saturates at the largest count.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// `gib` × 1024³ bytes; saturates at the largest count.
    pub const fn from_gib(gib: u64) -> Self {
        Self(gib.saturating_mul(1 << 30))
    }

    /// `pages` pages of `page_size` bytes each; saturates at the largest count.
    pub const fn from_pages(pages: u64, page_size: u64) -> Self {
        Self(pages.saturating_mul(page_size))
    }

    /// The amount that a file of `/proc` gives for `key`, in the kernel's `kB`: of `meminfo`, or of a process's `status`.
    /// `None` where it has no such line.
    ///
    /// ```
    /// use memlet_bytes::Bytes;
    /// let meminfo = "MemTotal:  2048 kB\nMemFree:  512 kB\n";
    /// assert_eq!(Bytes::of_proc(meminfo, "MemFree"), Some(Bytes::from_kib(512)));
    /// assert_eq!(Bytes::of_proc(meminfo, "Mem"), None);
    /// ```
    pub fn of_proc(text: &str, key: &str) -> Option<Self> {
        let amount = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        amount.trim().strip_suffix("kB")?.trim().parse().ok().map(Self::from_kib)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `self − other`, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This amount as a share of `whole`, 0.0 to 1.0 and above; `None` when `whole` is zero.
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people: 53 bits are plenty")]
    pub fn share_of(self, whole: Self) -> Option<f64> {
        (whole.0 > 0).then(|| self.0 as f64 / whole.0 as f64)
    }
}

impl Add for Bytes {
    type Output = Self;

    /// Saturates: a sum of kernel figures never wraps to a small number.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl From<u64> for Bytes {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Bytes {
    /// The largest unit that leaves at least 1, with one decimal where the amount is not whole in it.
    /// Honours width and alignment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, suffix)) = UNITS.into_iter().find(|(unit, _)| self.0 >= *unit) else {
            return f.pad(&format!("{}B", self.0));
        };
        if self.0.is_multiple_of(unit) {
            return f.pad(&format!("{}{suffix}", self.0 / unit));
        }
        // Rounded down, so that what is just under a limit never prints as the limit itself.
        let tenths = u128::from(self.0) * 10 / u128::from(unit);
        f.pad(&format!("{}.{}{suffix}", tenths / 10, tenths % 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_people_read_it() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1Ki"),
            (1536, "1.5Ki"),
            (128 << 20, "128Mi"),
            ((128 << 20) - 1, "127.9Mi"),
            (1 << 30, "1Gi"),
            (u64::MAX, "16777215.9Ti"),
        ] {
            assert_eq!(Bytes::new(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>8}|", Bytes::from_mib(64)), "    64Mi|");
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(Bytes::new(u64::MAX) + Bytes::new(1), Bytes::new(u64::MAX));
        assert_eq!([Bytes::new(1), Bytes::new(2)].into_iter().sum::<Bytes>(), Bytes::new(3));
        assert_eq!(Bytes::from_kib(u64::MAX), Bytes::new(u64::MAX));
        assert_eq!(Bytes::new(1).share_of(Bytes::ZERO), None);
    }

    #[test]
    fn serialises_as_an_integer() {
        let text = serde_json::to_string(&Bytes::from_kib(1)).unwrap();
        assert_eq!((text.as_str(), serde_json::from_str::<Bytes>("7").unwrap()), ("1024", Bytes::new(7)));
    }
}
