//! `memlet ps`: the node's containers, as `crictl ps` lists them, with their processes and memory.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use memlet_cgroup::Hierarchy;
use serde_json::json;

use crate::cli::{Format, PsArguments};
use crate::exit::Exit;
use crate::node::folder::DataFolder;
use crate::node::{client, running};
use crate::say;
use crate::view::{gather, table};

/// Prints the table.
pub(crate) fn run(arguments: &PsArguments) -> Result<Exit> {
    let data = DataFolder::new(&arguments.place.data);
    let node = running::require(&data)?;
    let hierarchy = Hierarchy::detect()?;
    let pods = client::block_on(&data, async |client| {
        let pods: Api<Pod> = match &arguments.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        Ok(pods.list(&ListParams::default()).await?.items)
    })?;
    let on_a_node = pods.iter().filter_map(|pod| {
        let member = node.node_of(pod)?;
        Some(gather::pod(pod, &member.cgroups.names(), &hierarchy))
    });
    let views: Vec<_> = on_a_node.collect::<Result<_>>()?;
    let text = match arguments.output {
        Format::Text => table::text(&views, arguments.all, node.members.len() > 1),
        Format::Json => serde_json::to_string_pretty(&json!({"pods": views}))? + "\n",
        Format::Yaml => serde_saphyr::to_string(&json!({"pods": views}))?,
    };
    say::print(&text)?;
    Ok(Exit::DONE)
}
