//! How this server reaches the nodes' own HTTP servers: what kubelet serves on port 10250, for logs, exec, attach and
//! statistics.
//!
//! A node in the same process hands its server over as a tower service; a connection that is upgraded goes through it as
//! through a socket, in the request's extensions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};

use http::{Request, Response};
use tower::util::BoxCloneSyncService;

use crate::reply::ResponseBody;

/// A node's HTTP server, with kubelet's paths (`/containerLogs/…`, `/exec/…`, `/stats/summary`). It never fails: a
/// refusal is an answer.
pub type NodeService = BoxCloneSyncService<Request<ResponseBody>, Response<ResponseBody>, Infallible>;

/// The nodes that can be reached, by name.
#[derive(Clone, Default)]
pub(crate) struct Nodes(Arc<RwLock<BTreeMap<String, NodeService>>>);

impl Nodes {
    pub(crate) fn connect(&self, name: &str, service: NodeService) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), service);
    }

    pub(crate) fn find(&self, name: &str) -> Option<NodeService> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}
