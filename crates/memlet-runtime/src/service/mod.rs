//! CRI served on top of supervisors: what exists, in memory; what must survive, in the state folder.
//!
//! [`Runtime`] owns the two tables (sandboxes, containers). [`sandbox`] and [`container`] change them;
//! [`runtime_service`] and [`image_service`] are CRI's words for it, [`streaming`] its exec and attach. [`adopt`] takes
//! over what a runtime that died left running, [`sweep`] ends and removes it.

pub mod adopt;
mod container;
mod image_service;
mod runtime_service;
mod sandbox;
mod streaming;
pub mod sweep;
mod table;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_cri::v1::image_service_server::ImageServiceServer;
use k8s_cri::v1::runtime_service_server::RuntimeServiceServer;
use k8s_cri::v1::{ContainerEventResponse, ContainerEventType};
use memlet_cgroup::Hierarchy;
use memlet_policy::cgroup_names::Driver;
use tokio::sync::{OnceCell, broadcast};
use tonic::transport::{Channel, Endpoint, Server};

use crate::images::ImageStore;
use crate::program::Program;
pub use crate::shim::rotation::Rotation;
use streaming::Streaming;
use table::Tables;

/// Events that a slow CRI client may fall behind by before it misses some.
const EVENT_BACKLOG: usize = 1024;

/// A container's command and environment may be 2 MiB each, and are refused with a word of ours beyond.
const LARGEST_REQUEST: usize = 16 << 20;

/// Where the runtime keeps things.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sandboxes and containers: on a filesystem that need not survive a reboot.
    pub state: PathBuf,
    /// Images: on one that does.
    pub images: PathBuf,
    /// The memory cgroups.
    pub hierarchy: Hierarchy,
    /// Who makes those above the containers'.
    pub cgroup_driver: Driver,
    /// When containers' logs are rotated.
    pub log_rotation: Rotation,
}

impl Settings {
    fn cgroup_driver(&self) -> k8s_cri::v1::CgroupDriver {
        match self.cgroup_driver {
            Driver::Cgroupfs => k8s_cri::v1::CgroupDriver::Cgroupfs,
            Driver::Systemd => k8s_cri::v1::CgroupDriver::Systemd,
        }
    }
}

/// The embedded container runtime.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    settings: Settings,
    program: Arc<OnceCell<Program>>,
    images: OnceCell<ImageStore>,
    tables: Tables,
    events: broadcast::Sender<ContainerEventResponse>,
    streaming: Streaming,
    grantable_capabilities: u64,
    open_files: u64,
}

impl Runtime {
    /// A runtime with nothing in it. What one that died left is [`Runtime::adopt`]ed or [`sweep`]'s.
    ///
    /// # Errors
    /// The state folder cannot be made.
    pub fn new(settings: Settings) -> io::Result<Self> {
        Self::with_program(settings, Arc::default())
    }

    /// Another one of this program, with a state of its own: the copy of the program is the same.
    ///
    /// # Errors
    /// The state folder cannot be made.
    pub fn beside(&self, settings: Settings) -> io::Result<Self> {
        Self::with_program(settings, self.0.program.clone())
    }

    fn with_program(settings: Settings, program: Arc<OnceCell<Program>>) -> io::Result<Self> {
        crate::state::make_private_folder(&settings.state.join("sandboxes"))?;
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let inner = Inner {
            settings,
            program,
            images: OnceCell::new(),
            tables: Tables::default(),
            events,
            streaming: Streaming::default(),
            grantable_capabilities: grantable_capabilities(),
            open_files: open_files(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Makes the sealed copy of this program now, so that the first sandbox need not wait for it.
    pub async fn warm_up(&self) {
        if let Err(error) = self.program().await {
            tracing::warn!(%error, "no sealed copy of this program can be made");
        }
    }

    /// Serves CRI on an in-memory connection.
    ///
    /// # Errors
    /// The connection cannot be set up.
    pub async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let (client, server) = tokio::io::duplex(256 * 1024);
        let services = Server::builder()
            .add_service(RuntimeServiceServer::new(self.clone()).max_decoding_message_size(LARGEST_REQUEST))
            .add_service(ImageServiceServer::new(self.clone()));
        tokio::spawn(async move {
            let incoming = tokio_stream::once(Ok::<_, io::Error>(server));
            if let Err(error) = services.serve_with_incoming(incoming).await {
                tracing::error!(%error, "the container runtime's in-memory service ended");
            }
        });
        let mut client = Some(client);
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let client = client.take().map(hyper_util::rt::TokioIo::new);
            async move { client.ok_or_else(|| io::Error::other("the in-memory connection is gone")) }
        });
        Endpoint::from_static("http://memlet.invalid").connect_with_connector(connector).await
    }

    async fn program(&self) -> io::Result<&Program> {
        self.0
            .program
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(Program::seal).await.map_err(io::Error::other)?
            })
            .await
    }

    /// The image store, opened on first need: a Pod of built-in images never asks for it.
    async fn images(&self) -> Result<&ImageStore, crate::images::Error> {
        self.0.images.get_or_try_init(|| async { ImageStore::open(&self.0.settings.images) }).await
    }

    fn announce(&self, container: &str, kind: ContainerEventType) {
        // Nobody listening is no fault.
        let _ = self.0.events.send(ContainerEventResponse {
            container_id: container.to_owned(),
            container_event_type: kind as i32,
            created_at: nanoseconds_now(),
            ..Default::default()
        });
    }
}

/// CRI's clock: nanoseconds since 1970.
fn nanoseconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn nanoseconds(at: jiff::Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// 64 hexadecimal digits, as container runtimes name things.
fn new_id() -> io::Result<String> {
    let mut bytes = [0; 32];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `CapBnd` of this process; nothing where `/proc` does not say.
fn grantable_capabilities() -> u64 {
    own_capabilities("CapBnd:")
}

/// One of this process's sets of capabilities, as `/proc/self/status` calls it.
fn own_capabilities(set: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(set));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// How many files a container's processes may have open: as many as with other runtimes, which systemd starts with such a
/// limit, whatever this program's caller happened to have. Without `CAP_SYS_RESOURCE` nobody gets more than he has.
fn open_files() -> u64 {
    const USUAL: u64 = 1 << 20;
    const SYS_RESOURCE: u32 = 24;
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(USUAL);
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|most| most.trim().parse().ok());
    let wanted = USUAL.min(most.unwrap_or(USUAL));
    if own_capabilities("CapEff:") & (1 << SYS_RESOURCE) == 0 { own.min(wanted) } else { wanted }
}
