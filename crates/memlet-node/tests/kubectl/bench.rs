//! A node of 300Mi, served on a free port of loopback; removed at the end, whatever happens.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use libtest_mimic::Failed;
use memlet_apiserver::{ApiServer, NodeService};
use memlet_bytes::Bytes;
use memlet_cgroup::Hierarchy;
use memlet_node::{MemoryRules, NodeAgent, NodeConfig, Records, Registration, Reservations, sweep_leftovers};
use memlet_policy::cgroup_names::Driver;
use memlet_runtime::service::{Rotation, Runtime, Settings, sweep};
use tokio::net::TcpListener;

use crate::Test;
use crate::image;

/// Small, so that tests see it happen.
pub(crate) const ROTATION: Rotation = Rotation { max_size: Bytes::from_kib(256), max_files: 4 };

/// A node as its user sees it.
pub(crate) struct Bench {
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    config: NodeConfig,
    settings: Settings,
}

/// Runs a test beside a node.
pub(crate) fn with_node(test: Test) -> Result<(), Failed> {
    let (bench, listener) = prepare()?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(async {
        let agent = start(&bench, listener).await?;
        let (bench, result) = tokio::task::spawn_blocking(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bench)));
            (bench, result)
        })
        .await?;
        agent.shutdown(Duration::from_secs(1)).await;
        drop(bench);
        result.map_err(|_| Failed::without_message())?
    })
}

fn prepare() -> Result<(Bench, std::net::TcpListener), Failed> {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let folder = tempfile::tempdir()?;
    let hierarchy = Hierarchy::detect()?;
    let settings = Settings {
        state: folder.path().join("runtime"),
        images: folder.path().join("images"),
        hierarchy: hierarchy.clone(),
        cgroup_driver: Driver::Cgroupfs,
        log_rotation: ROTATION,
    };
    image::import(&settings.images, folder.path());
    let config = NodeConfig {
        name: "node".into(),
        memory: Some(Bytes::from_mib(500)),
        memory_rules: MemoryRules::default(),
        cgroup_root: format!("/memlet-test-{}-kubectl-{number}", std::process::id()).parse()?,
        cgroup_driver: Driver::Cgroupfs,
        pod_logs: folder.path().join("logs"),
        state: folder.path().join("state"),
        hierarchy,
        records: Records::in_memory(),
        kernel_log: false,
        most_restarts: None,
        reservations: Reservations::default(),
        registration: Registration::default(),
        static_pods: None,
        api_server: None,
    };
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok((Bench { address: listener.local_addr()?, folder, config, settings }, listener))
}

async fn start(bench: &Bench, listener: std::net::TcpListener) -> Result<NodeAgent, Failed> {
    let runtime = Runtime::new(bench.settings.clone())?;
    let server = ApiServer::in_memory();
    let agent = NodeAgent::start(bench.config.clone(), server.client(), runtime.channel().await?).await?;
    server.connect_node(&bench.config.name, NodeService::new(agent.server()));
    tokio::spawn(serve(TcpListener::from_std(listener)?, server));
    Ok(agent)
}

/// Plain HTTP, without asking who it is.
async fn serve(listener: TcpListener, server: ApiServer) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(server.service());
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for error in [
            sweep::sweep(&self.settings).err().map(|error| error.to_string()),
            sweep_leftovers(&self.config).err().map(|error| error.to_string()),
            self.settings
                .hierarchy
                .remove_everywhere(&self.config.cgroup_root)
                .err()
                .map(|it| it.to_string()),
        ]
        .into_iter()
        .flatten()
        {
            eprintln!("cannot clean up: {error}");
        }
    }
}
