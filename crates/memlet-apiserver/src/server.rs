//! The server as its owner sees it.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Request, header};
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Namespace;

use crate::error::ApiError;
use crate::handler::Handler;
use crate::metrics::{Asked, Metrics};
use crate::nodes::{NodeService, Nodes};
use crate::reply::Reply;
use crate::request::{Query, ResourcePath, ResourceRequest, Target};
use crate::resources;
use crate::service::ApiService;
use crate::storage::{HistoryLimits, Storage};
use crate::verbs::Core;
use crate::{discovery, health, openapi, version};

/// The writer of what the server makes itself.
const OWN_NAME: &str = "kube-apiserver";

/// A Kubernetes API server within this process.
///
/// Cheap to clone; all clones are one server. It lives as long as a clone, a service or a client of it does.
#[derive(Clone)]
pub struct ApiServer {
    core: Core,
    metrics: Metrics,
}

impl ApiServer {
    /// A new server that holds its objects in memory, with the namespaces that every cluster has.
    pub fn in_memory() -> Self {
        let storage = Storage::new(resources::served().map(Handler::resource), HistoryLimits::default());
        let storage = Arc::new(storage);
        let metrics = Metrics::new(Arc::clone(&storage));
        let server = Self { core: Core { storage, nodes: Nodes::default() }, metrics };
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

    /// Answers one request whose body has been read, and counts it.
    pub(crate) fn answer(&self, request: Request<bytes::Bytes>) -> Result<Reply, ApiError> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let target = Target::parse(parts.uri.path());
        let asked = match &target {
            Ok(Target::Resource(path)) => Asked::of_resource(&parts.method, path, &query),
            _ => Asked::of_server(&parts.method),
        };
        let dry_run = query.all("dryRun").next().is_some();
        let answer = target.and_then(|target| self.answer_target(target, query, parts, body));
        let code = answer.as_ref().map_or_else(ApiError::code, Reply::code);
        self.metrics.record(asked, dry_run, code, started);
        answer
    }

    fn answer_target(
        &self,
        target: Target,
        query: Query,
        parts: http::request::Parts,
        body: bytes::Bytes,
    ) -> Result<Reply, ApiError> {
        let path = match target {
            Target::Resource(path) => path,
            _ if !matches!(parts.method, Method::GET | Method::HEAD) => {
                return Err(ApiError::method_not_allowed("this method", parts.uri.path()));
            }
            target => return self.answer_about_itself(&target, &query, &parts.headers),
        };
        let handler = resources::handler(&path).ok_or_else(ApiError::no_such_path)?;
        let request = ResourceRequest { method: parts.method, path, query, headers: parts.headers, body };
        handler.handle(&self.core, &request)
    }

    /// Answers what is asked about the server rather than about an object.
    fn answer_about_itself(
        &self,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Reply, ApiError> {
        match target {
            Target::Index => Ok(discovery::index()),
            Target::Health { endpoint, check } => {
                health::answer(&self.core, endpoint, check.as_deref(), query)
            }
            Target::Version => Ok(version::answer()),
            Target::CoreVersions => discovery::core_versions(headers),
            Target::Groups => discovery::named_groups(headers),
            Target::Group(name) => discovery::group(name),
            Target::Resources { group, version } => discovery::resource_list(group, version),
            Target::Metrics => Ok(self.metrics.answer()),
            Target::OpenApiV2 => openapi::version_2(headers),
            Target::OpenApiIndex => Ok(openapi::index()),
            Target::OpenApiDocument(path) => openapi::document(path, query, headers),
            Target::Resource(_) => Err(ApiError::no_such_path()),
        }
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
