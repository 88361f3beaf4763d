//! One connection, from its handshake to its end.

use std::io;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::gate::{Gate, Peer};
use super::limits::{
    FAULTY_STREAMS, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, Limits, PING_INTERVAL,
    PING_TIMEOUT, RESET_STREAMS, SEND_BUFFER,
};
use super::{Shared, tls};

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// As Go's server says it to a client that forgot the `s`.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn serve(stream: TcpStream, shared: &Arc<Shared>) -> Result<(), Failure> {
    prepare(&stream)?;
    let limits = &shared.limits;
    let Some(stream) = timeout(limits.handshake, shake_hands(stream, shared)).await?? else { return Ok(()) };
    let session = stream.get_ref().1;
    let speaks_http_2 = session.alpn_protocol() == Some(tls::HTTP_2);
    let peer = Peer::new(session.peer_certificates().unwrap_or_default(), &shared.judge);
    let gate = Arc::new(Gate::new(Arc::clone(shared), peer));

    let answering = Arc::clone(&gate);
    let service = service_fn(move |request| {
        let gate = Arc::clone(&answering);
        async move { Ok::<_, std::convert::Infallible>(gate.answer(request).await) }
    });
    let builder = builder(limits);
    let builder = if speaks_http_2 { builder.http2_only() } else { builder.http1_only() };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);

    let mut stop = shared.stop.clone();
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stop.wait_for(|stopping| *stopping) => {}
        () = idle(&gate, limits) => {}
    }
    connection.as_mut().graceful_shutdown();
    timeout(limits.grace, connection).await?
}

/// Answers go out at once, and a client whose machine has gone is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// `None` where the client does not even try to speak TLS; it has been told.
async fn shake_hands(mut stream: TcpStream, shared: &Shared) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    let there = stream.peek(&mut first).await?;
    if there > 0 && first[0].is_ascii_uppercase() && first[0] != HANDSHAKE {
        stream.write_all(PLAIN_HTTP).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    shared.acceptor.accept(stream).await.map(Some)
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(usize::try_from(limits.head_bytes).unwrap_or(SEND_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.head_bytes)
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(FAULTY_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Resolves when nothing has happened for a while.
async fn idle(gate: &Gate, limits: &Limits) {
    let mut before = None;
    loop {
        tokio::time::sleep(limits.idle).await;
        let now = gate.activity().at_rest();
        if now.is_some() && now == before {
            return;
        }
        before = now;
    }
}
