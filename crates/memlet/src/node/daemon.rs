//! The node from its first step to its last.
//!
//! What can fail for a reason that the user can mend comes first: the folder, the ports, the keys. Then the node itself, then
//! its record, by which the other commands find it, and last the word that it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use memlet_apiserver::keys::{Keys, ServerNames, to_yaml};
use memlet_apiserver::serving::{self, Limits, Listener, ServeError};
use memlet_apiserver::{ApiServer, PodTokens, Settings};
use memlet_node::ApiAddress;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::configuration::Configuration;
use super::control::{self, Answer, Request};
use super::detach;
use super::folder::DataFolder;
use super::listening;
use super::pool::{self, NodeSpec};
use super::record::{MemberRecord, NodeRecord};
use super::signals::{Asked, NodeSignals};
use crate::embedded::lock::{self, Lock};
use crate::embedded::{self, Embedded, MemberSettings, Surroundings, private};
use crate::exit::Exit;
use crate::say;

/// Pods' own grace periods count, up to this.
const LONGEST_GRACE: Duration = Duration::from_mins(10);

/// Runs the node until it is told to end.
pub(crate) async fn run(configuration: &Configuration) -> Result<Exit> {
    let began = Instant::now();
    let mut signals = NodeSignals::new()?;
    open_many_files();
    let data = &configuration.data;
    let lock = claim(data)?;
    let listener = listen(&configuration.addresses)?;
    let addresses = listener.addresses();
    let keys = Keys::load_or_make(&data.keys(), &names(configuration, &addresses))?;
    write_kubeconfig(data, &keys, &addresses)?;
    let server = open_server(configuration)?;
    server.keep_accounts(&keys, PodTokens::Mounted)?;
    let mut added = if configuration.in_memory { Vec::new() } else { pool::added(data)? };
    added.retain(|spec| configuration.members.iter().all(|member| member.name != spec.name));
    let before = NodeRecord::read(data);
    let members = members(configuration, &added)?;
    let around = surroundings(configuration, &addresses);
    let mut node = Embedded::start(&members, &configuration.common.cgroups, around, &server).await?;
    if let Some(before) = before.filter(|_| !configuration.in_memory) {
        end_former(configuration, &before, &node).await?;
    }
    let (stop_serving, stopped) = oneshot::channel::<()>();
    let api = server.clone();
    let serving = tokio::spawn(async move {
        let stop = async move {
            // Told to stop, or nobody is left to tell.
            let _ = stopped.await;
        };
        listener.serve(api, &keys, stop).await
    });
    let mut requests = control::listen(data)?;
    let mut record = record(configuration, addresses, &node);
    record.write(data)?;
    greet(&record, data, began.elapsed());
    memlet_runtime::program::forget_start();
    let mut failed = pin!(until_failed(serving));
    let asked = loop {
        tokio::select! {
            asked = signals.next() => break asked,
            reason = &mut failed => return Err(reason),
            Some((request, answer)) = requests.recv() => {
                let done = change(configuration, &mut node, &mut added, request).await;
                record.members = node.members().iter().map(MemberRecord::of).collect();
                let done = done.and_then(|said| record.write(data).map(|()| said));
                let said = done.map_or_else(|error| Answer::Failed(in_one_line(&error)), Answer::Done);
                // Whoever asked may be gone; it is done all the same.
                let _ = answer.send(said);
            }
        }
    };
    let _ = std::fs::remove_file(data.control());
    let ended = end(configuration, node, asked).await;
    drop(stop_serving);
    server.close();
    ended?;
    drop(lock);
    Ok(Exit::DONE)
}

/// The server with what it held when it last ended.
fn open_server(configuration: &Configuration) -> Result<ApiServer> {
    if configuration.in_memory {
        return Ok(ApiServer::in_memory());
    }
    let folder = configuration.data.objects();
    ApiServer::open(&folder, Settings::default())
        .with_context(|| format!("the objects in {} cannot be had", folder.display()))
}

/// Takes the addresses; where one is taken, says who has it.
fn listen(addresses: &[SocketAddr]) -> Result<Listener> {
    serving::bind(addresses, Limits::default()).map_err(|error| {
        let holder = if error.is_taken() { listening::holder(error.address) } else { None };
        let hint = holder
            .map_or_else(String::new, |holder| format!(" (by process {}, {})", holder.pid, holder.name));
        let address = error.address;
        anyhow::Error::new(error.source)
            .context(format!("the API cannot be served on {address}{hint}: choose another with --address"))
    })
}

/// By which names and addresses the server may be called.
fn names(configuration: &Configuration, addresses: &[SocketAddr]) -> ServerNames {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let nodes = configuration.members.iter().map(|member| member.name.clone());
    ServerNames::new(std::iter::once(host).chain(nodes), addresses.iter().map(SocketAddr::ip))
}

/// How the administrator reaches the server: by its first address, or on this machine where that is any.
fn write_kubeconfig(data: &DataFolder, keys: &Keys, addresses: &[SocketAddr]) -> Result<()> {
    let Some(address) = addresses.first() else { return Ok(()) };
    let text = to_yaml(&keys.kubeconfig(&format!("https://{}", reachable(*address))));
    let path = data.kubeconfig();
    private::write(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// An address that a client on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// Resolves when nothing is served any more, with the reason.
async fn until_failed(serving: JoinHandle<Result<(), ServeError>>) -> anyhow::Error {
    match serving.await {
        Ok(Err(error)) => anyhow::Error::new(error).context("the API is not served any more"),
        Ok(Ok(())) => anyhow!("the API is not served any more"),
        Err(error) => anyhow::Error::new(error).context("serving the API failed"),
    }
}

/// Each client, each followed log and each Pod holds some: as many as may be.
fn open_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::info!("the limit of open files stays as it is: {error}");
    }
}

/// The data folder is this program's from here on.
fn claim(data: &DataFolder) -> Result<Lock> {
    private::make(data.path(), "--data")?;
    private::make(&data.node(), "--data")?;
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

/// The nodes of the configuration, and those that were added.
fn members(configuration: &Configuration, added: &[NodeSpec]) -> Result<Vec<MemberSettings>> {
    let added = added.iter().map(|spec| configuration.common.member(spec));
    configuration.members.iter().cloned().map(Ok).chain(added).collect()
}

/// What the last program had and this one has not: the Pods of a node that is no more end, and so do those of one that is
/// elsewhere now, where they begin anew.
async fn end_former(configuration: &Configuration, before: &NodeRecord, node: &Embedded) -> Result<()> {
    for former in &before.members {
        let is_taken_up = before.run_folder == configuration.run_folder
            && node.members().iter().any(|member| member.cgroups.root == former.cgroups.root);
        if !is_taken_up
            && embedded::end_leftovers_of(&configuration.data, &before.run_folder, &former.cgroups)?
        {
            say::warning(&format!(
                "the Pods that the node {} had under the cgroup {} have ended",
                former.name, former.cgroups.root
            ));
        }
        if node.members().iter().all(|member| member.name != former.name) {
            embedded::forget_node(&node.client, &former.name).await?;
        }
    }
    Ok(())
}

/// Adds a node or removes one.
async fn change(
    configuration: &Configuration,
    node: &mut Embedded,
    added: &mut Vec<NodeSpec>,
    request: Request,
) -> Result<String> {
    let said = match request {
        Request::Add(spec) => {
            let settings = configuration.common.member(&spec)?;
            if node.members().iter().any(|member| member.name == spec.name) {
                bail!("there is a node {} already; see `kubectl get nodes`", spec.name);
            }
            let member = node.add(&settings).await?;
            let (capacity, allocatable) = (member.agent.capacity(), member.agent.allocatable());
            added.push(spec);
            format!("node {}: {capacity} of memory, {allocatable} of it for requests", settings.name)
        }
        Request::Remove { name, pods } => {
            let members: Vec<_> = node.members().iter().map(|member| member.name.clone()).collect();
            if !members.contains(&name) {
                bail!("there is no node {name:?} here; there are {}", members.join(", "));
            }
            if members.len() == 1 {
                bail!("{name} is the only node; `memlet stop --pods` ends the program with it");
            }
            let count = embedded::pods_of(&node.client, &name).await?.len();
            if count > 0 && !pods {
                let pods = if count == 1 { "a Pod".to_owned() } else { format!("{count} Pods") };
                bail!(
                    "the node {name} has {pods}: move away what somebody makes anew (kubectl drain {name}), or have all ended and deleted with \
                     --pods"
                );
            }
            node.remove(&name, LONGEST_GRACE).await?;
            added.retain(|spec| spec.name != name);
            format!("node {name} is no more")
        }
    };
    if !configuration.in_memory {
        pool::write_added(&configuration.data, added)?;
    }
    Ok(said)
}

fn in_one_line(error: &anyhow::Error) -> String {
    say::error_text(error).trim_start_matches("error: ").trim_end().replace("\n  because: ", ": ")
}

fn surroundings(configuration: &Configuration, addresses: &[SocketAddr]) -> Surroundings {
    let reached = addresses.first().map(|address| reachable(*address));
    Surroundings {
        memory_rules: configuration.memory_rules,
        api_server: reached
            .map(|address| ApiAddress { host: address.ip().to_string(), port: address.port() }),
        run_folder: configuration.run_folder.clone(),
        data: configuration.data.clone(),
        keeps_pods: !configuration.in_memory,
        kernel_log: configuration.kernel_log,
        most_restarts: None,
    }
}

fn record(configuration: &Configuration, addresses: Vec<SocketAddr>, node: &Embedded) -> NodeRecord {
    NodeRecord {
        pid: std::process::id().cast_signed(),
        started_at: Timestamp::now(),
        addresses,
        run_folder: configuration.run_folder.clone(),
        members: node.members().iter().map(MemberRecord::of).collect(),
    }
}

/// What the node is, and what to type next.
fn greet(record: &NodeRecord, data: &DataFolder, took: Duration) {
    let addresses: Vec<_> = record.addresses.iter().map(|address| format!("https://{address}")).collect();
    let node = |member: &MemberRecord| {
        format!(
            "node {}: {} of memory, {} of it for requests\n",
            member.name, member.capacity, member.allocatable
        )
    };
    say::note(&format!(
        "{}  API    {}\n  data   {}\nready after {} ms\n\n",
        record.members.iter().map(node).collect::<String>(),
        addresses.join(", "),
        data.path().display(),
        took.as_millis()
    ));
    detach::announce();
}

/// Ends the program, and the Pods where that was asked for or nothing would be left of them.
async fn end(configuration: &Configuration, node: Embedded, asked: Asked) -> Result<()> {
    if asked == Asked::WithPods || configuration.in_memory {
        return node.stop(LONGEST_GRACE).await;
    }
    node.leave(LONGEST_GRACE).await
}
