//! GET `pods/{name}/log`, GET and POST `exec` and `attach`: what only the Pod's node knows. Here it is decided which node
//! and which container is asked; the node's answer is the client's.

use form_urlencoded::Serializer;
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};
use crate::nodes::{self, NodeRequest, Refusals};
use crate::reply::Reply;
use crate::request::{Query, ResourceRequest};
use crate::verbs::{Core, key, typed};

/// What a container wrote.
pub(super) fn log(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    if request.method != Method::GET {
        return Err(ApiError::method_not_allowed("this method", "pods/log"));
    }
    let target = Target::find(core, request)?;
    check_log_options(&target.name, &request.query)?;
    let mut query = Serializer::new(String::new());
    for name in
        ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"]
    {
        query.extend_pairs(request.query.all(name).take(1).map(|value| (name, value)));
    }
    if target.node.is_none() {
        // It has written nothing yet.
        return Ok(Reply::text(StatusCode::NO_CONTENT, ""));
    }
    target.ask("containerLogs", &query.finish(), Refusals::AsStatus, core)
}

/// Runs a program in a container.
pub(super) fn exec(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    stream(core, request, "exec")
}

/// Joins a container's own streams.
pub(super) fn attach(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    stream(core, request, "attach")
}

fn stream(core: &Core, request: &ResourceRequest, what: &str) -> Result<Reply, ApiError> {
    if !matches!(request.method, Method::GET | Method::POST) {
        return Err(ApiError::method_not_allowed("this method", &format!("pods/{what}")));
    }
    let target = Target::find(core, request)?;
    let asked = &request.query;
    let mut query = Serializer::new(String::new());
    for (name, of_node) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if asked.flag(name) {
            query.append_pair(of_node, "1");
        }
    }
    query.extend_pairs(asked.all("command").map(|word| ("command", word)));
    target.ask(what, &query.finish(), Refusals::AsTheyAre, core)
}

/// A container of a Pod, and where it is.
struct Target {
    namespace: String,
    name: String,
    container: String,
    node: Option<String>,
}

impl Target {
    fn find(core: &Core, request: &ResourceRequest) -> Result<Self, ApiError> {
        let key = key::<Pod>(request)?;
        let stored = core.storage.get("pods", &key);
        let pod: Pod = typed(&*stored.ok_or_else(|| ApiError::not_found("pods", &key.name))?)?;
        let container = choose(&pod, &key.name, request.query.get("container"))?;
        let node = pod.spec.and_then(|spec| spec.node_name).filter(|node| !node.is_empty());
        Ok(Self { namespace: key.namespace, name: key.name, container, node })
    }

    fn ask(self, what: &str, query: &str, refusals: Refusals, core: &Core) -> Result<Reply, ApiError> {
        let Self { namespace, name, container, node } = self;
        let node =
            node.ok_or_else(|| ApiError::bad_request(format!("pod {name} does not have a host assigned")))?;
        let service = core.nodes.find(&node).ok_or_else(|| nodes::not_connected(&node))?;
        // Names of Kubernetes objects need no escaping.
        let uri = format!("/{what}/{namespace}/{name}/{container}?{query}");
        let uri = uri.parse().map_err(|_| ApiError::bad_request("the request is too long"))?;
        Ok(Reply::of_node(NodeRequest { node: service, uri, refusals }))
    }
}

/// The container that is meant: the one that is named, or the only one.
fn choose(pod: &Pod, name: &str, stated: Option<&str>) -> Result<String, ApiError> {
    let spec = pod.spec.as_ref();
    let regular = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let names = |list: &[Container]| {
        list.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    match (stated, regular) {
        (Some(stated), _) if regular.iter().chain(init).any(|container| container.name == stated) => {
            Ok(stated.to_owned())
        }
        (Some(stated), _) => {
            Err(ApiError::bad_request(format!("container {stated} is not valid for pod {name}")))
        }
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                names(regular)
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", names(init)));
            }
            Err(ApiError::bad_request(message))
        }
    }
}

/// Upstream's rules for `PodLogOptions`.
fn check_log_options(pod: &str, query: &Query) -> Result<(), ApiError> {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new;
    let tail: Option<i64> = query.number("tailLines")?;
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        errors.invalid(&path("tailLines"), tail, "must be greater than or equal to 0");
    }
    for name in ["limitBytes", "sinceSeconds"] {
        let number: Option<i64> = query.number(name)?;
        if let Some(number) = number.filter(|number| *number < 1) {
            errors.invalid(&path(name), number, "must be greater than 0");
        }
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        errors.forbidden(
            &FieldPath::default(),
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        );
    }
    match query.get("stream") {
        None | Some("All") => {}
        Some("Stdout" | "Stderr") if tail.is_none() => {}
        Some("Stdout" | "Stderr") => {
            errors.forbidden(
                &FieldPath::default(),
                "`tailLines` and specific `stream` are mutually exclusive for now",
            );
        }
        Some(other) => errors.not_supported(&path("stream"), other, &["All", "Stderr", "Stdout"]),
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("PodLogOptions", pod, errors)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_chosen_or_the_choice_is_told() {
        let pod = |containers: &[&str], init: &[&str]| -> Pod {
            let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
            let spec = json!({"containers": list(containers), "initContainers": list(init)});
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
        };
        let chosen = |pod: &Pod, stated: Option<&str>| {
            choose(pod, "p", stated).map_err(|error| error.status().message.clone().unwrap_or_default())
        };
        let (one, two) = (pod(&["a"], &["i"]), pod(&["a", "b"], &[]));
        assert_eq!(chosen(&one, None).as_deref(), Ok("a"));
        assert_eq!(chosen(&one, Some("i")).as_deref(), Ok("i"));
        assert_eq!(chosen(&two, Some("b")).as_deref(), Ok("b"));
        insta::assert_snapshot!(
            chosen(&two, None).unwrap_err(),
            @"a container name must be specified for pod p, choose one of: [a b]"
        );
        insta::assert_snapshot!(
            chosen(&pod(&["a", "b"], &["i", "j"]), None).unwrap_err(),
            @"a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i j]"
        );
        insta::assert_snapshot!(chosen(&two, Some("c")).unwrap_err(), @"container c is not valid for pod p");
    }

    #[test]
    fn options_of_a_log_have_their_bounds() {
        let refused = |query: &str| {
            let refused = check_log_options("p", &Query::parse(query)).err();
            refused.map(|error| error.status().message.clone().unwrap_or_default())
        };
        assert_eq!(refused("tailLines=0&limitBytes=1&sinceSeconds=1&stream=All"), None);
        insta::assert_snapshot!(
            refused("tailLines=-1").unwrap(),
            @r#"PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"#
        );
        insta::assert_snapshot!(
            refused("limitBytes=0").unwrap(),
            @r#"PodLogOptions "p" is invalid: limitBytes: Invalid value: 0: must be greater than 0"#
        );
    }
}
