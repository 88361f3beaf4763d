//! What one client, and all of them together, may ask of the server.

use std::time::Duration;

/// The bounds that a server on a socket keeps. The bound on a request's body (3 MiB) is the server's own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// From a connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From the readiness for a request to its whole head, on HTTP/1.1: also how long such a connection may idle.
    pub head: Duration,
    /// A connection without a request is closed after this time, or up to twice of it.
    pub idle: Duration,
    /// Bytes of a request's head.
    pub head_bytes: u32,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Requests at a time on all connections, watches and other long ones apart.
    pub requests: usize,
    /// Requests per second of each administrator.
    pub administrator_rate: u32,
    /// Requests per second of each other user, and of all unknown ones together.
    pub user_rate: u32,
    /// How long requests may take to end once the server is stopping.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(32),
            idle: Duration::from_secs(90),
            head_bytes: 64 << 10,
            streams: 250,
            // Upstream's 400 and 200 for requests that read and requests that write.
            requests: 600,
            administrator_rate: 20_000,
            user_rate: 500,
            grace: Duration::from_secs(2),
        }
    }
}

/// Bytes of an answer that may wait, per request, for a client that does not read.
pub(super) const SEND_BUFFER: usize = 64 << 10;
/// HTTP/2 streams that a client may open and reset before they were served (CVE-2023-44487), and faults of its own that
/// end a connection.
pub(super) const RESET_STREAMS: usize = 20;
pub(super) const FAULTY_STREAMS: usize = 64;
/// HTTP/2: how often a silent client is asked whether it lives, and how long it has to answer.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(30);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// TCP: the same, asked of its kernel.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
pub(super) const KEEPALIVE_PROBES: u32 = 4;
