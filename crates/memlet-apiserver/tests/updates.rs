//! What may change in a stored object, and in what words the rest is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::needless_pass_by_value, reason = "the tables read better with plain json!")]

use http::Request;
use http_body_util::{BodyExt as _, Full};
use memlet_apiserver::ApiServer;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    media: &str,
    body: &str,
) -> (u16, Value, Vec<String>) {
    let request = Request::builder().method(method).uri(path).header("content-type", media);
    let body = Full::<bytes::Bytes>::from(body.to_owned());
    let response = server.service().oneshot(request.body(body).unwrap()).await.unwrap();
    let (code, warnings) = (response.status().as_u16(), memlet_apiserver::warnings(response.headers()));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap(), warnings)
}

async fn done(server: &ApiServer, method: &str, path: &str, media: &str, body: Value) -> Value {
    let (code, answer, _) = send(server, method, path, media, &body.to_string()).await;
    assert!((200..300).contains(&code), "{method} {path}: {answer}");
    answer
}

/// The code and message of a refusal.
async fn refused(server: &ApiServer, method: &str, path: &str, media: &str, body: Value) -> (u16, String) {
    let (code, answer, _) = send(server, method, path, media, &body.to_string()).await;
    (code, answer["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
}

fn pod() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"memory": "64Mi"}}}],
        "schedulingGates": [{"name": "x/gate"}],
    }})
}

#[tokio::test]
async fn a_pod_keeps_its_spec_but_for_a_few_fields() {
    let server = ApiServer::in_memory();
    let path = format!("{PODS}/p");
    let stored = done(&server, "POST", PODS, JSON, pod()).await;
    let mut bigger = stored.clone();
    bigger["spec"]["containers"][0]["resources"]["limits"]["memory"] = json!("96Mi");
    let (code, told) = refused(&server, "PUT", &path, JSON, bigger).await;
    assert_eq!(code, 422);
    assert_eq!(
        told,
        "Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
         tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n\
         - spec.containers[0].resources.limits.memory: \"64Mi\"\n+ spec.containers[0].resources.limits.memory: \"96Mi\""
    );
    let gate = json!({"spec": {"schedulingGates": [{"name": "x/other"}]}});
    let (_, told) = refused(&server, "PATCH", &path, MERGE, gate).await;
    assert_eq!(
        told,
        "Pod \"p\" is invalid: spec.schedulingGates[0]: Forbidden: only deletion is allowed, but found new scheduling gate 'x/other'"
    );

    let mut tolerations = stored["spec"]["tolerations"].clone();
    tolerations[0]["tolerationSeconds"] = json!(5);
    let change = json!({"spec": {
        "schedulingGates": null, "tolerations": tolerations, "activeDeadlineSeconds": 9,
        "containers": [{"name": "c", "image": "i:2", "imagePullPolicy": "IfNotPresent", "resources": {
            "limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"},
        }}],
    }});
    let changed = done(&server, "PATCH", &path, MERGE, change).await;
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(changed["spec"]["tolerations"][0]["tolerationSeconds"], 5);
}

#[tokio::test]
async fn which_object_and_which_version_is_meant() {
    let server = ApiServer::in_memory();
    let path = format!("{PODS}/p");
    let stored = done(&server, "POST", PODS, JSON, pod()).await;
    let changed = |field: &str, value: Value| {
        let mut pod = stored.clone();
        pod["metadata"][field] = value;
        pod
    };
    for (pod, code, told) in [
        (changed("name", json!("q")), 400, "the name of the object (q) does not match the name on the URL (p)".to_owned()),
        (
            changed("namespace", json!("q")),
            400,
            "the namespace of the provided object does not match the namespace sent on the request".to_owned(),
        ),
        (
            changed("resourceVersion", json!("1")),
            409,
            "Operation cannot be fulfilled on pods \"p\": the object has been modified; please apply your changes to the \
             latest version and try again".to_owned(),
        ),
        (
            changed("uid", json!("other")),
            409,
            format!(
                "Operation cannot be fulfilled on pods \"p\": Precondition failed: UID in precondition: other, UID in \
                 object meta: {}",
                stored["metadata"]["uid"].as_str().unwrap()
            ),
        ),
    ] {
        assert_eq!(refused(&server, "PUT", &path, JSON, pod).await, (code, told));
    }
    // Without a version, a Pod is replaced whatever it is.
    let whole = changed("resourceVersion", json!(null));
    done(&server, "PUT", &path, JSON, whole).await;
    let (code, told) =
        refused(&server, "PUT", &format!("{PODS}/q"), JSON, json!({"metadata": {"name": "q"}})).await;
    assert_eq!((code, &*told), (404, "pods \"q\" not found"));
}

#[tokio::test]
async fn config_maps_and_secrets_can_be_closed() {
    let server = ApiServer::in_memory();
    let maps = "/api/v1/namespaces/default/configmaps";
    done(
        &server,
        "POST",
        maps,
        JSON,
        json!({"metadata": {"name": "m"}, "data": {"a": "b"}, "immutable": true}),
    )
    .await;
    let (code, told) = refused(
        &server,
        "PATCH",
        &format!("{maps}/m"),
        MERGE,
        json!({"data": {"a": "c"}, "immutable": null}),
    )
    .await;
    let closed = "Forbidden: field is immutable when `immutable` is set";
    assert_eq!(
        (code, told),
        (422, format!("ConfigMap \"m\" is invalid: [immutable: {closed}, data: {closed}]"))
    );

    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}});
    let stored = done(&server, "POST", secrets, JSON, secret).await;
    assert_eq!((&stored["data"], &stored["type"]), (&json!({"a": "Yg=="}), &json!("Opaque")));
    assert!(stored.get("stringData").is_none());
    let path = format!("{secrets}/s");
    let (code, told) = refused(&server, "PATCH", &path, MERGE, json!({"type": "other"})).await;
    assert_eq!(
        (code, &*told),
        (422, "Secret \"s\" is invalid: type: Invalid value: \"other\": field is immutable")
    );
    let (code, _) = refused(&server, "PATCH", &path, MERGE, json!({"data": {"a": "not base64"}})).await;
    assert_eq!(code, 400);
    done(&server, "PATCH", &path, MERGE, json!({"immutable": true})).await;
    let (_, told) = refused(&server, "PATCH", &path, MERGE, json!({"stringData": {"n": "v"}})).await;
    assert_eq!(told, format!("Secret \"s\" is invalid: data: {closed}"));

    for (kind, told) in [
        ("kubernetes.io/tls", "[data[tls.crt]: Required value, data[tls.key]: Required value]"),
        ("kubernetes.io/dockerconfigjson", "data[.dockerconfigjson]: Required value"),
        ("kubernetes.io/ssh-auth", "data[ssh-privatekey]: Required value"),
        ("kubernetes.io/basic-auth", "[data[username]: Required value, data[password]: Required value]"),
        (
            "kubernetes.io/service-account-token",
            "metadata.annotations[kubernetes.io/service-account.name]: Required value",
        ),
    ] {
        let (code, found) =
            refused(&server, "POST", secrets, JSON, json!({"metadata": {"name": "t"}, "type": kind})).await;
        assert_eq!((code, found), (422, format!("Secret \"t\" is invalid: {told}")));
    }
}

#[tokio::test]
async fn leases_nodes_and_namespaces() {
    let server = ApiServer::in_memory();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let body = |spec: Value| json!({"metadata": {"name": "l"}, "spec": spec});
    let (code, stored, _) = send(&server, "PUT", lease, JSON, &body(json!({})).to_string()).await;
    assert_eq!(code, 201, "a PUT creates it: {stored}");
    let (code, told) = refused(&server, "PUT", lease, JSON, body(json!({"holderIdentity": "a"}))).await;
    assert_eq!(
        (code, &*told),
        (
            422,
            "Lease.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: \"\": must be specified for an update"
        )
    );
    let (_, told) =
        refused(&server, "PATCH", lease, MERGE, json!({"spec": {"leaseDurationSeconds": 0}})).await;
    assert_eq!(
        told,
        "Lease.coordination.k8s.io \"l\" is invalid: spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"
    );
    let missing = "/apis/coordination.k8s.io/v1/namespaces/default/leases/none";
    let (_, answer, _) = send(&server, "GET", missing, JSON, "").await;
    assert_eq!(answer["message"], "leases.coordination.k8s.io \"none\" not found");
    assert_eq!(answer["details"], json!({"name": "none", "group": "coordination.k8s.io", "kind": "leases"}));

    let nodes = "/api/v1/nodes";
    done(
        &server,
        "POST",
        nodes,
        JSON,
        json!({"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "a"}}),
    )
    .await;
    let (_, told) = refused(
        &server,
        "PATCH",
        "/api/v1/nodes/n",
        MERGE,
        json!({"spec": {"podCIDRs": null, "providerID": "b"}}),
    )
    .await;
    assert_eq!(
        told,
        "Node \"n\" is invalid: [spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid, spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid]"
    );
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    let (_, told) =
        refused(&server, "PATCH", "/api/v1/nodes/n", MERGE, json!({"spec": {"taints": [taint, taint]}}))
            .await;
    assert!(told.starts_with("Node \"n\" is invalid: spec.taints[1]: Duplicate value: "), "{told}");
    let label = json!({"metadata": {"labels": {"a": "b"}}, "status": {"capacity": {"memory": "1Gi"}}, "spec": {"unschedulable": true}});
    let node = done(&server, "PATCH", "/api/v1/nodes/n/status", MERGE, label).await;
    assert_eq!((&node["metadata"]["labels"]["a"], node["spec"].get("unschedulable")), (&json!("b"), None));

    let space = "/api/v1/namespaces/work";
    done(&server, "POST", "/api/v1/namespaces", JSON, json!({"metadata": {"name": "work"}})).await;
    let kept = done(&server, "PATCH", space, MERGE, json!({"spec": {"finalizers": []}})).await;
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]), "only the subresource changes them");
    let mut own = kept.clone();
    own["spec"]["finalizers"] = json!(["kubernetes", "example.com/hold"]);
    done(&server, "PUT", &format!("{space}/finalize"), JSON, own).await;
    done(&server, "DELETE", space, JSON, json!({})).await;
    let mut held = done(&server, "GET", space, JSON, json!(null)).await;
    assert_eq!(held["spec"]["finalizers"], json!(["example.com/hold"]));
    held["spec"]["finalizers"] = json!([]);
    done(&server, "PUT", &format!("{space}/finalize"), JSON, held).await;
    assert_eq!(send(&server, "GET", space, JSON, "").await.0, 404);
}

#[tokio::test]
async fn unknown_and_repeated_fields_in_every_kind_of_body() {
    let server = ApiServer::in_memory();
    done(&server, "POST", PODS, JSON, pod()).await;
    let yaml =
        "metadata:\n  name: late\n  foo: 1\nspec:\n  containers:\n  - name: c\n    name: d\n    image: i:1\n";
    let text = r#"{"metadata":{"name":"late","foo":1},"spec":{"containers":[{"name":"c","name":"d","image":"i:1"}]}}"#;
    let told = [r#"duplicate field "spec.containers[0].name""#, r#"unknown field "metadata.foo""#];
    for (method, path, media, body) in
        [("POST", PODS.to_owned(), "application/yaml", yaml), ("POST", PODS.to_owned(), JSON, text)]
    {
        let (code, _, warnings) = send(&server, method, &format!("{path}?dryRun=All"), media, body).await;
        assert_eq!((code, &warnings[..]), (201, &told.map(str::to_owned)[..]), "{media}");
        let (code, _, warnings) =
            send(&server, method, &format!("{path}?dryRun=All&fieldValidation=Ignore"), media, body).await;
        assert_eq!((code, warnings.len()), (201, 0));
        let (code, answer, _) =
            send(&server, method, &format!("{path}?fieldValidation=Strict"), media, body).await;
        let strict = format!(
            "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {}",
            told.join(", ")
        );
        assert_eq!((code, answer["message"].as_str().unwrap()), (400, &*strict));
    }
    let path = format!("{PODS}/p?fieldValidation=Strict");
    for (media, body) in [
        (MERGE, r#"{"metadata":{"labels":{"a":"b"},"labels":{"a":"c"}}}"#),
        ("application/strategic-merge-patch+json", r#"{"spec":{"foo":1}}"#),
        ("application/json-patch+json", r#"[{"op":"add","path":"/spec/foo","value":1}]"#),
    ] {
        let (code, answer, _) = send(&server, "PATCH", &path, media, body).await;
        assert_eq!(code, 400, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("strict decoding error: "), "{answer}");
    }
    let apply = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, name: p}\n";
    let query = "fieldManager=m&fieldValidation=Strict";
    let (code, answer, _) =
        send(&server, "PATCH", &format!("{PODS}/p?{query}"), "application/apply-patch+yaml", apply).await;
    assert_eq!(
        (code, answer["message"].as_str().unwrap()),
        (400, "error strict decoding YAML: duplicate field \"metadata.name\"")
    );
}

#[tokio::test]
async fn a_dry_run_of_any_verb_stores_nothing() {
    let server = ApiServer::in_memory();
    let stored = done(&server, "POST", PODS, JSON, pod()).await;
    let path = format!("{PODS}/p");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let mut whole = stored.clone();
    whole["metadata"]["labels"] = json!({"a": "b"});
    let mut named = whole.clone();
    named["metadata"] = json!({"generateName": "g-"});
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n"}});
    let apply = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}});
    for (method, path, media, body) in [
        ("POST", PODS.to_owned(), JSON, named),
        ("PUT", path.clone(), JSON, whole),
        ("PATCH", path.clone(), MERGE, label.clone()),
        ("PATCH", path.clone(), "application/strategic-merge-patch+json", label),
        (
            "PATCH",
            path.clone(),
            "application/json-patch+json",
            json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
        ),
        ("PATCH", path.clone(), "application/apply-patch+yaml", apply),
        ("PATCH", format!("{path}/status"), MERGE, json!({"status": {"phase": "Failed"}})),
        ("POST", format!("{path}/binding"), JSON, binding),
        ("POST", format!("{path}/eviction"), JSON, json!({"metadata": {"name": "p"}})),
        ("DELETE", path.clone(), JSON, json!({})),
        ("DELETE", PODS.to_owned(), JSON, json!({})),
    ] {
        let answer = done(&server, method, &format!("{path}?dryRun=All&fieldManager=m"), media, body).await;
        assert!(answer.is_object());
        assert_eq!(
            done(&server, "GET", &format!("{PODS}/p"), JSON, json!(null)).await,
            stored,
            "{method} {path}"
        );
        let list = done(&server, "GET", PODS, JSON, json!(null)).await;
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{method} {path}");
    }
}
