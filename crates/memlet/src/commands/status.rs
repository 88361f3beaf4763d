//! `memlet status`: whether the node runs, and how it is.

use std::io::{self, Write};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::{Format, StatusArguments};
use crate::exit::Exit;
use crate::node::client;
use crate::node::folder::DataFolder;
use crate::node::record::NodeRecord;
use crate::node::running::{self, Found};

/// Prints it and answers whether the node runs.
pub(crate) fn run(arguments: &StatusArguments) -> Result<Exit> {
    let data = DataFolder::new(&arguments.place.data);
    let found = running::find(&data)?;
    let answers = match &found {
        Found::Running(_) => Some(client::block_on(&data, async |client| pods(&client).await)),
        Found::Busy | Found::Stopped(_) => None,
    };
    let text = match arguments.output {
        Format::Text => text(&data, &found, answers.as_ref()),
        Format::Json => serde_json::to_string_pretty(&document(&data, &found, answers.as_ref()))? + "\n",
        Format::Yaml => serde_saphyr::to_string(&document(&data, &found, answers.as_ref()))?,
    };
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    Ok(if matches!(answers, Some(Ok(_))) { Exit::DONE } else { Exit::NOT_FOUND })
}

/// How many Pods there are, and how many of them run.
struct Pods {
    all: usize,
    running: usize,
}

async fn pods(client: &kube::Client) -> Result<Pods> {
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::all(client.clone());
    let list = pods.list(&kube::api::ListParams::default()).await?;
    let runs = |pod: &&k8s_openapi::api::core::v1::Pod| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    Ok(Pods { all: list.items.len(), running: list.items.iter().filter(runs).count() })
}

fn text(data: &DataFolder, found: &Found, answers: Option<&Result<Pods>>) -> String {
    match found {
        Found::Stopped(None) => format!("no node has run in {}\n", data.path().display()),
        Found::Stopped(Some(node)) => {
            let pods = if crate::embedded::keeps_pods(data, node) {
                "; the Pods run on: `memlet node` takes them up again, `memlet stop --pods` ends them"
            } else {
                ""
            };
            let do_not = if node.members.len() > 1 { "do not run" } else { "does not run" };
            format!("the {} {do_not}{pods}\n", node.title())
        }
        Found::Busy => "the node is starting or ending\n".to_owned(),
        Found::Running(node) => running_text(data, node, answers),
    }
}

fn running_text(data: &DataFolder, node: &NodeRecord, answers: Option<&Result<Pods>>) -> String {
    let pods = match answers {
        Some(Ok(pods)) => format!("{} ({} running)", pods.all, pods.running),
        Some(Err(error)) => format!("unknown: the API does not answer ({})", error.root_cause()),
        None => "unknown".to_owned(),
    };
    let addresses: Vec<_> = node.addresses.iter().map(|address| format!("https://{address}")).collect();
    let mut text = format!(
        "process      {}, since {}\nAPI          {}\n",
        node.pid,
        node.started_at.strftime("%Y-%m-%d %H:%M:%SZ"),
        addresses.join(", "),
    );
    for member in &node.members {
        let cgroup = member.cgroups.kubepods();
        let cgroup = cgroup.map_or_else(|_| member.cgroups.root.to_string(), |path| path.to_string());
        text.push_str(&format!(
            "node         {}: {} of memory, {} of it for requests, cgroup {cgroup}\n",
            member.name, member.capacity, member.allocatable
        ));
    }
    text + &format!(
        "Pods         {pods}\ndata folder  {}\nrun folder   {}\n",
        data.path().display(),
        node.run_folder.display(),
    )
}

fn document(data: &DataFolder, found: &Found, answers: Option<&Result<Pods>>) -> Value {
    let (state, node) = match found {
        Found::Running(node) => ("Running", Some(node)),
        Found::Busy => ("Busy", None),
        Found::Stopped(node) => ("Stopped", node.as_ref()),
    };
    let mut document = json!({
        "state": state,
        "answers": matches!(answers, Some(Ok(_))),
        "dataFolder": data.path(),
        "time": Timestamp::now(),
    });
    if let Some(node) = node {
        document["program"] = json!(node);
        document["keepsPods"] = json!(crate::embedded::keeps_pods(data, node));
    }
    if let Some(Ok(pods)) = answers {
        document["pods"] = json!({"all": pods.all, "running": pods.running});
    }
    document
}
