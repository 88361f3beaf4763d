//! What a request does to what, as rules speak of it: upstream's `RequestInfo`.

use http::{Method, Uri};

use crate::request::Target;

/// What is done to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    /// Where it is not a resource: the path. The other fields are empty then.
    pub(crate) path: Option<String>,
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    /// Empty where it is not within one.
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
}

impl Attributes {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Self {
        let Ok(Target::Resource(path)) = Target::parse(uri.path()) else {
            let verb = method.as_str().to_ascii_lowercase();
            return Self { verb, path: Some(uri.path().to_owned()), ..Self::default() };
        };
        let verb = verb(method, path.name.is_some(), watches(uri));
        let name = path.name.unwrap_or_default();
        // A namespace is within itself.
        let own = (path.group.is_empty() && path.resource == "namespaces").then(|| name.clone());
        Self {
            verb: verb.to_owned(),
            path: None,
            group: path.group,
            version: path.version,
            namespace: path.namespace.or(own).unwrap_or_default(),
            resource: path.resource,
            subresource: path.subresource.unwrap_or_default(),
            name,
        }
    }
}

fn verb(method: &Method, named: bool, watches: bool) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ if watches => "watch",
        _ if named => "get",
        _ => "list",
    }
}

fn watches(uri: &Uri) -> bool {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .any(|(key, value)| key == "watch" && !matches!(&*value, "false" | "0"))
}

/// Whether a request goes on for as long as the client likes: upstream's `--long-running-request-regexp`, and watches.
pub(crate) fn is_long_running(uri: &Uri) -> bool {
    let path = uri.path().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last, "log" | "logs" | "exec" | "attach" | "portforward" | "proxy")
        || is_of_a_node(path)
        || watches(uri)
}

/// `/api/v1/nodes/{name}/proxy/…`
fn is_of_a_node(path: &str) -> bool {
    let rest = path.strip_prefix("/api/v1/nodes/").and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(_, rest)| rest.starts_with("proxy/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &Method, uri: &str) -> String {
        let is = Attributes::of(method, &uri.parse().unwrap());
        let parts = [is.group, is.namespace, is.resource, is.subresource, is.name];
        format!("{} {}", is.verb, is.path.unwrap_or_else(|| parts.join(",")))
    }

    #[test]
    fn what_requests_do() {
        let get = Method::GET;
        for (method, uri, expected) in [
            (&get, "/api/v1/pods", "list ,,pods,,"),
            (&get, "/api/v1/pods?watch=true", "watch ,,pods,,"),
            (&get, "/api/v1/pods?watch=0", "list ,,pods,,"),
            (&get, "/api/v1/namespaces/a/pods/b", "get ,a,pods,,b"),
            (&get, "/api/v1/namespaces/a/pods/b?watch=1", "watch ,a,pods,,b"),
            (&get, "/api/v1/namespaces/a/pods/b/log", "get ,a,pods,log,b"),
            (&get, "/api/v1/namespaces/a", "get ,a,namespaces,,a"),
            (&Method::HEAD, "/api/v1/nodes/n", "get ,,nodes,,n"),
            (&Method::POST, "/api/v1/namespaces/a/pods/b/exec", "create ,a,pods,exec,b"),
            (&Method::DELETE, "/api/v1/namespaces/a/pods", "deletecollection ,a,pods,,"),
            (&Method::DELETE, "/api/v1/namespaces/a/pods/b", "delete ,a,pods,,b"),
            (
                &Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/l",
                "update coordination.k8s.io,a,leases,,l",
            ),
            (&Method::PATCH, "/api/v1/nodes/n/status", "patch ,,nodes,status,n"),
            (&get, "/api/v1/nodes/n/proxy/stats/summary", "get ,,nodes,proxy,n"),
            (&get, "/metrics", "get /metrics"),
            (&Method::POST, "/", "post /"),
        ] {
            assert_eq!(shown(method, uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn what_may_last() {
        for (uri, lasts) in [
            ("/api/v1/pods?watch=true", true),
            ("/api/v1/namespaces/a/pods/b/log?follow=true", true),
            ("/api/v1/namespaces/a/pods/b/exec?command=ls", true),
            ("/api/v1/nodes/n/proxy/containerLogs/a/b/c?follow=true", true),
            ("/api/v1/namespaces/proxy/pods", false),
            ("/api/v1/pods", false),
            ("/api/v1/namespaces/a/pods/watch", false),
        ] {
            assert_eq!(is_long_running(&uri.parse().unwrap()), lasts, "{uri}");
        }
    }
}
