//! The Pod and the container that a request names, as the API has them now.

use http::StatusCode;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use memlet_policy::logs;

use super::Refusal;
use crate::node::Node;

/// A container of a Pod of this node.
pub(super) struct Found {
    pub(super) pod: Pod,
    pub(super) container: String,
}

impl Found {
    /// Looks for it.
    pub(super) async fn look(
        node: &Node,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Result<Self, Refusal> {
        let pods: Api<Pod> = Api::namespaced(node.client.clone(), namespace);
        let pod = pods.get_opt(name).await.map_err(|error| Refusal::internal(error.to_string()))?;
        let on_this = |pod: &Pod| {
            pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(&node.config.name))
        };
        let pod = pod.filter(on_this);
        let pod = pod.ok_or_else(|| Refusal::not_found(format!("pod {name:?} does not exist")))?;
        let found = Self { pod, container: container.to_owned() };
        if !found.is_in_spec() {
            let message = format!("container {container:?} not found in pod {name:?}");
            return Err(Refusal::not_found(message));
        }
        Ok(found)
    }

    fn is_in_spec(&self) -> bool {
        let Some(spec) = &self.pod.spec else { return false };
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        all.into_iter().any(|container| container.name == self.container)
    }

    fn status(&self) -> Option<&ContainerStatus> {
        let status = self.pod.status.as_ref()?;
        let lists = [&status.container_statuses, &status.init_container_statuses];
        lists.into_iter().flatten().flatten().find(|status| status.name == self.container)
    }

    /// The runtime's id of the running instance.
    pub(super) fn running(&self) -> Result<String, Refusal> {
        let running =
            self.status().filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
        let id = running.and_then(|status| bare_id(status.container_id.as_deref()));
        id.ok_or_else(|| Refusal::internal(format!("container not found ({:?})", self.container)))
    }

    /// The instance whose log is meant: its number, and its id where it may be running.
    pub(super) fn instance(&self, previous: bool) -> Result<Instance, Refusal> {
        let refuse = |text: String| Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        let pod = self.pod.metadata.name.as_deref().unwrap_or_default();
        let container = &self.container;
        let Some(status) = self.status() else {
            return refuse(format!("container {container:?} in pod {pod:?} is not available"));
        };
        let restarts = u32::try_from(status.restart_count).unwrap_or_default();
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let last = last.filter(|last| bare_id(last.container_id.as_deref()).is_some());
        let is_new = state.running.is_some() || state.terminated.is_some();
        if previous {
            // While it waits to be started again, the last instance is the one before that.
            let number = if is_new { logs::previous_instance(restarts) } else { Some(restarts) };
            return match number.filter(|_| last.is_some()) {
                Some(number) => Ok(Instance { number, id: None }),
                None => {
                    refuse(format!("previous terminated container {container:?} in pod {pod:?} not found"))
                }
            };
        }
        if state.running.is_some() {
            return Ok(Instance { number: restarts, id: bare_id(status.container_id.as_deref()) });
        }
        if state.terminated.is_some() || last.is_some() {
            return Ok(Instance { number: restarts, id: None });
        }
        let why = match state.waiting.and_then(|waiting| waiting.reason).as_deref() {
            Some("ErrImagePull") => "image can't be pulled".to_owned(),
            Some("ImagePullBackOff") => "trying and failing to pull image".to_owned(),
            Some(reason) => reason.to_owned(),
            None => {
                return refuse(format!(
                    "container {container:?} in pod {pod:?} is waiting to start - no logs yet"
                ));
            }
        };
        refuse(format!("container {container:?} in pod {pod:?} is waiting to start: {why}"))
    }
}

/// One instance of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// As its log is called.
    pub(super) number: u32,
    /// The runtime's id, if it runs.
    pub(super) id: Option<String>,
}

fn bare_id(id: Option<&str>) -> Option<String> {
    let (_, id) = id?.split_once("://")?;
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(status: &Value) -> Found {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [status]},
        });
        Found { pod: serde_json::from_value(pod).unwrap(), container: "c".to_owned() }
    }

    fn status(restarts: i32, state: &Value, last: &Value) -> Value {
        json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts,
            "containerID": "memlet://now", "state": state, "lastState": last})
    }

    #[test]
    fn each_state_has_its_log() {
        let ended = json!({"terminated": {"exitCode": 1, "containerID": "memlet://old"}});
        let (running, none) = (json!({"running": {}}), json!({}));
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let now = Some("now".to_owned());
        for (restarts, state, last, previous, expected) in [
            (0, &running, &none, false, Ok((0, now.clone()))),
            (2, &running, &ended, false, Ok((2, now))),
            (2, &running, &ended, true, Ok((1, None))),
            (2, &ended, &ended, false, Ok((2, None))),
            (2, &ended, &ended, true, Ok((1, None))),
            (2, &waiting("CrashLoopBackOff"), &ended, false, Ok((2, None))),
            (2, &waiting("CrashLoopBackOff"), &ended, true, Ok((2, None))),
            (0, &running, &none, true, Err("previous terminated container \"c\" in pod \"p\" not found")),
            (
                0,
                &waiting("ContainerCreating"),
                &none,
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
            ),
            (
                0,
                &waiting("ImagePullBackOff"),
                &none,
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"),
            ),
        ] {
            let found = found(&status(restarts, state, last)).instance(previous);
            let found = found.map(|it| (it.number, it.id)).map_err(|refusal| refusal.message().to_owned());
            assert_eq!(found, expected.map_err(str::to_owned), "{state} {last} {previous}");
        }
        assert_eq!(found(&status(0, &running, &none)).running().ok().as_deref(), Some("now"));
        let refused = found(&status(0, &ended, &none)).running().unwrap_err();
        assert_eq!(refused.message(), "container not found (\"c\")");
    }
}
