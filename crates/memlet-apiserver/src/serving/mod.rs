//! The server on a socket: TLS, HTTP/1.1 and HTTP/2, and the bounds that keep a careless or hostile client from
//! starving the others.
//!
//! [`bind`] takes the addresses, so that one that is taken is known before anything else is begun; [`Listener::serve`]
//! answers there until it is told to stop. What a request asks and may is not decided here: `access` says who it is, and
//! [`ApiServer`] answers.

mod activity;
mod body;
mod connection;
mod gate;
mod limits;
mod rate;
mod tls;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

pub use limits::Limits;

use crate::keys::Keys;
use crate::server::ApiServer;
use rate::Rates;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// After a failure to accept (no more file descriptors): time for connections to end.
const PAUSE: Duration = Duration::from_millis(50);

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

impl BindError {
    /// Whether somebody else listens there.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::AddrInUse
    }
}

/// The server cannot begin, or go on, to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The certificate is not usable.
    #[error("the server's certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The sockets cannot be used.
    #[error("cannot accept connections: {0}")]
    Socket(#[from] std::io::Error),
}

/// Addresses that are taken, on which nothing is answered yet: clients wait.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<StdListener>,
    limits: Limits,
}

/// Takes the addresses. A port of 0 is any free one; [`Listener::addresses`] tells which.
///
/// # Errors
/// An address is taken or is not this machine's.
pub fn bind(addresses: &[SocketAddr], limits: Limits) -> Result<Listener, BindError> {
    let taken =
        |address: &SocketAddr| listen(*address).map_err(|source| BindError { address: *address, source });
    Ok(Listener { sockets: addresses.iter().map(taken).collect::<Result<_, _>>()?, limits })
}

fn listen(address: SocketAddr) -> std::io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What all connections share.
struct Shared {
    server: ApiServer,
    acceptor: TlsAcceptor,
    judge: tls::Judge,
    limits: Limits,
    rates: Rates,
    requests: Arc<Semaphore>,
    /// True once the server is stopping.
    stop: watch::Receiver<bool>,
}

impl Listener {
    /// The addresses, with the ports that were found.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Answers until `stop` resolves; then lets requests end, for no longer than the limits' grace, and watches end at
    /// once. Connections that were upgraded (exec, attach) are no longer this server's and live on.
    ///
    /// # Errors
    /// The certificate or the sockets are not usable. What goes wrong on a connection ends that connection only.
    pub async fn serve(
        self,
        server: ApiServer,
        keys: &Keys,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (configuration, judge) = tls::configuration(keys)?;
        let sockets: Vec<TcpListener> =
            self.sockets.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>()?;
        let (stopper, stopping) = watch::channel(false);
        let grace = self.limits.grace;
        let shared = Arc::new(Shared {
            server,
            acceptor: TlsAcceptor::from(Arc::new(configuration)),
            judge,
            requests: Arc::new(Semaphore::new(self.limits.requests)),
            rates: Rates::default(),
            limits: self.limits,
            stop: stopping,
        });
        let connections = Arc::new(Semaphore::new(shared.limits.connections));
        // Each connection holds a sender; when the receiver is closed, all have ended.
        let (open, mut closed) = mpsc::channel::<()>(1);
        let accepting = sockets
            .into_iter()
            .map(|socket| accept(socket, Arc::clone(&shared), Arc::clone(&connections), open.clone()));
        let accepting = futures::future::join_all(accepting);
        tokio::select! {
            _ = accepting => {}
            () = stop => {}
        }
        stopper.send_replace(true);
        drop(open);
        let _ = tokio::time::timeout(grace, closed.recv()).await;
        Ok(())
    }
}

/// Accepts on one address, for as long as this is polled.
async fn accept(
    socket: TcpListener,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    open: mpsc::Sender<()>,
) {
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, peer)) => {
                let (shared, open) = (Arc::clone(&shared), open.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection::serve(stream, &shared).await {
                        tracing::debug!(%peer, %error, "a connection ended early");
                    }
                    drop((permit, open));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
