//! Where memory ran out, and what the victim's cgroup is to Kubernetes.

use memlet_oomlog::{Report, Scope};
use memlet_policy::cgroup_names::{self, CgroupIdentity};
use serde::Serialize;

use super::place::{Place, PlaceKind};
use crate::evidence::Level;

/// The level at which memory ran out; `place` is that of the cgroup whose limit was hit.
pub(super) fn of(report: &Report, place: Option<&Place>) -> Option<Level> {
    match report.scope {
        Some(Scope::System | Scope::Cpuset | Scope::Mempolicy) => Some(Level::Machine),
        Some(Scope::Memcg) | None => place.map(of_place),
    }
}

fn of_place(place: &Place) -> Level {
    match place.kind {
        PlaceKind::KubernetesContainer
        | PlaceKind::DockerContainer
        | PlaceKind::PodmanContainer
        | PlaceKind::Container
        | PlaceKind::LxcContainer
            if place.is_whole =>
        {
            Level::Container
        }
        PlaceKind::KubernetesPod | PlaceKind::PodmanPod if place.is_whole => Level::Pod,
        PlaceKind::KubernetesQosClass => Level::QosClass,
        PlaceKind::KubernetesNode => Level::NodeAllocatable,
        _ => Level::Other,
    }
}

/// What a cgroup's path says in Kubernetes' terms; what it does not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kubernetes {
    /// The Pod's `QoS` class.
    pub qos_class: Option<String>,
    /// The Pod's uid.
    pub pod_uid: Option<String>,
    /// The container's id; that of the sandbox for a pause process.
    pub container_id: Option<String>,
    /// `containerd`, `cri-o`, `docker` or `podman`, where the name tells.
    pub runtime: Option<String>,
}

impl Kubernetes {
    /// Of the victim's cgroup; where its path is not there or cut off, of the cgroup whose limit was hit.
    pub(super) fn of(report: &Report) -> Option<Self> {
        let paths = [report.oom_memcg.as_deref(), report.group_kill.as_deref(), report.task_memcg.as_deref()];
        let identities = paths.into_iter().flatten().filter_map(cgroup_names::decode);
        // The last of equals: the victim's.
        identities.max_by_key(|identity| identity.level).map(Self::from)
    }
}

impl From<CgroupIdentity> for Kubernetes {
    fn from(identity: CgroupIdentity) -> Self {
        Self {
            qos_class: identity.qos.map(|class| class.as_str().to_owned()),
            pod_uid: identity.pod_uid,
            container_id: identity.container_id,
            runtime: identity.runtime.map(|runtime| runtime.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2e088fe462e25e60be1dafafe2c05c47bda1a97978648d10ad2b7484fc0b8f50";

    fn level(path: &str) -> Level {
        of_place(&Place::of_path(path))
    }

    #[test]
    fn levels_follow_from_the_path() {
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod06d44939_d15e.slice";
        for (path, expected) in [
            ("/kubepods".to_owned(), Level::NodeAllocatable),
            ("/kubepods.slice".to_owned(), Level::NodeAllocatable),
            ("/kubepods/besteffort".to_owned(), Level::QosClass),
            (pod.to_owned(), Level::Pod),
            (format!("{pod}/cri-containerd-{ID}.scope"), Level::Container),
            (format!("{pod}/cri-containerd-{ID}.scope/worker"), Level::Other),
            (format!("/docker/{ID}"), Level::Container),
            (format!("/docker/{ID}/kubelet/kubepods/burstable/podaa-bb/{ID}"), Level::Container),
            (format!("/system.slice/docker-{ID}.scope/inner"), Level::Other),
            ("/lxc/39004".to_owned(), Level::Container),
            ("/system.slice/nginx.service".to_owned(), Level::Other),
            ("/foo".to_owned(), Level::Other),
        ] {
            assert_eq!(level(&path), expected, "{path}");
        }
    }

    #[test]
    fn the_scope_comes_before_the_path() {
        let place = Place::of_path("/kubepods");
        let of_scope = |scope, place| of(&Report { scope, ..Report::default() }, place);
        assert_eq!(of_scope(Some(Scope::Cpuset), None), Some(Level::Machine));
        assert_eq!(of_scope(Some(Scope::System), Some(&place)), Some(Level::Machine));
        assert_eq!(of_scope(Some(Scope::Memcg), None), None, "the path is not known");
        assert_eq!(of_scope(None, None), None);
    }

    #[test]
    fn a_cut_path_does_not_hide_the_whole_one() {
        let report = Report {
            oom_memcg: Some(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaa_bb.slice".to_owned(),
            ),
            task_memcg: Some("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda".to_owned()),
            ..Report::default()
        };
        let kubernetes = Kubernetes::of(&report).unwrap();
        assert_eq!(kubernetes.pod_uid.as_deref(), Some("aa-bb"));
        assert_eq!(kubernetes.qos_class.as_deref(), Some("Burstable"));
        assert_eq!(Kubernetes::of(&Report::default()), None);
    }
}
