//! Who owns which field after a write, beside what a real cluster recorded; and server-side apply.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use memlet_apiserver::ApiServer;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const PODS: &str = "/api/v1/namespaces/default/pods";
const APPLY: &str = "application/apply-patch+yaml";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

struct Cluster(ApiServer);

impl Cluster {
    fn new() -> Self {
        Self(ApiServer::in_memory())
    }

    async fn send(&self, method: &str, path: &str, media: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let request = request.header("user-agent", "kubelet/v1.37.0 (linux/amd64)");
        let body = Full::<bytes::Bytes>::from(body.to_string());
        let response = self.0.service().oneshot(request.body(body).unwrap()).await.unwrap();
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap())
    }

    async fn done(&self, method: &str, path: &str, media: &str, body: &Value) -> Value {
        let (code, answer) = self.send(method, path, media, body).await;
        assert!(code.is_success(), "{method} {path}: {answer}");
        answer
    }

    async fn create(&self, manager: &str, body: &Value) -> Value {
        self.done("POST", &format!("{PODS}?fieldManager={manager}"), "application/json", body).await
    }

    async fn apply(&self, manager: &str, body: &Value) -> (StatusCode, Value) {
        let name = body["metadata"]["name"].as_str().unwrap();
        self.send("PATCH", &format!("{PODS}/{name}?{manager}"), APPLY, body).await
    }

    async fn applied(&self, manager: &str, body: &Value) -> Value {
        let (code, answer) = self.apply(manager, body).await;
        assert!(code.is_success(), "{answer}");
        answer
    }
}

/// `manager operation subresource` of each entry.
fn writers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or("-").to_owned();
    entries
        .iter()
        .map(|entry| ["manager", "operation", "subresource"].map(|field| text(entry, field)).join(" "))
        .collect()
}

fn fields<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == manager);
    &entry.unwrap_or_else(|| panic!("{manager} in {entries:?}"))["fieldsV1"]
}

fn pod(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

fn eater(limit: &str) -> Value {
    pod(
        "eater",
        &json!({"containers": [
            {"name": "main", "image": "eater:1", "resources": {"limits": {"memory": limit}}},
        ]}),
    )
}

#[tokio::test]
async fn a_created_pod_is_its_creators_but_for_what_admission_gave_it() {
    let cluster = Cluster::new();
    let pod = pod(
        "pending-1000gi",
        &json!({
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"],
                "resources": {"requests": {"memory": "1000Gi"}},
            }],
        }),
    );
    let created = cluster.create("kubectl-create", &pod).await;
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!(entry["time"], created["metadata"]["creationTimestamp"]);
    let mut recorded: Value = serde_json::from_str(include_str!("golden/managed-pending.json")).unwrap();
    recorded["time"] = entry["time"].clone();
    assert_eq!(*entry, recorded);
    assert_eq!(writers(&created).len(), 1);
}

#[tokio::test]
async fn an_event_and_a_node_are_owned_as_recorded() {
    let cluster = Cluster::new();
    let event = json!({
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": "n", "apiVersion": "v1"},
        "reason": "Starting", "message": "Starting kubelet.", "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2026-11-22T01:17:23Z", "lastTimestamp": "2026-11-22T01:17:23Z", "count": 1, "type": "Normal",
        "reportingComponent": "kubelet", "reportingInstance": "n",
    });
    let events = "/api/v1/namespaces/default/events";
    let event = cluster.done("POST", events, "application/json", &event).await;
    assert_eq!(
        *fields(&event, "kubelet"),
        json!({
            "f:count": {}, "f:firstTimestamp": {}, "f:involvedObject": {}, "f:lastTimestamp": {}, "f:message": {},
            "f:reason": {}, "f:reportingComponent": {}, "f:reportingInstance": {},
            "f:source": {"f:component": {}, "f:host": {}}, "f:type": {},
        })
    );
    let node = json!({
        "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}, "annotations": {"a": "b"}},
        "status": {"capacity": {"memory": "1Gi"}},
    });
    let node = cluster.done("POST", "/api/v1/nodes", "application/json", &node).await;
    assert_eq!(
        *fields(&node, "kubelet"),
        json!({"f:metadata": {
            "f:annotations": {".": {}, "f:a": {}}, "f:labels": {".": {}, "f:kubernetes.io/os": {}},
        }})
    );
}

#[tokio::test]
async fn updates_take_what_they_change_and_no_more() {
    let cluster = Cluster::new();
    cluster.create("kubectl-create", &eater("64Mi")).await;
    let status =
        json!({"status": {"conditions": [{"type": "Ready", "status": "False"}], "hostIP": "10.0.0.1"}});
    let path = format!("{PODS}/eater/status");
    let pod = cluster.done("PATCH", &path, STRATEGIC, &status).await;
    assert_eq!(writers(&pod), ["kubectl-create Update -", "kubelet Update status"]);
    assert_eq!(
        *fields(&pod, "kubelet"),
        json!({"f:status": {
            "f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}, "f:type": {}}},
            "f:hostIP": {},
        }})
    );
    // The same again changes nothing, not even a time.
    assert_eq!(cluster.done("PATCH", &path, STRATEGIC, &status).await, pod);

    let path = format!("{PODS}/eater?fieldManager=kubectl-label");
    let label = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "main", "image": "eater:2"}]}});
    let pod = cluster.done("PATCH", &path, STRATEGIC, &label).await;
    let image = |manager: &str| {
        fields(&pod, manager)["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"]["f:image"].is_object()
    };
    assert!(image("kubectl-label") && !image("kubectl-create"));
    assert_eq!(fields(&pod, "kubectl-label")["f:metadata"], json!({"f:labels": {".": {}, "f:a": {}}}));
    // Taking it away leaves its owner without it.
    let remove =
        json!({"metadata": {"labels": null}, "spec": {"containers": [{"name": "main", "image": "eater:3"}]}});
    let pod = cluster.done("PATCH", &format!("{PODS}/eater?fieldManager=other"), STRATEGIC, &remove).await;
    assert_eq!(writers(&pod), ["kubectl-create Update -", "kubelet Update status", "other Update -"]);

    // A replacement without a status is none of the status's owner's business.
    let mut whole = pod.clone();
    whole.as_object_mut().unwrap().remove("status");
    whole["metadata"].as_object_mut().unwrap().remove("managedFields");
    whole["metadata"]["labels"] = json!({"b": "2"});
    let pod =
        cluster.done("PUT", &format!("{PODS}/eater?fieldManager=put"), "application/json", &whole).await;
    assert_eq!(writers(&pod).len(), 4);
    assert_eq!(fields(&pod, "put")["f:metadata"], json!({"f:labels": {".": {}, "f:b": {}}}));
    // The account can be reset by the object's own writer.
    whole["metadata"]["managedFields"] = json!([{}]);
    whole["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let pod =
        cluster.done("PUT", &format!("{PODS}/eater?fieldManager=put"), "application/json", &whole).await;
    assert!(pod["metadata"].get("managedFields").is_none(), "{pod}");
}

#[tokio::test]
async fn an_apply_creates_owns_and_removes() {
    let cluster = Cluster::new();
    let mut config = eater("64Mi");
    config["metadata"]["labels"] = json!({"app": "eater", "tier": "back"});
    let (code, created) = cluster.apply("fieldManager=kubectl", &config).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(
        created["metadata"]["managedFields"][0]["fieldsV1"],
        json!({
            "f:metadata": {"f:labels": {"f:app": {}, "f:tier": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {
                ".": {}, "f:image": {}, "f:name": {}, "f:resources": {"f:limits": {"f:memory": {}}},
            }}},
        })
    );
    assert_eq!(created["spec"]["restartPolicy"], "Always", "defaulted");
    // The same again changes nothing.
    let (code, same) = cluster.apply("fieldManager=kubectl", &config).await;
    assert_eq!((code, &same), (StatusCode::OK, &created));
    // What is no longer stated goes; what others set stays.
    let label = json!({"metadata": {"labels": {"mine": "1"}, "annotations": {"x": "y"}}});
    cluster.done("PATCH", &format!("{PODS}/eater?fieldManager=other"), STRATEGIC, &label).await;
    config["metadata"]["labels"] = json!({"app": "eater"});
    let pod = cluster.applied("fieldManager=kubectl", &config).await;
    assert_eq!(pod["metadata"]["labels"], json!({"app": "eater", "mine": "1"}));
    config["metadata"].as_object_mut().unwrap().remove("labels");
    let pod = cluster.applied("fieldManager=kubectl", &config).await;
    assert_eq!(pod["metadata"]["labels"], json!({"mine": "1"}));
    assert_eq!(pod["metadata"]["annotations"], json!({"x": "y"}));
}

#[tokio::test]
async fn what_another_owns_is_a_conflict_until_it_is_forced() {
    let cluster = Cluster::new();
    cluster.create("kubectl-client-side-apply", &eater("64Mi")).await;
    let mut config = eater("64Mi");
    config["spec"]["containers"][0]["image"] = json!("eater:2");
    let (code, refusal) = cluster.apply("fieldManager=mine", &config).await;
    assert_eq!(code, 409);
    let told = r#"conflict with "kubectl-client-side-apply" using v1: .spec.containers[name="main"].image"#;
    assert_eq!(refusal["message"], format!("Apply failed with 1 conflict: {told}"));
    assert_eq!(
        refusal["details"]["causes"],
        json!([{
            "reason": "FieldManagerConflict",
            "message": "conflict with \"kubectl-client-side-apply\" using v1",
            "field": ".spec.containers[name=\"main\"].image",
        }])
    );
    let pod = cluster.applied("fieldManager=mine&force=true", &config).await;
    assert_eq!(pod["spec"]["containers"][0]["image"], "eater:2");
    assert!(
        fields(&pod, "kubectl-client-side-apply")["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"]
            .get("f:image")
            .is_none()
    );
    // Stating the same as another is sharing, not conflict.
    let pod = cluster.applied("fieldManager=third", &config).await;
    assert_eq!(writers(&pod), ["third Apply -", "mine Apply -", "kubectl-client-side-apply Update -"]);
    config["spec"]["containers"][0]["image"] = json!("eater:3");
    config["metadata"]["labels"] = json!({"a": "1"});
    cluster
        .applied(
            "fieldManager=labels",
            &json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "eater", "labels": {"a": "2"}},
            }),
        )
        .await;
    let (_, refusal) = cluster.apply("fieldManager=mine", &config).await;
    assert_eq!(
        refusal["message"],
        "Apply failed with 2 conflicts: conflicts with \"labels\":\n- .metadata.labels.a\nconflicts with \"third\":\n\
         - .spec.containers[name=\"main\"].image"
    );
}

#[tokio::test]
async fn kubectl_may_take_over_what_it_applied_on_its_own_side() {
    let cluster = Cluster::new();
    let mut config = eater("64Mi");
    let record = config.to_string();
    let mut sent = config.clone();
    sent["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": record});
    cluster.create("kubectl-client-side-apply", &sent).await;
    config["spec"]["containers"][0]["image"] = json!("eater:2");
    let (code, _) = cluster.apply("fieldManager=other", &config).await;
    assert_eq!(code, 409);
    let pod = cluster.applied("fieldManager=kubectl", &config).await;
    assert_eq!(pod["spec"]["containers"][0]["image"], "eater:2");
    let record =
        pod["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(record).unwrap(), config, "the record follows");
}

#[tokio::test]
async fn elements_go_with_the_applier_who_brought_them() {
    let cluster = Cluster::new();
    let path = "/api/v1/namespaces/default/serviceaccounts/a?fieldManager=";
    let account = |secrets: &[&str]| {
        let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "finalizers": ["x/y"]}, "secrets": secrets})
    };
    cluster.done("PATCH", &format!("{path}one"), APPLY, &account(&["a", "b"])).await;
    cluster.done("PATCH", &format!("{path}two"), APPLY, &account(&["b", "c"])).await;
    let found = cluster.done("PATCH", &format!("{path}one"), APPLY, &account(&["a"])).await;
    assert_eq!(found["secrets"], json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]), "two still claims b");
    let found = cluster.done("PATCH", &format!("{path}two"), APPLY, &account(&["c"])).await;
    assert_eq!(found["secrets"], json!([{"name": "a"}, {"name": "c"}]));
}

#[tokio::test]
async fn a_status_is_applied_apart() {
    let cluster = Cluster::new();
    cluster.create("kubectl-create", &eater("64Mi")).await;
    let mut config = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "eater"},
        "status": {"conditions": [{"type": "example.com/Seen", "status": "True"}]},
    });
    let path = format!("{PODS}/eater/status?fieldManager=watcher");
    let pod = cluster.done("PATCH", &path, APPLY, &config).await;
    assert_eq!(pod["status"]["conditions"][0]["type"], "example.com/Seen");
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(writers(&pod)[0], "watcher Apply status");
    config["status"] = json!({});
    let pod = cluster.done("PATCH", &path, APPLY, &config).await;
    assert!(pod["status"].get("conditions").is_none(), "{pod}");
}

#[tokio::test]
async fn what_cannot_be_applied_is_told() {
    let cluster = Cluster::new();
    let path = |query: &str| format!("{PODS}/eater?{query}");
    let refusal = async |query: &str, body: Value| {
        let (code, answer) = cluster.send("PATCH", &path(query), APPLY, &body).await;
        (code.as_u16(), answer["message"].as_str().unwrap().to_owned())
    };
    let (code, told) = refusal("", eater("1Mi")).await;
    assert_eq!(
        (code, &*told),
        (
            422,
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#
        )
    );
    let mut unknown = eater("1Mi");
    unknown["spec"]["containers"][0]["foo"] = json!(1);
    let (code, told) = refusal("fieldManager=m", unknown).await;
    assert_eq!(
        (code, &*told),
        (
            400,
            "failed to create typed patch object (default/eater; /v1, Kind=Pod): .spec.containers[name=\"main\"].foo: field not declared in schema"
        )
    );
    let (code, told) = refusal("fieldManager=m", json!({"metadata": {"name": "eater"}})).await;
    assert_eq!((code, &*told), (400, "invalid object type: /, Kind="));
    let mut managed = eater("1Mi");
    managed["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        refusal("fieldManager=m", managed).await,
        (400, "metadata.managedFields must be nil".to_owned())
    );
    let mut other = eater("1Mi");
    other["metadata"]["uid"] = json!("x");
    let (code, told) = refusal("fieldManager=m", other).await;
    assert_eq!(code, 409);
    assert!(told.contains("uid mismatch: the provided object specified uid x"), "{told}");
    let mut invalid = eater("1Mi");
    invalid["spec"]["restartPolicy"] = json!("Sometimes");
    assert_eq!(refusal("fieldManager=m", invalid).await.0, 422);
    let cbor =
        cluster.send("PATCH", &path("fieldManager=m"), "application/apply-patch+cbor", &json!({})).await;
    assert_eq!(cbor.0, 415);
    let forced = cluster.send("PATCH", &path("force=true"), "application/merge-patch+json", &json!({})).await;
    assert_eq!(
        forced.1["message"],
        r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#
    );
    let (code, _) = cluster.send("PATCH", &path("fieldManager=m&dryRun=All"), APPLY, &eater("1Mi")).await;
    assert_eq!(code, 201);
    assert_eq!(
        cluster.send("GET", &path(""), "application/json", &json!(null)).await.0,
        404,
        "a dry run stores nothing"
    );
}
