//! `/exec/…` and `/attach/…`: the runtime gives an address to stream at; the client's connection is joined to that.
//!
//! Whatever protocol the client asks for is the runtime's to speak: here only bytes go to and fro.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::{AttachRequest, ExecRequest};
use tokio::net::TcpStream;

use super::answer::{self, Refusal, ServerBody};
use super::pods::Found;
use super::query::Query;
use crate::cri::CriError;
use crate::node::Node;

/// What a runtime says of a refusal is no longer.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Headers about the connection that is to become another, and how.
const UPGRADE: [HeaderName; 7] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    HeaderName::from_static("x-stream-protocol-version"),
];

/// Runs a program in the container.
pub(super) async fn exec(
    node: &Node,
    found: &Found,
    query: &Query,
    parts: Parts,
) -> Result<Response<ServerBody>, Refusal> {
    let command: Vec<String> = query.all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Refusal::bad_request("you must specify at least one command to run"));
    }
    let tty = query.flag("tty");
    let request = ExecRequest {
        container_id: found.running()?,
        cmd: command,
        tty,
        stdin: query.flag("input"),
        stdout: query.flag("output"),
        stderr: query.flag("error") && !tty,
    };
    join(node.cri.exec(request).await.map_err(refusal)?, parts).await
}

/// Joins the container's own streams.
pub(super) async fn attach(
    node: &Node,
    found: &Found,
    query: &Query,
    parts: Parts,
) -> Result<Response<ServerBody>, Refusal> {
    let spec = found.pod.spec.as_ref();
    let container = spec.and_then(|spec| spec.containers.iter().find(|it| it.name == found.container));
    let tty = container.and_then(|container| container.tty).unwrap_or_default();
    let request = AttachRequest {
        container_id: found.running()?,
        stdin: query.flag("input"),
        tty,
        stdout: query.flag("output"),
        stderr: query.flag("error") && !tty,
    };
    join(node.cri.attach(request).await.map_err(refusal)?, parts).await
}

fn refusal(error: CriError) -> Refusal {
    match error {
        error if error.is_not_found() => Refusal::not_found(error.message),
        error if error.is_invalid_argument() => Refusal::bad_request(error.message),
        error => Refusal::internal(error.message),
    }
}

/// Asks at the runtime's address what the client asked here, and makes one connection of the two.
async fn join(url: String, mut parts: Parts) -> Result<Response<ServerBody>, Refusal> {
    let Some(client) = parts.extensions.remove::<OnUpgrade>() else {
        return Err(Refusal::bad_request("unable to upgrade: the connection cannot become another"));
    };
    let unreachable =
        |error: &dyn std::error::Error| Refusal::internal(format!("the runtime's streaming server: {error}"));
    let uri: Uri = url.parse().map_err(|error| unreachable(&error))?;
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
    let stream = TcpStream::connect((host, port)).await.map_err(|error| unreachable(&error))?;
    // Keys that are typed go out at once.
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    tokio::spawn(connection.with_upgrades());
    let request = forwarded(&uri, &parts.method, &parts.headers).map_err(|error| unreachable(&error))?;
    let mut answer = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return refused(answer).await;
    }
    let mut response = answer::text("");
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    tokio::spawn(async move {
        match tokio::try_join!(client, hyper::upgrade::on(answer)) {
            Ok((client, runtime)) => tunnel(client, runtime).await,
            Err(error) => tracing::debug!("a stream was not begun: {error}"),
        }
    });
    Ok(response)
}

fn forwarded(uri: &Uri, method: &Method, headers: &HeaderMap) -> http::Result<Request<Empty<bytes::Bytes>>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path);
    if let Some(authority) = uri.authority() {
        request = request.header(header::HOST, authority.as_str());
    }
    for name in UPGRADE {
        for value in headers.get_all(&name) {
            request = request.header(&name, value);
        }
    }
    request.body(Empty::new())
}

/// Passes the runtime's refusal on.
async fn refused(answer: Response<hyper::body::Incoming>) -> Result<Response<ServerBody>, Refusal> {
    let code = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_REFUSAL).collect().await;
    let text = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    // What is no upgrade and no refusal either means nothing to whoever asked.
    let code = if code.is_success() { StatusCode::BAD_GATEWAY } else { code };
    Err(Refusal::new(code, String::from_utf8_lossy(&text)))
}

async fn tunnel(client: Upgraded, runtime: Upgraded) {
    let (mut client, mut runtime) = (TokioIo::new(client), TokioIo::new(runtime));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut runtime).await {
        tracing::debug!("a stream broke: {error}");
    }
}
