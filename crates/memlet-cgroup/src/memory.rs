//! The limits and figures of one group.

use memlet_bytes::Bytes;
use rustix::io::Errno;

use crate::{Cgroup, Error, Events, Limit, Result, Stat, Version, events, file, stat};

const V1_MEMSW: &str = "memory.memsw.limit_in_bytes";

impl Cgroup {
    /// Limits the memory of this group and all below it.
    ///
    /// The versions differ where more is charged already: v1 reclaims and, where that is not enough, refuses; v2
    /// takes the limit and has the OOM killer bring the usage down. Who must not kill reads [`Cgroup::usage`] first.
    ///
    /// # Errors
    /// [`Error::LimitBelowUsage`] (v1); [`Error::LimitsOutOfOrder`] above v1's limit of memory and swap together,
    /// which [`Cgroup::set_limits`] avoids; `Io` on the root, which has no limit.
    pub fn set_limit(&self, limit: Limit) -> Result<()> {
        let (file, text) = (self.limit_file(), limit.for_file(self.version));
        self.write(file, &text).map_err(|error| self.refusal(file, limit, error))
    }

    /// The limit of this group itself; those above may be lower.
    ///
    /// # Errors
    /// Where the group is gone, or is the root of cgroup v2, which has none.
    pub fn limit(&self) -> Result<Limit> {
        let file = self.limit_file();
        let text = self.read(file)?;
        text.parse().map_err(|_| self.malformed(file, &text))
    }

    /// Limits swap alone: `Limit::Bytes(ZERO)` allows none. `false` where the kernel does not account for swap.
    ///
    /// v1 limits memory and swap together: there the sum of the memory limit of this moment and `swap` is set, so
    /// set this after the memory limit, and both with [`Cgroup::set_limits`] to change them later.
    ///
    /// # Errors
    /// As [`Cgroup::set_limit`].
    pub fn set_swap_limit(&self, swap: Limit) -> Result<bool> {
        let (file, limit) = match self.version {
            Version::V1 => (V1_MEMSW, self.limit()?.plus(swap)),
            Version::V2 => ("memory.swap.max", swap),
        };
        let written = self.write_optional(file, &limit.for_file(self.version));
        written.map_err(|error| self.refusal(file, limit, error))
    }

    /// Limits memory and swap at once, in the order v1 requires. `false` where swap cannot be limited.
    ///
    /// # Errors
    /// As [`Cgroup::set_limit`].
    pub fn set_limits(&self, memory: Limit, swap: Limit) -> Result<bool> {
        if self.version == Version::V1 && self.limit()? < memory {
            // Memory and swap together must never be below memory: when raising, the sum goes first.
            let total = memory.plus(swap);
            match self.read_optional(V1_MEMSW)?.and_then(|text| text.parse::<Limit>().ok()) {
                Some(present) if present < total => {
                    let text = total.for_file(self.version);
                    self.write(V1_MEMSW, &text).map_err(|error| self.refusal(V1_MEMSW, total, error))?;
                }
                _ => {}
            }
        }
        self.set_limit(memory)?;
        self.set_swap_limit(swap)
    }

    /// The limit of swap alone; `None` on v1, which limits both together, and where swap is not accounted.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn swap_limit(&self) -> Result<Option<Limit>> {
        if self.version == Version::V1 {
            return Ok(None);
        }
        let file = "memory.swap.max";
        let Some(text) = self.read_optional(file)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.malformed(file, &text))
    }

    /// Slows down and reclaims from processes of this group while it uses more (v2's `memory.high`). `false` on v1,
    /// which has no such brake.
    ///
    /// # Errors
    /// Where the group is gone or may not be written.
    pub fn set_high(&self, high: Limit) -> Result<bool> {
        self.write_v2("memory.high", &high.for_file(self.version))
    }

    /// Keeps `min` from any reclaim, and `low` from it while others have unprotected memory (v2's `memory.min` and
    /// `memory.low`). The groups above must keep as much, or it has no effect. `false` on v1.
    ///
    /// # Errors
    /// Where the group is gone or may not be written.
    pub fn set_protection(&self, min: Bytes, low: Bytes) -> Result<bool> {
        Ok(self.write_v2("memory.min", &min.get().to_string())?
            && self.write_v2("memory.low", &low.get().to_string())?)
    }

    /// Has an OOM in this group kill all of its processes (v2's `memory.oom.group`). `false` on v1, which cannot,
    /// and on kernels before 4.19.
    ///
    /// # Errors
    /// Where the group is gone or may not be written.
    pub fn set_oom_group(&self, together: bool) -> Result<bool> {
        self.write_v2("memory.oom.group", if together { "1" } else { "0" })
    }

    /// Writes a file that v1 does not have, nor every kernel; answers whether it is there.
    fn write_v2(&self, name: &str, text: &str) -> Result<bool> {
        match self.version {
            Version::V1 => Ok(false),
            Version::V2 => self.write_optional(name, text),
        }
    }

    /// What is charged to this group and all below it: anonymous memory, page cache, tmpfs, kernel memory.
    ///
    /// # Errors
    /// Where the group is gone, or is the root of cgroup v2, which has none.
    pub fn usage(&self) -> Result<Bytes> {
        self.bytes(match self.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        })
    }

    /// The highest usage so far; `None` on v2 before Linux 5.19.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn peak(&self) -> Result<Option<Bytes>> {
        self.bytes_optional(match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        })
    }

    /// How often the limit of this very group was hit: v1's `memory.failcnt`, v2's `max` event (its own, not those
    /// below; `None` before Linux 5.2). Each hit led to reclaim; few of them, or none, to a kill.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn failcnt(&self) -> Result<Option<u64>> {
        match self.version {
            Version::V1 => Ok(self.bytes_optional("memory.failcnt")?.map(Bytes::get)),
            Version::V2 => Ok(self.events()?.max),
        }
    }

    /// What the memory consists of, this group and all below it together.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn stat(&self) -> Result<Stat> {
        let file = "memory.stat";
        let text = self.read(file)?;
        let mut stat = stat::parse(&text, self.version).map_err(|line| self.malformed(file, line))?;
        match self.version {
            Version::V1 => stat.kernel = self.bytes_optional("memory.kmem.usage_in_bytes")?,
            Version::V2 => stat.swap = self.bytes_optional("memory.swap.current")?,
        }
        Ok(stat)
    }

    /// Usage less inactive page cache, as kubelet and `kubectl top` count; `None` where the kernel does not say.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn working_set(&self) -> Result<Option<Bytes>> {
        let usage = self.usage()?;
        Ok(self.stat()?.working_set(usage))
    }

    /// How often what happened at the limit.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn events(&self) -> Result<Events> {
        let read = |name| match self.read_optional(name)? {
            Some(text) => file::keyed_numbers(&text).map_err(|line| self.malformed(name, line)),
            None => Ok(events::Counts::default()),
        };
        match self.version {
            Version::V1 => Ok(Events::from_v1(&read("memory.oom_control")?)),
            Version::V2 => Ok(Events::from_v2(&read("memory.events.local")?, &read("memory.events")?)),
        }
    }

    /// How many processes of this very group an OOM killer has killed; `None` where the group is gone or the kernel does
    /// not say (see [`Events::oom_kill`]).
    pub fn oom_kills(&self) -> Option<u64> {
        self.events().ok()?.oom_kill
    }

    fn limit_file(&self) -> &'static str {
        match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        }
    }

    fn bytes(&self, file: &str) -> Result<Bytes> {
        let text = self.read(file)?;
        text.trim().parse().map(Bytes::new).map_err(|_| self.malformed(file, &text))
    }

    fn bytes_optional(&self, file: &str) -> Result<Option<Bytes>> {
        match self.bytes(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_missing_file() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Why the kernel did not take a limit.
    fn refusal(&self, file: &'static str, limit: Limit, error: Error) -> Error {
        let Error::Io { source, .. } = &error else { return error };
        match Errno::from_io_error(source) {
            Some(Errno::BUSY) => {
                Error::LimitBelowUsage { path: self.path().clone(), limit, usage: self.usage().ok() }
            }
            Some(Errno::INVAL) if self.version == Version::V1 && !self.path().is_root() => {
                Error::LimitsOutOfOrder { path: self.path().clone(), limit, file }
            }
            _ => error,
        }
    }
}
