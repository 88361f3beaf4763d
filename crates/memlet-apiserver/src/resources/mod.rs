//! The kinds that are served, each with its own rules.

mod config;
mod event;
mod event_v1;
mod limit_range;
mod namespace;
mod node;
mod plain;
mod pod;
mod priority_class;
mod resource_names;
mod resource_quota;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, LimitRange, Namespace, Node, Pod, ResourceQuota, Secret, ServiceAccount,
};
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::access::Review;
use crate::discovery::ServedResource;
use crate::handler::{Handler, Serve};
use crate::metrics_api;
use crate::request::ResourcePath;

pub(crate) use namespace::{INITIAL_NAMESPACES, Remains, empty, settle_namespace};
pub(crate) use priority_class::system_classes;

/// Everything that is served.
static SERVED: &[&dyn Handler] = &[
    &Serve::<Pod>::with(pod::SUBRESOURCES),
    &Serve::<Node>::with(node::SUBRESOURCES),
    &Serve::<Event>::new(),
    &Serve::<Namespace>::with(namespace::SUBRESOURCES),
    &Serve::<ConfigMap>::new(),
    &Serve::<Secret>::new(),
    &Serve::<ServiceAccount>::with(plain::ACCOUNT_SUBRESOURCES),
    &Serve::<LimitRange>::new(),
    &Serve::<ResourceQuota>::new(),
    &Serve::<events::Event>::new(),
    &Serve::<PriorityClass>::new(),
    &Serve::<Lease>::new(),
];

/// The handler of a path; `None` for a resource that is not served.
pub(crate) fn handler(path: &ResourcePath) -> Option<&'static dyn Handler> {
    SERVED.iter().find(|handler| handler.serves(path)).copied()
}

/// What discovery tells, in the order of the groups in which it tells it.
pub(crate) fn described() -> Vec<ServedResource> {
    let made_up = metrics_api::described().into_iter().chain(Review::described());
    served().map(Handler::describe).chain(made_up).collect()
}

/// All served resources.
pub(crate) fn served() -> impl Iterator<Item = &'static dyn Handler> {
    SERVED.iter().copied()
}
