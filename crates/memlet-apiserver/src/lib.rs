//! The Kubernetes API, embedded: storage, watch, validation, defaulting.
//!
//! [`ApiServer`] answers the requests of any Kubernetes client as kube-apiserver would, within this process and
//! without a socket: [`ApiServer::client`] gives a `kube::Client` over it. What it serves is upstream's: the same
//! paths, the same objects, the same refusals in the same words.
//!
//! Its objects are in memory ([`ApiServer::in_memory`]), or also in a file ([`ApiServer::open`]); then nothing is told
//! before it is on disk.
//!
//! It stores and checks objects, tells of their changes, and deletes what is old or owned by nobody any more. It runs
//! nothing: that a Pod is placed and started is the doing of the scheduler and the node agent, which are ordinary
//! clients.
//!
//! [`serving`] puts the server on a socket, with the keys and certificates of [`keys`]. Who asks is found there or given by
//! construction ([`ApiServer::service_as`]); what they may is decided before a request is looked into. Service accounts
//! and their tokens begin with [`ApiServer::keep_accounts`].
//!
//! Not served yet: protobuf (406), `resize`. `pods/log`, `exec` and `attach` are answered by the Pod's node
//! ([`ApiServer::connect_node`]).
//!
//! ```
//! # use k8s_openapi::api::core::v1::Pod;
//! # use kube::Api;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = memlet_apiserver::ApiServer::in_memory().client();
//! let pods: Api<Pod> = Api::default_namespaced(client);
//! let eater: Pod = serde_json::from_value(serde_json::json!({
//!     "metadata": { "name": "eater" },
//!     "spec": { "containers": [{
//!         "name": "main", "image": "eater:1", "resources": { "limits": { "memory": "128Mi" } },
//!     }] },
//! }))?;
//! let eater = pods.create(&Default::default(), &eater).await?;
//! assert_eq!(eater.status.and_then(|status| status.qos_class).as_deref(), Some("Burstable"));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod access;
mod accounts;
mod cache;
mod decode;
mod discovery;
mod error;
mod field;
mod form;
mod handler;
mod health;
mod housekeeping;
pub mod keys;
mod kind;
mod metrics;
mod metrics_api;
mod names;
mod nodes;
mod openapi;
mod ownership;
mod patch;
mod quota;
mod reply;
mod request;
mod resources;
mod schema;
mod selector;
mod server;
mod service;
pub mod serving;
mod storage;
mod table;
mod verbs;
mod version;
mod warning;

pub use access::Identity;
pub use accounts::{AccountsError, PodTokens};
pub use nodes::NodeService;
pub use reply::ResponseBody;
pub use server::{ApiServer, Settings};
pub use service::ApiService;
pub use storage::OpenError;
pub use warning::warnings;
