//! The server as its owner sees it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::{Value, json};

use crate::access::{Identity, Review};
use crate::error::ApiError;
use crate::handler::Handler;
use crate::kind::ServedKind;
use crate::metrics::{Asked, Metrics};
use crate::nodes::{NodeService, Nodes};
use crate::reply::Reply;
use crate::request::{Query, ResourcePath, ResourceRequest, Target};
use crate::resources;
use crate::service::ApiService;
use crate::storage::{HistoryLimits, Key, OpenError, Storage};
use crate::verbs::Core;
use crate::{discovery, health, housekeeping, metrics_api, openapi, version};

/// What can be chosen about a server.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long an Event is kept after it was last written: upstream's `--event-ttl`.
    pub event_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { event_lifetime: Duration::from_hours(1) }
    }
}

/// A Kubernetes API server within this process.
///
/// Cheap to clone; all clones are one server. It lives as long as a clone, a service or a client of it does.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) core: Core,
    metrics: Metrics,
}

impl ApiServer {
    /// A new server that holds its objects in memory, with the namespaces that every cluster has.
    pub fn in_memory() -> Self {
        Self::in_memory_with(Settings::default())
    }

    /// As [`ApiServer::in_memory`], with settings of one's own.
    pub fn in_memory_with(settings: Settings) -> Self {
        let resources = resources::served().map(Handler::resource);
        Self::over(Storage::in_memory(resources, HistoryLimits::default()), settings)
    }

    /// A server that keeps its objects in a file in `folder`, which is made if it is missing.
    ///
    /// What it once answered is there when it is opened again, also after a kill or a power loss, and revisions go on
    /// from where they were. Watches from before are told to list again.
    ///
    /// # Errors
    /// Where the file is in use, damaged, of a newer version, or cannot be read or written.
    pub fn open(folder: &Path, settings: Settings) -> Result<Self, OpenError> {
        let storage = Storage::open(
            folder,
            resources::served().map(Handler::resource),
            HistoryLimits::default(),
            |resource, encoded| {
                let handler = resources::served().find(|handler| handler.resource() == resource)?;
                Some(handler.restore(encoded).map(|object| (handler.resource(), object)))
            },
        )?;
        Ok(Self::over(storage, settings))
    }

    fn over(storage: Storage, settings: Settings) -> Self {
        let storage = Arc::new(storage);
        let metrics = Metrics::new(Arc::clone(&storage));
        let core =
            Core { storage, nodes: Nodes::default(), accounts: Arc::default(), ledger: Arc::default() };
        let server = Self { core, metrics };
        for name in resources::INITIAL_NAMESPACES {
            server.create_initial::<Namespace>(name, &json!({ "metadata": { "name": name } }));
        }
        for (name, class) in resources::system_classes() {
            server.create_initial::<PriorityClass>(name, &class);
        }
        housekeeping::start(&server.core, settings.event_lifetime);
        server
    }

    /// Ends the server: everything is on disk and its file is free for another. Blocks for a moment. Requests that come
    /// later read, but change nothing.
    pub fn close(&self) {
        self.core.storage.close();
    }

    /// The server as a tower service of HTTP requests, for this program itself: everything is permitted. Any body type
    /// will do, so that it serves in-process clients and sockets alike.
    pub fn service(&self) -> ApiService {
        self.service_as(Identity::own())
    }

    /// The server as somebody else sees it. What stands in a request about who asks is not believed.
    pub fn service_as(&self, identity: Identity) -> ApiService {
        ApiService::new(self.clone(), identity)
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

    /// Forgets a node's own HTTP server.
    pub fn disconnect_node(&self, name: &str) {
        self.core.nodes.disconnect(name);
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Answers one request whose body has been read, when all that the answer tells is durable.
    pub(crate) async fn answer_durably(&self, request: Request<bytes::Bytes>) -> Result<Reply, ApiError> {
        if let Ok(Target::Resource(path)) = Target::parse(request.uri().path())
            && metrics_api::serves(&path)
        {
            return self.answer_from_nodes(request, path).await;
        }
        loop {
            let attempt = self.core.storage.attempt();
            let answer = self.answer(request.clone());
            match self.core.storage.settle(attempt).await {
                Ok(()) => return answer,
                // What was read has been taken back: read again.
                Err(_) if request.method() == Method::GET => {}
                Err(undone) => return Err(ApiError::not_stored(&undone.reason)),
            }
        }
    }

    /// Answers one request whose body has been read, and counts it. What the answer tells may not be durable yet.
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
        self.metrics.record(&asked, dry_run, code, started);
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
        let identity = identity(&parts);
        let request =
            ResourceRequest { method: parts.method, path, query, headers: parts.headers, body, identity };
        if let Some(review) = Review::find(&request.path) {
            return review.answer(&self.core, &request);
        }
        let handler = resources::handler(&request.path).ok_or_else(ApiError::no_such_path)?;
        handler.handle(&self.core, &request)
    }

    /// Answers what only the nodes know.
    async fn answer_from_nodes(
        &self,
        request: Request<bytes::Bytes>,
        path: ResourcePath,
    ) -> Result<Reply, ApiError> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let asked = Asked::of_resource(&parts.method, &path, &query);
        let identity = identity(&parts);
        let request =
            ResourceRequest { method: parts.method, path, query, headers: parts.headers, body, identity };
        let answer = metrics_api::answer(&self.core, &request).await;
        let code = answer.as_ref().map_or_else(ApiError::code, Reply::code);
        self.metrics.record(&asked, false, code, started);
        answer
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

    /// Creates an object that every cluster has, unless it is there.
    fn create_initial<K: ServedKind>(&self, name: &str, object: &Value) {
        if self.core.storage.get(K::URL_PATH_SEGMENT, &Key::new("", name)).is_some() {
            return;
        }
        let request = ResourceRequest::own::<K>(None, object);
        if let Err(error) = self.core.create::<K>(&request) {
            tracing::error!(?error, kind = K::KIND, name, "cannot create an initial object");
        }
    }
}

/// Who asks. Every service sets it; without it, nobody does.
fn identity(parts: &http::request::Parts) -> Arc<Identity> {
    let identity = parts.extensions.get::<Arc<Identity>>().map(Arc::clone);
    identity.unwrap_or_else(|| Arc::new(Identity::anonymous()))
}
