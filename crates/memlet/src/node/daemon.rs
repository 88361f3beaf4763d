//! The node from its first step to its last.
//!
//! What can fail for a reason that the user can mend comes first: the folder, the ports, the keys. Then the node itself, then
//! its record, by which the other commands find it, and last the word that it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
use super::detach;
use super::folder::DataFolder;
use super::listening;
use super::record::NodeRecord;
use super::signals::{Asked, NodeSignals};
use crate::embedded::lock::{self, Lock};
use crate::embedded::{Embedded, EmbeddedSettings, private};
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
    let node = Embedded::start(&settings(configuration, &addresses), &server).await?;
    let (stop_serving, stopped) = oneshot::channel::<()>();
    let api = server.clone();
    let serving = tokio::spawn(async move {
        let stop = async move {
            // Told to stop, or nobody is left to tell.
            let _ = stopped.await;
        };
        listener.serve(api, &keys, stop).await
    });
    let record = record(configuration, addresses, &node);
    record.write(data)?;
    greet(&record, data, began.elapsed());
    let asked = tokio::select! {
        asked = signals.next() => asked,
        reason = until_failed(serving) => return Err(reason),
    };
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
    ServerNames::new([host, configuration.name.clone()], addresses.iter().map(SocketAddr::ip))
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

fn settings(configuration: &Configuration, addresses: &[SocketAddr]) -> EmbeddedSettings {
    let reached = addresses.first().map(|address| reachable(*address));
    EmbeddedSettings {
        name: configuration.name.clone(),
        memory: configuration.memory,
        memory_rules: configuration.memory_rules,
        reservations: configuration.reservations.clone(),
        static_pods: configuration.static_pods.clone(),
        api_server: reached
            .map(|address| ApiAddress { host: address.ip().to_string(), port: address.port() }),
        cgroups: configuration.cgroups.clone(),
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
        name: configuration.name.clone(),
        addresses,
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
async fn end(configuration: &Configuration, node: Embedded, asked: Asked) -> Result<()> {
    if asked == Asked::WithPods || configuration.in_memory {
        return node.stop(LONGEST_GRACE).await;
    }
    node.leave(LONGEST_GRACE).await
}
