//! How this server reaches the nodes' own HTTP servers: what kubelet serves on port 10250, for logs, exec, attach and
//! statistics.
//!
//! A node in the same process hands its server over as a tower service; a connection that is upgraded goes through it as
//! through a socket, in the request's extensions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::upgrade::OnUpgrade;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::error::ApiError;
use crate::reply::ResponseBody;

/// A node's HTTP server, with kubelet's paths (`/containerLogs/…`, `/exec/…`, `/stats/summary`). It never fails: a
/// refusal is an answer.
pub type NodeService = BoxCloneSyncService<Request<ResponseBody>, Response<ResponseBody>, Infallible>;

/// A node's refusal is no longer than this.
const LONGEST_REFUSAL: usize = 64 << 10;

/// The nodes that can be reached, by name.
#[derive(Clone, Default)]
pub(crate) struct Nodes(Arc<RwLock<BTreeMap<String, NodeService>>>);

impl Nodes {
    pub(crate) fn connect(&self, name: &str, service: NodeService) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), service);
    }

    pub(crate) fn disconnect(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(crate) fn find(&self, name: &str) -> Option<NodeService> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// The refusal where a node is known and cannot be reached.
pub(crate) fn not_connected(name: &str) -> ApiError {
    ApiError::internal(&format!("node {name:?} is not connected to this server; does memlet run on it?"))
}

/// A question that a node is to answer in this server's place.
pub(crate) struct NodeRequest {
    pub(crate) node: NodeService,
    /// Path and query, as the node's server knows them.
    pub(crate) uri: Uri,
    pub(crate) refusals: Refusals,
}

/// What becomes of a node's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// A `Status` is made of it.
    AsStatus,
    /// The client gets it as it is: those that want a connection upgraded show its text.
    AsTheyAre,
}

/// What of the client's request concerns the node too.
pub(crate) struct Caller {
    method: Method,
    headers: HeaderMap,
    upgrade: Option<OnUpgrade>,
}

impl Caller {
    /// Takes the client's connection out of a request, if it may become another.
    pub(crate) fn of<B>(request: &mut Request<B>) -> Self {
        let upgrade = request.extensions_mut().remove();
        let mut headers = HeaderMap::new();
        // Without an upgrade a node needs to know nothing; who asks is not its business.
        if request.headers().contains_key(header::UPGRADE) {
            headers = request.headers().clone();
            headers.remove(header::AUTHORIZATION);
            headers.remove(header::COOKIE);
        }
        Self { method: request.method().clone(), headers, upgrade }
    }
}

impl NodeRequest {
    /// Asks the node; its answer, which may be a stream or the beginning of another connection.
    pub(crate) async fn send(self, caller: Caller) -> Response<ResponseBody> {
        let mut request = Request::new(Empty::new().boxed_unsync());
        *request.uri_mut() = self.uri;
        *request.method_mut() = caller.method;
        *request.headers_mut() = caller.headers;
        if let Some(upgrade) = caller.upgrade {
            request.extensions_mut().insert(upgrade);
        }
        let Ok(response) = self.node.oneshot(request).await;
        let code = response.status();
        let is_refusal = code.is_client_error() || code.is_server_error();
        if !is_refusal || self.refusals == Refusals::AsTheyAre {
            return response;
        }
        let body = Limited::new(response.into_body(), LONGEST_REFUSAL).collect().await;
        let text: Bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        status(code, String::from_utf8_lossy(&text).into_owned()).into_response()
    }
}

fn status(code: StatusCode, text: String) -> ApiError {
    match code {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::NOT_FOUND => ApiError::not_found_by_node(text),
        _ => ApiError::internal(&text),
    }
}
