//! What a Pod counts for while its resources are being changed in place: the larger of what is asked, what was
//! granted and what runs.
//!
//! component-helpers' `PodRequests` and `PodLimits` with `UseStatusResources`, as the scheduler, quota and
//! `kubectl describe node` count. Eviction and cgroups go by the spec: see [`crate::resources`].

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

use crate::resources::{self, Amounts, Side};

/// What the Pod requests in all, by spec and status.
pub fn pod_requests(pod: &Pod) -> Amounts {
    pod_totals(pod, Side::Requests)
}

/// What the Pod may use in all, by spec and status.
pub fn pod_limits(pod: &Pod) -> Amounts {
    pod_totals(pod, Side::Limits)
}

/// As [`pod_requests`], with `assumed` for each container that does not request it.
pub(crate) fn pod_requests_assuming(pod: &Pod, assumed: &Amounts) -> Amounts {
    pod_totals_assuming(pod, Side::Requests, assumed)
}

fn pod_totals(pod: &Pod, side: Side) -> Amounts {
    pod_totals_assuming(pod, side, &Amounts::new())
}

fn pod_totals_assuming(pod: &Pod, side: Side, assumed: &Amounts) -> Amounts {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let infeasible = is_infeasible(pod);
    let totals = resources::totals_of(spec, |container| {
        let mut amounts = container_amounts(pod, container, side, infeasible);
        for (name, quantity) in assumed {
            amounts.entry(name.clone()).or_insert_with(|| quantity.clone());
        }
        amounts
    });
    resources::with_overhead(spec, side, resources::with_pod_level(spec, side, totals))
}

/// Whether the resize that the spec asks for can never be granted, so that the spec does not count.
pub fn is_infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| {
        condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
    })
}

fn container_amounts(pod: &Pod, container: &Container, side: Side, infeasible: bool) -> Amounts {
    let asked = resources::read_amounts(side.of(container.resources.as_ref()));
    // A node that reports no resources knows nothing of resizes.
    let reporting = status_of(pod, &container.name).filter(|status| status.resources.is_some());
    let Some(status) = reporting else { return asked };
    let mut amounts = resources::read_amounts(side.of(status.resources.as_ref()));
    if side == Side::Requests {
        resources::raise_all(&mut amounts, &resources::read_amounts(status.allocated_resources.as_ref()));
    }
    if !infeasible {
        resources::raise_all(&mut amounts, &asked);
    }
    amounts
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let statuses = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    statuses.into_iter().find(|status| status.name == container)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::MEMORY;

    fn pod(reason: &str, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {},
            "spec": {
                "overhead": {"memory": "1Mi"},
                "containers": [{"name": "c", "resources": {"requests": {"memory": "200Mi"}, "limits": {"memory": "400Mi"}}}],
            },
            "status": {
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                "containerStatuses": [status],
            },
        }))
        .unwrap()
    }

    fn memory(amounts: &Amounts) -> String {
        amounts[MEMORY].to_string()
    }

    #[test]
    fn the_largest_counts_unless_infeasible() {
        let status = |allocated: &str, actual: &str| {
            json!({
                "name": "c", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                "allocatedResources": {"memory": allocated},
                "resources": {"requests": {"memory": actual}, "limits": {"memory": "300Mi"}},
            })
        };
        for (reason, allocated, actual, request, limit) in [
            ("Deferred", "100Mi", "100Mi", "201Mi", "401Mi"),
            ("Deferred", "300Mi", "100Mi", "301Mi", "401Mi"),
            ("Deferred", "100Mi", "250Mi", "251Mi", "401Mi"),
            ("Infeasible", "100Mi", "100Mi", "101Mi", "301Mi"),
            ("Infeasible", "120Mi", "100Mi", "121Mi", "301Mi"),
        ] {
            let pod = pod(reason, &status(allocated, actual));
            assert_eq!(memory(&pod_requests(&pod)), request, "{reason} {allocated} {actual}");
            assert_eq!(memory(&pod_limits(&pod)), limit, "{reason} {allocated} {actual}");
        }
    }

    #[test]
    fn without_a_status_the_spec_counts() {
        let other = json!({"name": "other", "ready": true, "restartCount": 0, "image": "", "imageID": ""});
        let pod = pod("Infeasible", &other);
        assert_eq!(
            (memory(&pod_requests(&pod)), memory(&pod_limits(&pod))),
            ("201Mi".into(), "401Mi".into())
        );
    }
}
