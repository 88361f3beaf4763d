//! The HTTP side: a token, an upgrade to WebSocket, and then no HTTP any more.

use std::convert::Infallible;
use std::sync::Weak;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::channels::Version;
use super::pump;
use crate::service::{Inner, Runtime};

/// No client sends larger messages.
const LONGEST_MESSAGE: usize = 1 << 20;

const SPDY: &str = "exec and attach are spoken over WebSocket here, and not over SPDY: use kubectl 1.31 or newer, or set \
                    KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true for 1.29 and 1.30 (crictl: --transport websocket)";

/// Serves until the runtime is gone.
pub(super) async fn serve(listener: TcpListener, runtime: Weak<Inner>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a streaming connection is lost");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(inner) = runtime.upgrade() else { return };
        let runtime = Runtime(inner);
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let answer = answer(&runtime, request);
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a streaming connection ended");
            }
        });
    }
}

fn answer(runtime: &Runtime, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let token = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(asked) = runtime.0.streaming.tokens.take(token) else {
        return text(
            StatusCode::NOT_FOUND,
            "there is no such session, or it was used, or it waited for too long",
        );
    };
    let upgrade = match Upgrade::parse(request.headers()) {
        Ok(upgrade) => upgrade,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let runtime = runtime.clone();
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let settings = WebSocketConfig::default()
                    .max_message_size(Some(LONGEST_MESSAGE))
                    .max_frame_size(Some(LONGEST_MESSAGE));
                let io = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(settings)).await;
                pump::run(socket, upgrade.version, runtime, asked).await;
            }
            Err(error) => tracing::debug!(%error, "a client did not go on to WebSocket"),
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(upgrade.version.name()));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, upgrade.accept);
    response
}

struct Upgrade {
    version: Version,
    accept: HeaderValue,
}

impl Upgrade {
    fn parse(headers: &HeaderMap) -> Result<Self, &'static str> {
        let stated = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        match stated(header::UPGRADE) {
            Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => {}
            Some(protocol) if protocol.to_ascii_lowercase().starts_with("spdy") => return Err(SPDY),
            _ => return Err("you must request an upgrade to WebSocket"),
        }
        let offered: Vec<&str> = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|it| it.to_str().ok())
            .collect();
        let version = Version::choose(&offered.join(","))
            .ok_or("none of the offered protocols is known: v5.channel.k8s.io, v4.channel.k8s.io")?;
        let key = stated(header::SEC_WEBSOCKET_KEY).ok_or("Sec-WebSocket-Key is missing")?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|_| "Sec-WebSocket-Key is unusable")?;
        Ok(Self { version, accept })
    }
}

fn text(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = code;
    response
}
