//! What a cgroup holds of memory, and how far it is to the limit that is reached first. Pure.

use memlet_bytes::Bytes;
use memlet_cgroup::Stat;
use memlet_policy::eviction::available_of_machine;
use serde::Serialize;

/// What one cgroup holds, all below it included. What the kernel does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    /// All that is charged.
    pub(crate) usage: Option<Bytes>,
    /// Usage less page cache that was not used lately.
    pub(crate) working_set: Option<Bytes>,
    /// Memory of processes that no file backs.
    pub(crate) rss: Option<Bytes>,
    /// Page cache, tmpfs and shared memory included.
    pub(crate) page_cache: Option<Bytes>,
    /// The part of the page cache that was used lately: in the working set, though it can be dropped.
    pub(crate) active_file: Option<Bytes>,
    /// The part that was not: the first to go.
    pub(crate) inactive_file: Option<Bytes>,
    /// The part that cannot be dropped: tmpfs and shared memory.
    pub(crate) shared: Option<Bytes>,
}

impl Held {
    /// What the two files of a cgroup say.
    pub(crate) fn new(usage: Bytes, stat: &Stat) -> Self {
        Self {
            usage: Some(usage),
            working_set: stat.working_set(usage),
            rss: stat.anon,
            page_cache: stat.file,
            active_file: stat.active_file,
            inactive_file: stat.inactive_file,
            shared: stat.shmem,
        }
    }
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Owner {
    /// The container's own.
    Container,
    /// The Pod's: of all its containers together.
    Pod,
    /// The node's, for all its Pods.
    Node,
    /// The machine's memory.
    Machine,
}

impl Owner {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "Pod",
            Self::Node => "node",
            Self::Machine => "machine",
        }
    }
}

/// What may still be used before a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Left {
    pub(crate) bytes: Bytes,
    /// Whose limit that is.
    pub(crate) of: Owner,
}

impl Left {
    /// Below the limit of this owner; `None` where there is none, or what is used is not known.
    pub(crate) fn below(of: Owner, limit: Option<Bytes>, held: &Held) -> Option<Self> {
        Some(Self { bytes: limit?.saturating_sub(held.working_set?), of })
    }

    /// The limit that is reached first; among equals the one named first.
    pub(crate) fn least(all: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        all.into_iter().flatten().min_by_key(|left| left.bytes)
    }
}

/// What the machine has left, as eviction counts it.
pub(crate) fn left_of_machine(meminfo: &str) -> Option<Left> {
    let get = |key| Bytes::of_proc(meminfo, key);
    let available = get("MemAvailable").unwrap_or_default();
    let bytes = available_of_machine(get("MemFree")?, get("Inactive(file)")?, available);
    Some(Left { bytes, of: Owner::Machine })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(working_set: u64) -> Held {
        Held { working_set: Some(Bytes::from_mib(working_set)), ..Held::default() }
    }

    #[test]
    fn the_limit_that_is_reached_first() {
        let mib = |mib| Some(Bytes::from_mib(mib));
        let own = Left::below(Owner::Container, mib(128), &held(28));
        let pod = Left::below(Owner::Pod, mib(256), &held(200));
        let node = Left::below(Owner::Node, mib(1024), &held(900));
        let first = Left::least([own, pod, node]).unwrap();
        assert_eq!((first.bytes, first.of), (Bytes::from_mib(56), Owner::Pod));
        let equal = Left::below(Owner::Pod, mib(128), &held(28));
        assert_eq!(Left::least([own, equal]).unwrap().of, Owner::Container);
        assert_eq!(Left::below(Owner::Container, None, &held(28)), None);
        assert_eq!(Left::below(Owner::Pod, mib(10), &held(28)).unwrap().bytes, Bytes::ZERO);
        assert_eq!(Left::least([None, None]), None);
    }

    #[test]
    fn what_the_machine_has_left() {
        let meminfo = "MemTotal:  1000 kB\nMemFree:  400 kB\nActive(file): 50 kB\nInactive(file): 100 kB\n";
        assert_eq!(left_of_machine(meminfo).unwrap().bytes, Bytes::from_kib(500));
        let with = |available: &str| left_of_machine(&format!("{meminfo}{available}")).unwrap().bytes;
        assert_eq!(
            with("MemAvailable: 540 kB\n"),
            Bytes::from_kib(540),
            "others' page cache that was used lately"
        );
        assert_eq!(with("MemAvailable: 450 kB\n"), Bytes::from_kib(500));
        assert_eq!(left_of_machine(""), None);
    }
}
