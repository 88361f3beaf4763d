//! The nodes of one program: what each is to be, as flags, a configuration file or `memlet node add` say it, and which were
//! added while it ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Taint;
use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_node::{Registration, Reservations};
use memlet_policy::node_memory::NodeMemory;
use memlet_policy::quantity::Quantity;
use serde::{Deserialize, Serialize};

use super::folder::DataFolder;
use crate::cli::size_of_text;
use crate::embedded::{CgroupPlace, MemberSettings, private};

/// One node, in a file's words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NodeSpec {
    /// Its name.
    pub(crate) name: String,
    /// The memory it pretends to have; the machine's where it is not said.
    #[serde(default, deserialize_with = "size_of_text", skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Bytes>,
    /// Labels of the Node object.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Taints from the start.
    #[serde(default)]
    pub(crate) taints: Vec<NodeTaint>,
}

/// `nodes:` of a file: how many, or each by itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Nodes {
    /// So many that are alike.
    Alike(u16),
    /// Each by itself.
    Each(Vec<NodeSpec>),
}

/// A taint as kubectl writes it: `key=value:NoSchedule`, `key:NoExecute`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeTaint {
    key: String,
    value: Option<String>,
    effect: String,
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

impl FromStr for NodeTaint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, effect) = text.rsplit_once(':').ok_or("say KEY=VALUE:EFFECT, as in gpu=yes:NoSchedule")?;
        if !EFFECTS.contains(&effect) {
            return Err(format!("{effect:?} is no effect of a taint: there are {}", EFFECTS.join(", ")));
        }
        let (key, value) =
            rest.split_once('=').map_or((rest, None), |(key, value)| (key, Some(value.to_owned())));
        if key.is_empty() {
            return Err("a taint needs a key".to_owned());
        }
        Ok(Self { key: key.to_owned(), value, effect: effect.to_owned() })
    }
}

impl fmt::Display for NodeTaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, effect } = self;
        let value = value.as_deref().map(|value| format!("={value}")).unwrap_or_default();
        write!(f, "{key}{value}:{effect}")
    }
}

impl Serialize for NodeTaint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeTaint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What every node of the pool has, unless it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// Below it each node has a cgroup of its own name.
    pub(crate) cgroups: CgroupPlace,
    pub(crate) memory: Option<Bytes>,
    pub(crate) reservations: Reservations,
}

/// Each reads the kernel's log and beats by itself; the scheduler's own figures are measured without any of that.
const MOST_NODES: usize = 200;

impl Common {
    /// A node that is alone, at the root itself.
    pub(crate) fn alone(&self, name: &str) -> Result<MemberSettings> {
        let member = MemberSettings {
            name: name.to_owned(),
            memory: self.memory,
            reservations: self.reservations.clone(),
            registration: Registration::default(),
            static_pods: None,
            cgroups: self.cgroups.clone(),
        };
        check_memory(&member)?;
        Ok(member)
    }

    /// A node of a pool.
    pub(crate) fn member(&self, spec: &NodeSpec) -> Result<MemberSettings> {
        check_name(&spec.name)?;
        let root = format!("{}/{}", self.cgroups.root.as_str().trim_end_matches('/'), spec.name);
        let root: CgroupPath = root.parse().with_context(|| format!("{root} is no cgroup"))?;
        let taints = spec.taints.iter().map(|NodeTaint { key, value, effect }| Taint {
            key: key.clone(),
            value: value.clone(),
            effect: effect.clone(),
            time_added: None,
        });
        let own = Self {
            memory: spec.memory.or(self.memory),
            cgroups: CgroupPlace { root, driver: self.cgroups.driver },
            ..self.clone()
        };
        let registration = Registration { labels: spec.labels.clone(), taints: taints.collect() };
        Ok(MemberSettings { registration, ..own.alone(&spec.name)? })
    }

    /// All nodes of a pool; so many that are alike are numbered from 1.
    pub(crate) fn members(&self, name: &str, nodes: &Nodes) -> Result<Vec<MemberSettings>> {
        let specs = match nodes {
            Nodes::Alike(count) => (1..=*count)
                .map(|number| NodeSpec { name: format!("{name}-{number}"), ..NodeSpec::default() })
                .collect(),
            Nodes::Each(specs) => specs.clone(),
        };
        ensure!(!specs.is_empty(), "a pool needs at least one node");
        ensure!(specs.len() <= MOST_NODES, "one program runs no more than {MOST_NODES} nodes");
        let names: BTreeSet<_> = specs.iter().map(|spec| &spec.name).collect();
        ensure!(names.len() == specs.len(), "two nodes of the pool have the same name");
        specs.iter().map(|spec| self.member(spec)).collect()
    }
}

/// A node's name is its object's and its cgroup's.
fn check_name(name: &str) -> Result<()> {
    let is_plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let ends_well =
        |name: &str| name.starts_with(char::is_alphanumeric) && name.ends_with(char::is_alphanumeric);
    if name.len() > 63 || !name.chars().all(is_plain) || !ends_well(name) {
        bail!(
            "{name:?} is no name of a node: up to 63 small letters, digits, - and ., with a letter or a digit at both ends"
        );
    }
    ensure!(
        !name.starts_with("kubepods"),
        "{name:?} is what the cgroup of all Pods is called; choose another name"
    );
    Ok(())
}

/// A node must leave something for Pods.
fn check_memory(member: &MemberSettings) -> Result<()> {
    let Some(memory) = member.memory else { return Ok(()) };
    let aside = |amounts: &memlet_node::Amounts| amounts.get("memory").map_or(Bytes::ZERO, Quantity::bytes);
    let node = NodeMemory {
        kube_reserved: aside(&member.reservations.kube),
        system_reserved: aside(&member.reservations.system),
        eviction_hard: member.reservations.eviction.hard,
        ..NodeMemory::new(memory)
    };
    ensure!(
        node.check().is_ok() && node.allocatable() > Bytes::ZERO,
        "a node of {memory} leaves nothing for Pods: {} is set aside, and every node keeps {} of its memory free; \
         give it more than that",
        node.kube_reserved + node.system_reserved,
        node.eviction_bytes()
    );
    Ok(())
}

/// The nodes that were added while the program ran; they are there at its next start too.
pub(crate) fn added(data: &DataFolder) -> Result<Vec<NodeSpec>> {
    let path = data.pool();
    match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => {
            let text = read.with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| {
                format!(
                    "{} is no list of nodes: remove it to begin without those that were added",
                    path.display()
                )
            })
        }
    }
}

/// Writes them down.
pub(crate) fn write_added(data: &DataFolder, added: &[NodeSpec]) -> Result<()> {
    let path = data.pool();
    let text = serde_json::to_vec(added).context("the list of nodes makes no JSON")?;
    private::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common() -> Common {
        Common {
            cgroups: CgroupPlace {
                root: CgroupPath::root(),
                driver: memlet_policy::cgroup_names::Driver::Cgroupfs,
            },
            memory: Some(Bytes::from_gib(1)),
            reservations: Reservations::default(),
        }
    }

    #[test]
    fn nodes_alike_are_numbered() {
        let members = common().members("memlet", &Nodes::Alike(2)).unwrap();
        let seen: Vec<_> =
            members.iter().map(|it| (it.name.as_str(), it.cgroups.root.as_str(), it.memory)).collect();
        let memory = Some(Bytes::from_gib(1));
        assert_eq!(seen, [("memlet-1", "/memlet-1", memory), ("memlet-2", "/memlet-2", memory)]);
    }

    #[test]
    fn nodes_by_themselves() {
        let nodes: Nodes = serde_saphyr::from_str(
            "- {name: small, memory: 512Mi, labels: {disk: ssd}, taints: ['gpu=yes:NoSchedule', 'old:NoExecute']}\n\
             - {name: large}\n",
        )
        .unwrap();
        let members = common().members("memlet", &nodes).unwrap();
        assert_eq!(
            (members[0].memory, members[1].memory),
            (Some(Bytes::from_mib(512)), Some(Bytes::from_gib(1)))
        );
        let taints: Vec<_> = members[0].registration.taints.iter().map(|taint| taint.key.as_str()).collect();
        assert_eq!(taints, ["gpu", "old"]);
        assert_eq!(members[0].registration.labels["disk"], "ssd");
        let Nodes::Each(specs) = nodes else { panic!("they are") };
        let written = serde_json::to_string(&specs).unwrap();
        assert_eq!(serde_json::from_str::<Vec<NodeSpec>>(&written).unwrap(), specs);
    }

    #[test]
    fn what_is_no_pool() {
        for (nodes, part) in [
            ("0", "at least one"),
            ("[{name: a}, {name: a}]", "same name"),
            ("5000", "no more than 200"),
            ("[{name: A}]", "no name of a node"),
            ("[{name: kubepods}]", "cgroup of all Pods"),
            ("[{name: a, memory: 50Mi}]", "leaves nothing for Pods"),
        ] {
            let error =
                common().members("m", &serde_saphyr::from_str(nodes).unwrap()).unwrap_err().to_string();
            assert!(error.contains(part), "{nodes}: {error}");
        }
        for taint in ["x", "x:Never", ":NoSchedule", "=v:NoSchedule"] {
            taint.parse::<NodeTaint>().expect_err(taint);
        }
    }
}
