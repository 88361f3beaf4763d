//! What a container's memory controller is told besides its limit: CRI's `unified` files of cgroup v2, as types.

use std::collections::HashMap;

use k8s_cri::v1::LinuxContainerResources;
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Limit};
use serde::{Deserialize, Serialize};

/// The controls of one container; what was not asked for is left as the kernel made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryControls {
    /// At most so much.
    pub limit: Option<Limit>,
    /// At most so much in swap.
    pub swap: Option<Limit>,
    /// Slowed down above.
    pub high: Option<Limit>,
    /// Never reclaimed.
    pub min: Option<Bytes>,
    /// Reclaimed last.
    pub low: Option<Bytes>,
    /// One OOM kill takes all its processes.
    pub oom_group: bool,
}

/// A file of cgroup v2 that cannot be set as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnifiedError {
    /// It is none of memory's.
    #[error("the cgroup file {0} cannot be set by this runtime; it sets {KNOWN}")]
    Unknown(String),
    /// Its value is none.
    #[error("{value:?} is no value for the cgroup file {file}")]
    Value {
        /// The file.
        file: String,
        /// What was to be written.
        value: String,
    },
}

const KNOWN: &str = "memory.high, memory.low, memory.min, memory.oom.group and memory.swap.max";

impl MemoryControls {
    /// Reads what CRI asks of the memory controller.
    ///
    /// # Errors
    /// [`UnifiedError`]
    pub(crate) fn of(resources: &LinuxContainerResources) -> Result<Self, UnifiedError> {
        let bytes = |amount| u64::try_from(amount).ok().filter(|amount| *amount > 0).map(Bytes::new);
        let mut controls = Self::from_unified(&resources.unified)?;
        let limit = bytes(resources.memory_limit_in_bytes);
        controls.limit = limit.map(Limit::Bytes);
        // Of memory and swap together, in the manner of cgroup v1.
        if let (Some(limit), Some(both), None) =
            (limit, bytes(resources.memory_swap_limit_in_bytes), controls.swap)
        {
            controls.swap = Some(Limit::Bytes(both.saturating_sub(limit)));
        }
        Ok(controls)
    }

    /// Reads CRI's `unified`.
    fn from_unified(unified: &HashMap<String, String>) -> Result<Self, UnifiedError> {
        let mut controls = Self::default();
        for (file, value) in unified {
            let refused = || UnifiedError::Value { file: file.clone(), value: value.clone() };
            let limit = || value.parse::<Limit>().map_err(|_| refused());
            let bytes = || value.trim().parse().map(Bytes::new).map_err(|_| refused());
            match file.as_str() {
                "memory.swap.max" => controls.swap = Some(limit()?),
                "memory.high" => controls.high = Some(limit()?),
                "memory.min" => controls.min = Some(bytes()?),
                "memory.low" => controls.low = Some(bytes()?),
                "memory.oom.group" => {
                    controls.oom_group = match value.trim() {
                        "0" => false,
                        "1" => true,
                        _ => return Err(refused()),
                    }
                }
                _ => return Err(UnifiedError::Unknown(file.clone())),
            }
        }
        Ok(controls)
    }

    /// Sets them, before any process is inside, so that nothing escapes.
    pub(crate) fn apply(&self, cgroup: &Cgroup) -> memlet_cgroup::Result<()> {
        match (self.limit, self.swap) {
            // Together: v1 takes them in a certain order only.
            (Some(limit), Some(swap)) => drop(cgroup.set_limits(limit, swap)?),
            (Some(limit), None) => cgroup.set_limit(limit)?,
            (None, Some(swap)) => drop(cgroup.set_swap_limit(swap)?),
            (None, None) => {}
        }
        if let Some(high) = self.high {
            cgroup.set_high(high)?;
        }
        if self.min.is_some() || self.low.is_some() {
            cgroup.set_protection(self.min.unwrap_or_default(), self.low.unwrap_or_default())?;
        }
        cgroup.set_oom_group(self.oom_group).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<MemoryControls, UnifiedError> {
        MemoryControls::from_unified(
            &files.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn the_files_of_the_memory_controller_are_known() {
        let controls = read(&[
            ("memory.swap.max", "0"),
            ("memory.high", "max"),
            ("memory.min", "4096"),
            ("memory.low", "8192"),
            ("memory.oom.group", "1"),
        ]);
        let expected = MemoryControls {
            limit: None,
            swap: Some(Limit::Bytes(Bytes::ZERO)),
            high: Some(Limit::Max),
            min: Some(Bytes::new(4096)),
            low: Some(Bytes::new(8192)),
            oom_group: true,
        };
        assert_eq!(controls, Ok(expected));
        assert_eq!(read(&[]), Ok(MemoryControls::default()));
    }

    #[test]
    fn swap_is_told_alone_or_with_memory() {
        let of = |memory, both, unified: &[(&str, &str)]| {
            let unified = unified.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned()));
            let controls = MemoryControls::of(&LinuxContainerResources {
                memory_limit_in_bytes: memory,
                memory_swap_limit_in_bytes: both,
                unified: unified.collect(),
                ..LinuxContainerResources::default()
            });
            controls.map(|controls| (controls.limit, controls.swap)).unwrap()
        };
        let limit = |bytes| Some(Limit::Bytes(Bytes::new(bytes)));
        assert_eq!(of(0, 0, &[]), (None, None));
        assert_eq!(of(100, 0, &[]), (limit(100), None));
        assert_eq!(of(100, 100, &[]), (limit(100), limit(0)));
        assert_eq!(of(100, 150, &[]), (limit(100), limit(50)));
        assert_eq!(of(100, -1, &[]), (limit(100), None));
        assert_eq!(of(100, 0, &[("memory.swap.max", "7")]), (limit(100), limit(7)));
        assert_eq!(of(0, 0, &[("memory.swap.max", "0")]), (None, limit(0)), "BestEffort swaps neither");
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let error = read(&[("cpu.max", "1")]).unwrap_err().to_string();
        assert!(error.starts_with("the cgroup file cpu.max cannot be set by this runtime"), "{error}");
        for (file, value) in [("memory.high", "much"), ("memory.oom.group", "yes"), ("memory.min", "max")] {
            let error = read(&[(file, value)]).unwrap_err().to_string();
            assert_eq!(error, format!("{value:?} is no value for the cgroup file {file}"));
        }
    }
}
