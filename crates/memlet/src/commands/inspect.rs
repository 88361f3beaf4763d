//! `memlet inspect`: one Pod's containers, cgroups, limit files and processes, as `crictl inspect`, `/proc` and the cgroup
//! filesystem show them.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use memlet_cgroup::Hierarchy;

use crate::cli::{Format, InspectArguments};
use crate::exit::Exit;
use crate::node::folder::DataFolder;
use crate::node::{client, running};
use crate::say;
use crate::view::gather::{self, PodView};
use crate::view::inspect;

/// Prints it.
pub(crate) fn run(arguments: &InspectArguments) -> Result<Exit> {
    let data = DataFolder::new(&arguments.place.data);
    let node = running::require(&data)?;
    let pods = client::block_on(&data, async |client| {
        let pods = Api::<Pod>::all(client).list(&ListParams::default()).await?.items;
        Ok(pods.into_iter().filter(|pod| node.node_of(pod).is_some()).collect::<Vec<_>>())
    })?;
    let pod = find(&pods, arguments)?;
    let member = node.node_of(pod).context("the Pod is on no node of this program")?;
    let view = gather::pod(pod, &member.cgroups.names(), &Hierarchy::detect()?)?;
    let text = match arguments.output {
        Format::Text => inspect::text(&view),
        Format::Json => serde_json::to_string_pretty::<PodView>(&view)? + "\n",
        Format::Yaml => serde_saphyr::to_string(&view)?,
    };
    say::print(&text)?;
    Ok(Exit::DONE)
}

/// By name, or by a container's id or its beginning. `pod/NAME` is taken too, as kubectl writes it.
fn find<'a>(pods: &'a [Pod], arguments: &InspectArguments) -> Result<&'a Pod> {
    let wanted = arguments.pod.strip_prefix("pod/").unwrap_or(&arguments.pod);
    let by_name = pods.iter().find(|pod| {
        pod.metadata.name.as_deref() == Some(wanted)
            && pod.metadata.namespace.as_deref() == Some(arguments.namespace.as_str())
    });
    if let Some(pod) = by_name {
        return Ok(pod);
    }
    let by_id: Vec<_> = pods.iter().filter(|pod| has_container(pod, wanted)).collect();
    match by_id[..] {
        [pod] => Ok(pod),
        [] => bail!(
            "no Pod {wanted:?} in the namespace {} runs on this node, and no container's id begins so; `memlet ps -a` lists \
             them",
            arguments.namespace
        ),
        _ => bail!("more than one container's id begins with {wanted:?}; give more of it"),
    }
}

/// So much of an id is no name by chance.
const SHORTEST_BEGINNING: usize = 4;

fn has_container(pod: &Pod, beginning: &str) -> bool {
    let status = pod.status.as_ref();
    let statuses = status
        .into_iter()
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten());
    let mut ids = statuses.filter_map(|status| status.container_id.as_deref()?.split_once("://"));
    beginning.len() >= SHORTEST_BEGINNING && ids.any(|(_, id)| id.starts_with(beginning))
}
