//! The server as its owner sees it.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, header};
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Namespace;

use crate::error::ApiError;
use crate::handler::Handler;
use crate::nodes::{NodeService, Nodes};
use crate::reply::Reply;
use crate::request::{Query, ResourcePath, ResourceRequest, Target};
use crate::resources;
use crate::service::ApiService;
use crate::storage::{HistoryLimits, Storage};
use crate::verbs::Core;

/// The writer of what the server makes itself.
const OWN_NAME: &str = "kube-apiserver";

/// What `/version` says: the Kubernetes release whose API this is.
const VERSION: &str = concat!(
    r#"{"major":"1","minor":"37","gitVersion":"v1.37.0+memlet","gitCommit":"unknown","gitTreeState":"clean","#,
    r#""buildDate":"1970-01-01T00:00:00Z","goVersion":"none","compiler":"rustc","platform":"linux/"#,
);

/// A Kubernetes API server within this process.
///
/// Cheap to clone; all clones are one server. It lives as long as a clone, a service or a client of it does.
#[derive(Clone)]
pub struct ApiServer {
    core: Core,
}

impl ApiServer {
    /// A new server that holds its objects in memory, with the namespaces that every cluster has.
    pub fn in_memory() -> Self {
        let storage = Storage::new(resources::served().map(Handler::resource), HistoryLimits::default());
        let server = Self { core: Core { storage: Arc::new(storage), nodes: Nodes::default() } };
        for name in resources::INITIAL_NAMESPACES {
            server.create_namespace(name);
        }
        server
    }

    /// The server as a tower service of HTTP requests. Any body type will do, so that it serves in-process clients
    /// and sockets alike.
    pub fn service(&self) -> ApiService {
        ApiService::new(self.clone())
    }

    /// A client of this server, with `default` as its namespace.
    ///
    /// # Panics
    /// Outside of a tokio runtime: a `kube::Client` runs a task of its own.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// Makes a node's own HTTP server known, for the requests that are its to answer.
    pub fn connect_node(&self, name: &str, service: NodeService) {
        self.core.nodes.connect(name, service);
    }

    /// Answers one request whose body has been read.
    pub(crate) fn answer(&self, request: Request<bytes::Bytes>) -> Result<Reply, ApiError> {
        let (parts, body) = request.into_parts();
        let path = match Target::parse(parts.uri.path())? {
            Target::Health => return Ok(Reply::text("ok")),
            Target::Version => {
                let json = format!("{VERSION}{}\"}}", std::env::consts::ARCH);
                return Ok(Reply::document(http::StatusCode::OK, json.into()));
            }
            Target::Resource(path) => path,
        };
        let handler = resources::handler(&path).ok_or_else(ApiError::no_such_path)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let request = ResourceRequest { method: parts.method, path, query, headers: parts.headers, body };
        handler.handle(&self.core, &request)
    }

    fn create_namespace(&self, name: &str) {
        let path = ResourcePath {
            version: Namespace::VERSION.to_owned(),
            resource: Namespace::URL_PATH_SEGMENT.to_owned(),
            ..ResourcePath::default()
        };
        let request = ResourceRequest {
            method: Method::POST,
            path,
            query: Query::default(),
            headers: std::iter::once((header::USER_AGENT, HeaderValue::from_static(OWN_NAME))).collect(),
            body: format!(r#"{{"metadata":{{"name":"{name}"}}}}"#).into(),
        };
        if let Err(error) = self.core.create::<Namespace>(&request) {
            tracing::error!(?error, name, "cannot create an initial namespace");
        }
    }
}
