//! The cgroups that the node agent makes: `kubepods`, its tiers, and one per Pod. Containers' are the runtime's.

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Limit, ParsePathError};
use memlet_policy::cgroup_names::{CgroupNames, Driver};
use memlet_policy::memory_qos::{Protection, TierProtection};
use memlet_policy::qos::QosClass;

/// Where a node's cgroups are.
#[derive(Clone, Debug)]
pub(crate) struct NodeCgroups {
    hierarchy: Hierarchy,
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
    /// The configured root does not make a path.
    #[error(transparent)]
    Path(#[from] ParsePathError),
}

impl NodeCgroups {
    pub(crate) fn new(hierarchy: Hierarchy, root: &CgroupPath) -> Result<Self, ParsePathError> {
        let names = CgroupNames::new(Driver::Cgroupfs).below(root.as_str());
        let kubepods = names.kubepods().parse()?;
        Ok(Self { hierarchy, names, kubepods })
    }

    pub(crate) fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    pub(crate) fn kubepods(&self) -> &CgroupPath {
        &self.kubepods
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
        for mount_point in self.hierarchy.mount_points() {
            // Not empty, or not there: either way it stays as it is.
            let _ = std::fs::remove_dir(mount_point.join(root.as_str().trim_start_matches('/')));
        }
    }

    /// Makes `kubepods` with its limit, and the tiers, which have none.
    pub(crate) fn make_node(&self, limit: Bytes) -> Result<(), CgroupsError> {
        let kubepods = Cgroup::create(&self.hierarchy, &self.kubepods)?;
        if let Some(pid) = kubepods.processes_recursive()?.first() {
            return Err(CgroupsError::InUse { path: self.kubepods.clone(), pid: *pid });
        }
        kubepods.set_limit(Limit::from(limit))?;
        for class in [QosClass::Burstable, QosClass::BestEffort] {
            Cgroup::create(&self.hierarchy, &self.names.qos_tier(class).parse()?)?;
        }
        Ok(())
    }

    /// Makes a Pod's group.
    pub(crate) fn make_pod(
        &self,
        path: &CgroupPath,
        limit: Option<Bytes>,
        protection: Option<Protection>,
    ) -> Result<(), memlet_cgroup::Error> {
        let group = Cgroup::create(&self.hierarchy, path)?;
        if let Some(limit) = limit {
            group.set_limit(Limit::from(limit))?;
        }
        if let Some(Protection { min, low }) = protection {
            group.set_protection(min, low)?;
        }
        Ok(())
    }

    /// Has `kubepods` and the Burstable tier keep what is kept for the Pods below.
    pub(crate) fn protect_tiers(&self, tiers: TierProtection) -> Result<(), CgroupsError> {
        let burstable = self.names.qos_tier(QosClass::Burstable).parse()?;
        Cgroup::open(&self.hierarchy, &self.kubepods)?.set_protection(tiers.kubepods_min, Bytes::ZERO)?;
        Cgroup::open(&self.hierarchy, &burstable)?.set_protection(Bytes::ZERO, tiers.burstable_low)?;
        Ok(())
    }

    /// Whether swap is accounted here, so that it can and must be limited.
    pub(crate) fn accounts_swap(&self) -> bool {
        let dir = self.hierarchy.dir(&self.kubepods);
        ["memory.memsw.limit_in_bytes", "memory.swap.max"].iter().any(|file| dir.join(file).exists())
    }

    /// Removes a group and all below it from every hierarchy.
    pub(crate) async fn remove(&self, path: &CgroupPath) -> Result<(), memlet_cgroup::Error> {
        let (hierarchy, path) = (self.hierarchy.clone(), path.clone());
        let removed = tokio::task::spawn_blocking(move || hierarchy.remove_everywhere(&path)).await;
        // A panic in there is a bug, which its message tells; there is nothing to remove any more.
        removed.unwrap_or(Ok(()))
    }

    /// Removes `kubepods` and whatever is left in it.
    pub(crate) async fn remove_node(&self) -> Result<(), memlet_cgroup::Error> {
        self.remove(&self.kubepods).await
    }
}
