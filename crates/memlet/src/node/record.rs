//! What a node says of itself while it runs, for the commands that speak to it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use memlet_bytes::Bytes;
use memlet_node::PressureThreshold;
use serde::{Deserialize, Serialize};

use super::folder::DataFolder;
use crate::embedded::{CgroupPlace, Member, private};

/// A running program, with its nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeRecord {
    /// The program.
    pub(crate) pid: i32,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// Where its API is.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The folder of what lives as long as its Pods.
    pub(crate) run_folder: PathBuf,
    /// Its nodes.
    #[serde(rename = "nodes")]
    pub(crate) members: Vec<MemberRecord>,
}

/// One of its nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberRecord {
    /// The Node's name.
    pub(crate) name: String,
    /// Where its Pods' cgroups are.
    #[serde(flatten)]
    pub(crate) cgroups: CgroupPlace,
    /// The memory that it has.
    pub(crate) capacity: Bytes,
    /// What Pods may request of that.
    pub(crate) allocatable: Bytes,
    /// It is the whole machine: others than its Pods use memory too.
    #[serde(default)]
    pub(crate) is_machine: bool,
    /// Where it evicts Pods. `None` of a program that did not record it.
    #[serde(default)]
    pub(crate) thresholds: Option<Vec<PressureThreshold>>,
}

impl MemberRecord {
    /// What a node that runs says of itself.
    pub(crate) fn of(member: &Member) -> Self {
        Self {
            name: member.name.clone(),
            cgroups: member.cgroups.clone(),
            capacity: member.agent.capacity(),
            allocatable: member.agent.allocatable(),
            is_machine: member.agent.is_machine(),
            thresholds: Some(member.agent.thresholds()),
        }
    }
}

/// More are only counted.
const MOST_NAMES: usize = 5;

impl NodeRecord {
    /// `node memlet`, `nodes a, b and c`; of many only how many.
    pub(crate) fn title(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.name.as_str()).collect();
        match names[..] {
            [] => "node".to_owned(),
            [name] => format!("node {name}"),
            _ if names.len() > MOST_NAMES => format!("{} nodes", names.len()),
            [ref before @ .., last] => format!("nodes {} and {last}", before.join(", ")),
        }
    }

    /// The node on which a Pod is; `None` where it is on none of this program.
    pub(crate) fn node_of(&self, pod: &Pod) -> Option<&MemberRecord> {
        let name = pod.spec.as_ref()?.node_name.as_deref()?;
        self.members.iter().find(|member| member.name == name)
    }

    /// Writes it down; commands find the node by it.
    pub(crate) fn write(&self, data: &DataFolder) -> Result<()> {
        let path = data.record();
        let text = serde_json::to_vec(self).context("the node's record makes no JSON")?;
        private::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// As the last node of this folder wrote it, which may have ended; `None` where there never was one.
    pub(crate) fn read(data: &DataFolder) -> Option<Self> {
        memlet_runtime::state::read_json(&data.record()).ok()
    }
}
