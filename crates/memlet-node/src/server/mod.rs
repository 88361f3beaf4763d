//! The node's own HTTP server, with kubelet's paths: what the API server asks a node for on a client's behalf.
//!
//! A tower service over any body: in-process it is handed to the API server, and it could be served on a socket as
//! well. It knows requests and answers; what Pods there are it asks the API, what their containers do the runtime.
//! Whoever reaches it may do all of it: who may is decided by the API server before.

mod answer; // text and refusals
mod logs; // /containerLogs
mod pods; // which container is meant
mod query; // parameters
mod statistics; // /stats/summary, /metrics/resource
mod streaming; // /exec, /attach

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Method, Request, Response};
use percent_encoding::percent_decode_str;

use crate::node::Node;
use crate::statistics::Statistics;

pub(crate) use answer::Refusal;
pub use answer::ServerBody;
use pods::Found;
use query::Query;

/// Answers kubelet's HTTP requests for one node. Cheap to clone; made by [`NodeAgent::server`](crate::NodeAgent::server).
#[derive(Clone, Debug)]
pub struct NodeServer {
    node: Arc<Node>,
    statistics: Arc<Statistics>,
}

impl NodeServer {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, statistics: Arc::default() }
    }

    async fn answer(self, parts: Parts) -> Response<ServerBody> {
        self.route(parts).await.unwrap_or_else(Refusal::into_response)
    }

    async fn route(self, parts: Parts) -> Result<Response<ServerBody>, Refusal> {
        let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let query = Query::parse(parts.uri.query());
        let node = &*self.node;
        match (&parts.method, &segments[..]) {
            (&Method::GET, ["stats", "summary"]) => statistics::summary(node, &self.statistics).await,
            (&Method::GET, ["metrics", "resource"]) => {
                statistics::resource_metrics(node, &self.statistics).await
            }
            (&Method::GET, ["memlet", "pressure"]) => answer::json(&node.pressure.history.document()),
            (&Method::GET, ["healthz"]) => Ok(answer::text("ok")),
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                logs::answer(node, namespace, pod, container, &query).await
            }
            (&Method::GET | &Method::POST, ["exec", namespace, pod, container]) => {
                let found = Found::look(node, namespace, pod, container).await?;
                streaming::exec(node, &found, &query, parts).await
            }
            (&Method::GET | &Method::POST, ["attach", namespace, pod, container]) => {
                let found = Found::look(node, namespace, pod, container).await?;
                streaming::attach(node, &found, &query, parts).await
            }
            _ => Err(Refusal::not_found("404 page not found")),
        }
    }
}

impl<B: Send + 'static> tower::Service<Request<B>> for NodeServer {
    type Response = Response<ServerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // No request of this server has a body that says anything.
        let (parts, _) = request.into_parts();
        let server = self.clone();
        Box::pin(async move { Ok(server.answer(parts).await) })
    }
}
