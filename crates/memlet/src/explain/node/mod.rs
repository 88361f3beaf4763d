//! `memlet explain node/NAME`: how short of memory a node is and was, who went for it, and who would be next.
//!
//! What is so now and what the last hour was like, a node that runs tells; who was evicted and who was killed is read from
//! the records, which outlive it for a week.

mod advice; // which number to change
mod past; // evictions and kills
mod plot; // the last hour
mod pressure; // what the node tells of it
mod text; // all of it for people

#[cfg(test)]
pub(super) mod sample;

use std::io;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use kube::Api;
use kube::api::ListParams;
use memlet_cgroup::Hierarchy;
use memlet_node::{PressureHistory, Records};
use serde::Serialize;

use crate::cli::{ExplainArguments, ExplainFormat};
use crate::exit::Exit;
use crate::node::client;
use crate::node::folder::DataFolder;
use crate::node::record::NodeRecord;
use crate::node::running::{self, Found};
use crate::say;
use crate::top::gather::{self, NodeUsage};
use crate::top::order_table::Orders;

use advice::Advice;
use past::Past;

use super::object::named;

/// What the arguments ask for, where that is a node.
pub(crate) fn asked(arguments: &ExplainArguments) -> Option<&str> {
    named(arguments, &["node", "nodes", "no"])
}

/// What is known of a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    at: Timestamp,
    node: String,
    /// `None` where the program does not run.
    now: Option<Now>,
    past: Past,
    /// What to change; none where nothing was short.
    advice: Vec<Advice>,
}

/// How a node that runs is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Now {
    conditions: Vec<NodeCondition>,
    usage: NodeUsage,
    /// `None` where the node does not tell.
    pressure: Option<PressureHistory>,
    next: Orders,
}

/// Prints what is known of the node.
pub(crate) fn explain(name: &str, arguments: &ExplainArguments) -> Result<Exit> {
    let data = DataFolder::new(&arguments.place.data);
    let story = read(name, &data)?;
    let look = look(arguments.top);
    let text = match arguments.output {
        ExplainFormat::Text => text::text(&story, &look),
        ExplainFormat::Markdown => {
            let plain = text::Look { width: None, colour: false, ..look };
            format!("```\n{}```\n", text::text(&story, &plain))
        }
        ExplainFormat::Json => serde_json::to_string_pretty(&story)? + "\n",
        ExplainFormat::Yaml => serde_saphyr::to_string(&story)?,
    };
    say::print(&text)?;
    Ok(Exit::DONE)
}

/// How it is shown where it goes.
fn look(most: usize) -> text::Look {
    text::Look {
        colour: say::colour(&io::stdout()),
        width: say::columns(),
        unicode: plot::writes_unicode(|variable| std::env::var(variable).ok()),
        most,
    }
}

fn read(name: &str, data: &DataFolder) -> Result<Story> {
    let folder = data.kills();
    let records = Records::read(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let at = Timestamp::now();
    let found = running::find(data)?;
    let known = match &found {
        Found::Running(program) => Some(program.clone()),
        // As it was when it ran.
        Found::Stopped(program) => program.clone(),
        Found::Busy => NodeRecord::read(data),
    };
    let members = known.as_ref().map(|program| program.members.as_slice()).unwrap_or_default();
    let past = Past::of(name, members, records, at);
    if !members.iter().any(|member| member.name == name) && past.is_empty() {
        let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        let there = if names.is_empty() {
            format!("no node has run in {}", data.path().display())
        } else {
            format!("the nodes of {} are {}", data.path().display(), names.join(", "))
        };
        bail!("no node {name:?} is known here: {there}; another data folder is named with --data");
    }
    let now = match &found {
        Found::Running(program) => client::block_on(data, async |client| now(&client, program, name).await)?,
        Found::Busy | Found::Stopped(_) => None,
    };
    let advice = advice::of(now.as_ref(), &past);
    Ok(Story { at, node: name.to_owned(), now, past, advice })
}

/// `None` where the program has no node of this name any more.
async fn now(client: &kube::Client, program: &NodeRecord, name: &str) -> Result<Option<Now>> {
    let hierarchy = Hierarchy::detect()?;
    let node = Api::<Node>::all(client.clone()).get_opt(name).await?;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?.items;
    let usage = gather::usage(program, &pods, &hierarchy)?;
    let Some(usage) = usage.nodes.into_iter().find(|node| node.name == name) else { return Ok(None) };
    let conditions = node.and_then(|node| node.status?.conditions).unwrap_or_default();
    let pressure = pressure::ask(client, name).await;
    let next = Orders::of(&usage, &hierarchy);
    Ok(Some(Now { conditions, usage, pressure, next }))
}
