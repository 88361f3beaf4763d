//! The node from its first step to its last.
//!
//! What can fail for a reason that the user can mend comes first: the folder, the ports, the keys. Then the node itself, then
//! its record, by which the other commands find it, and last the word that it is ready.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use memlet_apiserver::ApiServer;

use super::configuration::Configuration;
use super::detach;
use super::folder::DataFolder;
use super::record::NodeRecord;
use super::signals::{Asked, NodeSignals};
use crate::embedded::lock::{self, Lock};
use crate::embedded::{Embedded, EmbeddedSettings, private};
use crate::exit::Exit;
use crate::say;

/// How long containers may take to end where nobody says: their Pods' own grace periods count.
const LONGEST_GRACE: Duration = Duration::from_secs(30);

/// Runs the node until it is told to end.
pub(crate) async fn run(configuration: &Configuration) -> Result<Exit> {
    let began = Instant::now();
    let mut signals = NodeSignals::new()?;
    let data = &configuration.data;
    let lock = claim(data)?;
    let server = ApiServer::in_memory();
    let node = Embedded::start(&settings(configuration), &server).await?;
    let record = record(configuration, &node);
    record.write(data)?;
    greet(&record, data, began.elapsed());
    let asked = signals.next().await;
    end(configuration, node, &record, asked).await?;
    drop(lock);
    Ok(Exit::DONE)
}

/// The data folder is this program's from here on.
fn claim(data: &DataFolder) -> Result<Lock> {
    private::make(data.path())?;
    private::make(&data.node())?;
    let path = data.lock();
    let Some(lock) = Lock::try_take(&path)? else {
        bail!(
            "a node runs in {} already{}: see `memlet status`; a second one needs a folder of its own (--data), and its own \
             --address and --cgroup-root",
            data.path().display(),
            lock::holder(&path)
        );
    };
    lock.sign()?;
    Ok(lock)
}

fn settings(configuration: &Configuration) -> EmbeddedSettings {
    EmbeddedSettings {
        name: configuration.name.clone(),
        memory: configuration.memory,
        memory_rules: configuration.memory_rules,
        cgroups: configuration.cgroups.clone(),
        run_folder: configuration.run_folder.clone(),
        data: configuration.data.clone(),
        keeps_pods: !configuration.in_memory,
        kernel_log: configuration.kernel_log,
        most_restarts: None,
    }
}

fn record(configuration: &Configuration, node: &Embedded) -> NodeRecord {
    NodeRecord {
        pid: std::process::id().cast_signed(),
        started_at: Timestamp::now(),
        name: configuration.name.clone(),
        addresses: configuration.addresses.clone(),
        cgroups: configuration.cgroups.clone(),
        run_folder: configuration.run_folder.clone(),
        capacity: node.agent.capacity(),
        allocatable: node.agent.allocatable(),
    }
}

/// What the node is, and what to type next.
fn greet(record: &NodeRecord, data: &DataFolder, took: Duration) {
    let addresses: Vec<_> = record.addresses.iter().map(|address| format!("https://{address}")).collect();
    say::note(&format!(
        "node {}: {} of memory, {} of it for requests\n  API    {}\n  data   {}\nready after {} ms\n\n",
        record.name,
        record.capacity,
        record.allocatable,
        addresses.join(", "),
        data.path().display(),
        took.as_millis()
    ));
    detach::announce();
}

/// Ends the program, and the Pods where that was asked for or nothing would be left of them.
async fn end(configuration: &Configuration, node: Embedded, record: &NodeRecord, asked: Asked) -> Result<()> {
    if asked == Asked::WithPods || configuration.in_memory {
        return node.stop(LONGEST_GRACE).await;
    }
    let _ = record;
    node.stop(LONGEST_GRACE).await
}
