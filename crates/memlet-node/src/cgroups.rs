//! The cgroups that the node agent makes: `kubepods`, its tiers, and one per Pod. Containers' are the runtime's.

use std::collections::HashSet;

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Limit, ParsePathError, Pid, Version};
use memlet_policy::cgroup_names::{CgroupNames, Driver};
use memlet_policy::memory_qos::{Protection, TierProtection};
use memlet_policy::qos::QosClass;
use memlet_systemd::{Manager, Memory};

/// Where a node's cgroups are.
#[derive(Clone, Debug)]
pub(crate) struct NodeCgroups {
    hierarchy: Hierarchy,
    driver: Driver,
    names: CgroupNames,
    kubepods: CgroupPath,
}

/// The `kubepods` cgroup cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CgroupsError {
    /// Processes live there that this node did not start.
    #[error(
        "{path} is in use by another node agent (process {pid} lives in it); \
         choose another place with --cgroup-root"
    )]
    InUse {
        /// The group.
        path: CgroupPath,
        /// One process in it.
        pid: memlet_cgroup::Pid,
    },
    /// The kernel refused.
    #[error(transparent)]
    Cgroup(#[from] memlet_cgroup::Error),
    /// systemd did not make a group.
    #[error(transparent)]
    Systemd(#[from] memlet_systemd::Error),
    /// On cgroup v1 systemd makes groups in a hierarchy of its own, not in that of the memory controller.
    #[error("the systemd driver needs cgroup v2, and this machine has v1; use --cgroup-driver cgroupfs")]
    SystemdNeedsV2,
    /// The configured root does not make a path.
    #[error(transparent)]
    Path(#[from] ParsePathError),
}

impl NodeCgroups {
    pub(crate) fn new(
        hierarchy: Hierarchy,
        driver: Driver,
        root: &CgroupPath,
    ) -> Result<Self, ParsePathError> {
        let names = CgroupNames::new(driver).below(root.as_str());
        let kubepods = names.kubepods().parse()?;
        Ok(Self { hierarchy, driver, names, kubepods })
    }

    pub(crate) fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    pub(crate) fn kubepods(&self) -> &CgroupPath {
        &self.kubepods
    }

    /// A cgroup in `kubepods` that the kernel's log names, as this node names it. Inside a cgroup namespace our paths lack
    /// what the kernel prints before them; a like-named group of another node's is one that is seen from here.
    pub(crate) fn own(&self, kernel_path: &str) -> Option<CgroupPath> {
        let (before, inside) = kernel_path.split_once(self.kubepods.as_str())?;
        if !(inside.is_empty() || inside.starts_with('/')) {
            return None;
        }
        let is_others =
            !before.is_empty() && before.parse().is_ok_and(|before| self.hierarchy.dir(&before).exists());
        if is_others { None } else { format!("{}{inside}", self.kubepods).parse().ok() }
    }

    pub(crate) fn pod(&self, class: QosClass, uid: &str) -> Result<CgroupPath, ParsePathError> {
        self.names.pod(class, uid).parse()
    }

    /// Whether the group above `kubepods` must be made too, and so is ours to remove.
    pub(crate) fn lacks_root(&self) -> bool {
        let root = self.kubepods.parent();
        root.is_some_and(|root| !root.is_root() && !self.hierarchy.dir(&root).exists())
    }

    /// Removes the group above `kubepods` from every hierarchy, unless something else is in it.
    pub(crate) fn remove_empty_root(&self) {
        let Some(root) = self.kubepods.parent().filter(|root| !root.is_root()) else { return };
        if self.driver == Driver::Systemd {
            let inside = Cgroup::open(&self.hierarchy, &root).and_then(|root| root.processes_recursive());
            if inside.is_ok_and(|inside| inside.is_empty()) {
                let _ = Manager::connect().and_then(|mut systemd| systemd.stop(root.name()));
            }
            return;
        }
        for mount_point in self.hierarchy.mount_points() {
            // Not empty, or not there: either way it stays as it is.
            let _ = std::fs::remove_dir(mount_point.join(root.as_str().trim_start_matches('/')));
        }
    }

    /// Makes `kubepods` with its limit, and the tiers, which have none. Where it is there already, nothing may run in it but
    /// Pods with these uids.
    pub(crate) fn make_node(&self, limit: Bytes, known: &HashSet<String>) -> Result<(), CgroupsError> {
        if self.driver == Driver::Systemd && self.hierarchy.version() == Version::V1 {
            return Err(CgroupsError::SystemdNeedsV2);
        }
        let kubepods = self.make(&self.kubepods, Memory::default())?;
        let inside = kubepods.processes_recursive()?;
        if !inside.is_empty() {
            let ours = self.processes_of(known)?;
            // One that is gone by now was nobody's trouble.
            let foreign = inside.into_iter().filter(|pid| !ours.contains(pid));
            let still = kubepods.processes_recursive()?;
            if let Some(pid) = foreign.into_iter().find(|pid| still.contains(pid)) {
                return Err(CgroupsError::InUse { path: self.kubepods.clone(), pid });
            }
        }
        self.set(&self.kubepods, Memory { max: Some(Limit::from(limit)), ..Memory::default() })?;
        for class in [QosClass::Burstable, QosClass::BestEffort] {
            self.make(&self.names.qos_tier(class).parse()?, Memory::default())?;
        }
        Ok(())
    }

    /// Everything that runs in Pods with these uids.
    fn processes_of(&self, pods: &HashSet<String>) -> Result<HashSet<Pid>, CgroupsError> {
        let mut processes = HashSet::new();
        for uid in pods {
            for path in self.places_of(uid)? {
                match Cgroup::open(&self.hierarchy, &path).and_then(|group| group.processes_recursive()) {
                    Ok(inside) => processes.extend(inside),
                    Err(error) if error.is_gone() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(processes)
    }

    /// Where a Pod can be of which only the uid is known.
    pub(crate) fn places_of(&self, uid: &str) -> Result<Vec<CgroupPath>, ParsePathError> {
        let classes = [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort];
        classes.into_iter().map(|class| self.pod(class, uid)).collect()
    }

    /// Makes a Pod's group.
    pub(crate) fn make_pod(
        &self,
        path: &CgroupPath,
        limit: Option<Bytes>,
        protection: Option<Protection>,
    ) -> Result<(), CgroupsError> {
        let (min, low) = (protection.map(|it| it.min), protection.map(|it| it.low));
        self.make(path, Memory { max: limit.map(Limit::from), min, low }).map(drop)
    }

    /// Has `kubepods` and the Burstable tier keep what is kept for the Pods below.
    pub(crate) fn protect_tiers(&self, tiers: TierProtection) -> Result<(), CgroupsError> {
        let burstable = self.names.qos_tier(QosClass::Burstable).parse()?;
        let keep = |min, low| Memory { max: None, min: Some(min), low: Some(low) };
        self.set(&self.kubepods, keep(tiers.kubepods_min, Bytes::ZERO))?;
        self.set(&burstable, keep(Bytes::ZERO, tiers.burstable_low))
    }

    /// Makes a group, or opens the one that is there, and sets what it may use.
    fn make(&self, path: &CgroupPath, memory: Memory) -> Result<Cgroup, CgroupsError> {
        match self.driver {
            Driver::Cgroupfs => {
                let group = Cgroup::create(&self.hierarchy, path)?;
                set_files(&group, memory)?;
                Ok(group)
            }
            Driver::Systemd => {
                Manager::connect()?.start_slice(path.name(), "Pods of memlet", memory)?;
                Ok(Cgroup::open(&self.hierarchy, path)?)
            }
        }
    }

    fn set(&self, path: &CgroupPath, memory: Memory) -> Result<(), CgroupsError> {
        match self.driver {
            Driver::Cgroupfs => Ok(set_files(&Cgroup::open(&self.hierarchy, path)?, memory)?),
            Driver::Systemd => Ok(Manager::connect()?.set_memory(path.name(), memory)?),
        }
    }

    /// Whether swap is accounted here, so that it can and must be limited.
    pub(crate) fn accounts_swap(&self) -> bool {
        let dir = self.hierarchy.dir(&self.kubepods);
        ["memory.memsw.limit_in_bytes", "memory.swap.max"].iter().any(|file| dir.join(file).exists())
    }

    /// Removes a group and all below it from every hierarchy.
    pub(crate) async fn remove(&self, path: &CgroupPath) -> Result<(), CgroupsError> {
        let (cgroups, path) = (self.clone(), path.clone());
        let removed = tokio::task::spawn_blocking(move || cgroups.remove_now(&path)).await;
        // A panic in there is a bug, which its message tells; there is nothing to remove any more.
        removed.unwrap_or(Ok(()))
    }

    /// The same, which blocks for as long as killed processes take to end.
    pub(crate) fn remove_now(&self, path: &CgroupPath) -> Result<(), CgroupsError> {
        self.hierarchy.remove_everywhere(path)?;
        if self.driver == Driver::Systemd {
            // It would keep the unit, and make the group anew when it is reloaded.
            Manager::connect()?.stop(path.name())?;
        }
        Ok(())
    }

    /// Removes `kubepods` and whatever is left in it.
    pub(crate) async fn remove_node(&self) -> Result<(), CgroupsError> {
        self.remove(&self.kubepods).await
    }
}

fn set_files(group: &Cgroup, memory: Memory) -> Result<(), memlet_cgroup::Error> {
    if let Some(max) = memory.max {
        group.set_limit(max)?;
    }
    if let (Some(min), Some(low)) = (memory.min, memory.low) {
        group.set_protection(min, low)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_names_are_told_apart_by_what_is_seen_from_here() {
        let root = tempfile::tempdir().unwrap();
        let mounted = root.path().join("sys/fs/cgroup");
        // Another node's, beside ours.
        std::fs::create_dir_all(mounted.join("other/kubepods")).unwrap();
        std::fs::write(mounted.join("cgroup.controllers"), "memory").unwrap();
        std::fs::write(mounted.join("cgroup.subtree_control"), "memory").unwrap();
        let mountinfo = "35 31 0:32 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let hierarchy = Hierarchy::detect_from(mountinfo, root.path()).unwrap();
        let cgroups = NodeCgroups::new(hierarchy, Driver::Cgroupfs, &CgroupPath::root()).unwrap();
        let own = |path: &str| cgroups.own(path).map(|path| path.to_string());
        let ours = || Some("/kubepods/podu/c".to_owned());
        assert_eq!(own("/kubepods/podu/c"), ours());
        assert_eq!(own("/outside/kubepods/podu/c"), ours(), "in a cgroup namespace");
        assert_eq!(own("/other/kubepods/podu/c"), None, "another node's");
        assert_eq!(own("/kubepods"), Some("/kubepods".to_owned()));
        assert_eq!(own("/kubepods-of-others/podu"), None);
        assert_eq!(own("/system.slice"), None);
    }
}
