use k8s_openapi::api::core::v1::LimitRangeItem;
use serde_json::{Value, json};

use super::*;

fn range(items: &Value) -> LimitRange {
    serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"limits": items}})).unwrap()
}

fn spec(spec: &Value) -> PodSpec {
    serde_json::from_value(spec.clone()).unwrap()
}

/// A container with these requests and limits of memory; an empty text leaves one out.
fn container(name: &str, request: &str, limit: &str) -> Value {
    let side = |text: &str| if text.is_empty() { json!({}) } else { json!({"memory": text}) };
    json!({"name": name, "resources": {"requests": side(request), "limits": side(limit)}})
}

#[test]
fn an_item_fills_itself_in() {
    for (item, limit, request) in [
        (json!({"max": {"memory": "1Gi"}}), json!({"memory": "1Gi"}), json!({"memory": "1Gi"})),
        (
            json!({"default": {"memory": "2Gi"}, "max": {"memory": "4Gi"}}),
            json!({"memory": "2Gi"}),
            json!({"memory": "2Gi"}),
        ),
        (json!({"min": {"memory": "1Mi"}}), json!(null), json!({"memory": "1Mi"})),
        (
            json!({"max": {"cpu": "1"}, "min": {"cpu": "1m", "memory": "1Mi"}}),
            json!({"cpu": "1"}),
            json!({"cpu": "1", "memory": "1Mi"}),
        ),
        (json!({"defaultRequest": {"cpu": "1.5m"}}), json!(null), json!({"cpu": "2m"})),
    ] {
        let mut item = item;
        item["type"] = CONTAINER.into();
        let mut filled: LimitRangeItem = serde_json::from_value(item.clone()).unwrap();
        default_item(&mut filled);
        assert_eq!((json!(filled.default), json!(filled.default_request)), (limit, request), "{item}");
    }
    let mut pod: LimitRangeItem =
        serde_json::from_value(json!({"type": "Pod", "max": {"cpu": "1"}})).unwrap();
    default_item(&mut pod);
    assert_eq!((pod.default, pod.default_request), (None, None));
}

#[test]
fn containers_are_given_what_they_leave_out() {
    let range = range(&json!([
        {"type": "Pod", "max": {"memory": "4Gi"}},
        {
            "type": "Container", "default": {"memory": "512Mi", "cpu": "1"},
            "defaultRequest": {"memory": "256Mi", "cpu": "100m"},
        },
    ]));
    let mut pod = spec(&json!({
        "containers": [container("bare", "", ""), container("full", "1Mi", "2Mi")],
        "initContainers": [container("first", "1Mi", "")],
    }));
    insta::assert_snapshot!(
        give_defaults(&range, &mut pod).unwrap().replace("; ", ";\n"),
        @r"
    LimitRanger plugin set: cpu, memory request for container bare;
    cpu, memory limit for container bare;
    cpu request for container full;
    cpu limit for container full;
    cpu request for init container first;
    cpu, memory limit for init container first
    "
    );
    let resources = |index: usize| json!(pod.containers[index].resources);
    assert_eq!(
        resources(0),
        json!({"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}})
    );
    assert_eq!(
        resources(1),
        json!({"limits": {"cpu": "1", "memory": "2Mi"}, "requests": {"cpu": "100m", "memory": "1Mi"}})
    );
    assert_eq!(give_defaults(&range, &mut pod), None, "everything is there now");
}

fn refused(item: &Value, pod: &Value) -> String {
    refusal(&range(&json!([item])), &spec(pod)).unwrap_or_else(|| "permitted".to_owned())
}

#[test]
fn each_bound_in_its_words() {
    let one = |request: &str, limit: &str| json!({"containers": [container("c", request, limit)]});
    let (min, max, ratio) = (
        json!({"type": "Container", "min": {"memory": "64Mi"}}),
        json!({"type": "Container", "max": {"memory": "1Gi"}}),
        json!({"type": "Container", "maxLimitRequestRatio": {"memory": "2"}}),
    );
    let cases = [
        (&min, "", ""),
        (&min, "32Mi", ""),
        (&min, "64Mi", "32Mi"),
        (&min, "64Mi", ""),
        (&max, "", ""),
        (&max, "", "2Gi"),
        (&max, "2Gi", "1Gi"),
        (&max, "", "1Gi"),
        (&ratio, "", "1Gi"),
        (&ratio, "0", "1Gi"),
        (&ratio, "1Gi", ""),
        (&ratio, "256Mi", "1Gi"),
        (&ratio, "512Mi", "1Gi"),
    ];
    let said = cases.map(|(item, request, limit)| refused(item, &one(request, limit)));
    insta::assert_snapshot!(said.join("\n"), @r"
    minimum memory usage per Container is 64Mi.  No request is specified
    minimum memory usage per Container is 64Mi, but request is 32Mi
    minimum memory usage per Container is 64Mi, but limit is 32Mi
    permitted
    maximum memory usage per Container is 1Gi.  No limit is specified
    maximum memory usage per Container is 1Gi, but limit is 2Gi
    maximum memory usage per Container is 1Gi, but request is 2Gi
    permitted
    memory max limit to request ratio per Container is 2, but no request is specified or request is 0
    memory max limit to request ratio per Container is 2, but no request is specified or request is 0
    memory max limit to request ratio per Container is 2, but no limit is specified or limit is 0
    memory max limit to request ratio per Container is 2, but provided ratio is 4.000000
    permitted
    ");
}

#[test]
fn a_pod_as_a_whole_is_looked_at_without_overhead() {
    let pod = json!({
        "containers": [container("a", "100Mi", "100Mi"), container("b", "100Mi", "100Mi")],
        "initContainers": [container("i", "250Mi", "250Mi")],
        "overhead": {"memory": "1Gi"},
    });
    let item = |most: &str| json!({"type": "Pod", "max": {"memory": most}});
    assert_eq!(refused(&item("250Mi"), &pod), "permitted");
    assert_eq!(refused(&item("249Mi"), &pod), "maximum memory usage per Pod is 249Mi, but limit is 250Mi");
    let claims = json!({"type": "PersistentVolumeClaim", "max": {"memory": "1"}});
    assert_eq!(refused(&claims, &json!({"containers": [container("c", "2", "2")]})), "permitted");
}

#[test]
fn several_faults_are_listed_and_equal_ones_told_once() {
    let item = json!({"type": "Container", "min": {"cpu": "1", "memory": "64Mi"}, "max": {"memory": "1Gi"}});
    let pod = json!({
        "containers": [container("a", "32Mi", "2Gi"), container("b", "32Mi", "2Gi")],
        "initContainers": [container("i", "64Mi", "1Gi")],
    });
    insta::assert_snapshot!(
        refused(&item, &pod),
        @"[minimum cpu usage per Container is 1.  No request is specified, minimum memory usage per Container is 64Mi, but request is 32Mi, maximum memory usage per Container is 1Gi, but limit is 2Gi]"
    );
}

#[test]
fn amounts_that_no_thousandths_hold_are_compared_whole() {
    let most = i64::MAX.to_string();
    let item = json!({"type": "Container", "max": {"memory": most}});
    let pod = |limit: &str| json!({"containers": [container("c", "", limit)]});
    assert_eq!(refused(&item, &pod(&most)), "permitted");
    let item = json!({"type": "Container", "max": {"memory": "8Ei"}});
    assert_eq!(refused(&item, &pod("1m")), "permitted");
}
