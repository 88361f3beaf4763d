//! How long processes stood still for want of memory: `memory.pressure` (PSI).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Cgroup, Result, Version};

/// Stalls in one group, or on the whole machine, since it was made. See `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pressure {
    /// Some processes waited while others worked.
    pub some: Stall,
    /// All that were not idle waited.
    pub full: Stall,
}

/// How much of the time was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// All of it.
    pub total: Duration,
}

impl Cgroup {
    /// Stalls in this group and all below it. `None` on v1, and where the kernel does not count them (`psi=0`, or
    /// compiled without).
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn pressure(&self) -> Result<Option<Pressure>> {
        if self.version == Version::V1 {
            return Ok(None);
        }
        let name = "memory.pressure";
        let Some(text) = self.read_optional(name)? else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| self.malformed(name, &text))
    }
}

/// Reads a pressure file.
fn parse(text: &str) -> Option<Pressure> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).and_then(stall);
    Some(Pressure { some: line("some ")?, full: line("full ")? })
}

fn stall(line: &str) -> Option<Stall> {
    let value = |key: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(key).and_then(|word| word.strip_prefix('=')))
    };
    Some(Stall {
        avg10: value("avg10")?.parse().ok()?,
        avg60: value("avg60")?.parse().ok()?,
        avg300: value("avg300")?.parse().ok()?,
        total: Duration::from_micros(value("total")?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=4711\nfull avg10=0.00 avg60=0.10 avg300=0.00 total=7\n";
        let read = parse(text).unwrap();
        assert_eq!((read.some.avg10, read.some.total), (1.5, Duration::from_micros(4711)));
        assert_eq!((read.full.avg60, read.full.total), (0.1, Duration::from_micros(7)));
        for text in ["", "some avg10=1.50\n", "some avg10=x avg60=0 avg300=0 total=0\nfull avg10=0"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
