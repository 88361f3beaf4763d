//! What an OOM kill takes with it: one process, the container, or the whole Pod.
//!
//! Kubernetes has one switch for a whole node (`singleProcessOOMKill`). Here a Pod may say it for each container, by
//! the annotation [`ANNOTATION`], since only the program's author knows whether it can live on without a part.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use crate::cgroup_limits::{CgroupVersion, NoGroupKill, kills_whole_container};
use crate::resources;

/// `process`, `container` or `pod` for all containers, or `NAME=MODE` for each, divided by commas.
pub const ANNOTATION: &str = "memlet.dev/oom-kill-mode";

/// What dies when the kernel kills one process of a container for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OomKillMode {
    /// That process. The container lives on unless it was its first.
    #[default]
    Process,
    /// All processes of the container.
    Container,
    /// All containers of the Pod.
    Pod,
}

/// A text that is none of the modes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an OOM kill mode; write process, container or pod")]
pub struct ParseModeError(String);

impl FromStr for OomKillMode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, ParseModeError> {
        match text {
            "process" => Ok(Self::Process),
            "container" => Ok(Self::Container),
            "pod" => Ok(Self::Pod),
            other => Err(ParseModeError(other.to_owned())),
        }
    }
}

impl fmt::Display for OomKillMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Process => "process",
            Self::Container => "container",
            Self::Pod => "pod",
        })
    }
}

/// Why the annotation cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// One of its modes is none.
    #[error("annotation {ANNOTATION}: {0}")]
    Mode(#[from] ParseModeError),
    /// It names a container that the Pod does not have.
    #[error("annotation {ANNOTATION}: the Pod has no container {0:?}; it has {1}")]
    NoContainer(String, String),
    /// It names a container twice.
    #[error("annotation {ANNOTATION}: container {0:?} is named twice")]
    Twice(String),
}

/// What a Pod says of `container`; `None` where it says nothing, and the node's own rule holds.
///
/// # Errors
/// Where the annotation is wrong in any part, also one about another container.
pub fn wished(pod: &Pod, container: &str) -> Result<Option<OomKillMode>, AnnotationError> {
    let annotations = pod.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|annotations| annotations.get(ANNOTATION)) else { return Ok(None) };
    if !text.contains('=') {
        return Ok(Some(text.trim().parse()?));
    }
    let names: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(resources::counted_containers)
        .map(|container| container.name.as_str())
        .collect();
    let (mut seen, mut found) = (Vec::new(), None);
    for part in text.split(',') {
        let (name, mode) = part.split_once('=').unwrap_or((part, ""));
        let (name, mode) = (name.trim(), mode.trim().parse()?);
        if !names.contains(&name) {
            return Err(AnnotationError::NoContainer(name.to_owned(), names.join(", ")));
        }
        if seen.contains(&name) {
            return Err(AnnotationError::Twice(name.to_owned()));
        }
        seen.push(name);
        if name == container {
            found = Some(mode);
        }
    }
    Ok(found)
}

/// What holds for a container that says nothing, on a node with this `singleProcessOOMKill`.
///
/// # Errors
/// As [`kills_whole_container`].
pub fn of_node(
    version: CgroupVersion,
    single_process_oom_kill: Option<bool>,
) -> Result<OomKillMode, NoGroupKill> {
    let whole = kills_whole_container(version, single_process_oom_kill)?;
    Ok(if whole { OomKillMode::Container } else { OomKillMode::Process })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(annotation: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"annotations": {ANNOTATION: annotation}},
            "spec": {"containers": [{"name": "main"}, {"name": "side"}], "initContainers": [{"name": "init"}]},
        }))
        .unwrap()
    }

    #[test]
    fn one_mode_for_all_or_one_for_each() {
        for (annotation, main, side) in [
            ("process", Some(OomKillMode::Process), Some(OomKillMode::Process)),
            (" pod ", Some(OomKillMode::Pod), Some(OomKillMode::Pod)),
            ("main=container", Some(OomKillMode::Container), None),
            ("main=container, side=pod", Some(OomKillMode::Container), Some(OomKillMode::Pod)),
            ("init=process,side=process", None, Some(OomKillMode::Process)),
        ] {
            let pod = pod(annotation);
            assert_eq!(wished(&pod, "main"), Ok(main), "{annotation}");
            assert_eq!(wished(&pod, "side"), Ok(side), "{annotation}");
        }
        assert_eq!(wished(&Pod::default(), "main"), Ok(None));
    }

    #[test]
    fn mistakes_are_named() {
        for (annotation, message) in [
            (
                "all",
                "annotation memlet.dev/oom-kill-mode: \"all\" is not an OOM kill mode; write process, container or pod",
            ),
            (
                "",
                "annotation memlet.dev/oom-kill-mode: \"\" is not an OOM kill mode; write process, container or pod",
            ),
            (
                "main=pod,side",
                "annotation memlet.dev/oom-kill-mode: \"\" is not an OOM kill mode; write process, container or pod",
            ),
            (
                "maim=pod",
                "annotation memlet.dev/oom-kill-mode: the Pod has no container \"maim\"; it has init, main, side",
            ),
            (
                "main=pod,main=process",
                "annotation memlet.dev/oom-kill-mode: container \"main\" is named twice",
            ),
        ] {
            assert_eq!(wished(&pod(annotation), "side").unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_node_has_its_own_rule() {
        assert_eq!(of_node(CgroupVersion::V2, None), Ok(OomKillMode::Container));
        assert_eq!(of_node(CgroupVersion::V2, Some(true)), Ok(OomKillMode::Process));
        assert_eq!(of_node(CgroupVersion::V1, None), Ok(OomKillMode::Process));
        assert_eq!(of_node(CgroupVersion::V1, Some(false)), Err(NoGroupKill));
    }
}
