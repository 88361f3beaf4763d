//! `memlet run`: Pods from manifests to verdicts.
//!
//! The node lives in this process for the length of the run. What happens is learnt as any client learns it,
//! by a watch on the Pods; logs are read from the files that the supervisors write.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlet_apiserver::ApiServer;
use memlet_node::{Registration, Reservations};
use memlet_policy::node_memory::NodeMemory;

use crate::cli::RunArguments;
use crate::embedded::{CgroupPlace, Embedded, MemberSettings, Surroundings};
use crate::exit::Exit;
use crate::manifest::{self, Document};
use crate::node::folder::DataFolder;
use crate::rootless::{self, Needs};
use crate::run::create::create;
use crate::run::news::listen;
use crate::run::signals::{Signals, Urgency};
use crate::run::watch::Run;

/// Runs the Pods and answers as they did.
pub(crate) fn run(arguments: &RunArguments) -> Result<Exit> {
    rootless::enter(Needs::Cgroup(arguments.cgroup_driver.into()))?;
    let documents = manifest::read(&arguments.files)?;
    check(arguments, &documents)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop cannot be started")?;
    runtime.block_on(session(arguments, &documents))
}

async fn session(arguments: &RunArguments, documents: &[Document]) -> Result<Exit> {
    let mut signals = Signals::new()?;
    let (member, around) = settings(arguments)?;
    let root = member.cgroups.clone();
    let node = Embedded::start(&[member], &root, around, &ApiServer::in_memory()).await?;
    let outcome = play(arguments, documents, &node, &mut signals).await;
    // Whatever happened: nothing is left behind.
    let stopped = node.stop(LAST_GRACE).await;
    let exit = outcome?;
    stopped.context("the run left something behind")?;
    Ok(exit)
}

/// What still runs when a run is over belongs to Pods that nobody waits for any more: other containers of a
/// Pod that has failed, or all of them after a second Ctrl-C.
const LAST_GRACE: Duration = Duration::ZERO;

/// What this node cannot do, said before anything is made.
fn check(arguments: &RunArguments, documents: &[Document]) -> Result<()> {
    if let Some(memory) = arguments.node_memory {
        let node = NodeMemory { eviction_hard: arguments.eviction().hard, ..NodeMemory::new(memory) };
        let kept = node.eviction_bytes();
        ensure!(
            memory > kept,
            "--node-memory {memory} leaves nothing for Pods: every node keeps {kept} of its memory free, so give it \
             more than that, or set --eviction-hard"
        );
    }
    for document in documents {
        let node = document.object["spec"]["nodeName"].as_str().unwrap_or(&arguments.node_name);
        ensure!(
            node == arguments.node_name,
            "{}: spec.nodeName is {node:?}, and this node is {:?}: leave it out, or give --node-name {node}",
            document.source,
            arguments.node_name
        );
    }
    Ok(())
}

/// Folders are made absolute, since supervisors and mounts do not share this process's own.
fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder).with_context(|| format!("{} cannot be found", folder.display()))
}

fn settings(arguments: &RunArguments) -> Result<(MemberSettings, Surroundings)> {
    let member = MemberSettings {
        name: arguments.node_name.clone(),
        memory: arguments.node_memory,
        reservations: Reservations { eviction: arguments.eviction(), ..Reservations::default() },
        registration: Registration::default(),
        static_pods: None,
        cgroups: CgroupPlace { root: arguments.cgroup_root.clone(), driver: arguments.cgroup_driver.into() },
    };
    let around = Surroundings {
        memory_rules: arguments.memory_rules(),
        api_server: None,
        run_folder: absolute(&arguments.run_folder)?,
        data: DataFolder::new(&absolute(&arguments.place.data)?),
        keeps_pods: false,
        kernel_log: !arguments.no_kernel_log,
        most_restarts: (!arguments.keep_running).then_some(arguments.restarts),
    };
    Ok((member, around))
}

async fn play(
    arguments: &RunArguments,
    documents: &[Document],
    node: &Embedded,
    signals: &mut Signals,
) -> Result<Exit> {
    let mut run = Run::new(arguments, node).await?;
    // Listening comes before the Pods do, so that nothing is missed.
    let mut kills = node.first().agent.kills();
    let mut news = pin!(listen(&node.client));
    for document in documents {
        let pod = create(&node.client, document).await?;
        run.expect(pod);
    }
    run.begin_story();
    match run.watch(&mut news, &mut kills, signals).await {
        Ok(urgency) => run.finish(arguments.output, signals, urgency).await,
        Err(error) => {
            // The first error is the one to tell.
            let _ = run.last_words(arguments.output, signals, Urgency::NotAsked).await;
            Err(error)
        }
    }
}
