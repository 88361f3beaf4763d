//! Whatever bytes come in, an answer goes out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use http::Request;
use http_body_util::BodyExt as _;
use memlet_apiserver::ApiServer;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Any JSON, with names that the Pod's schema knows mixed in, so that it is got into and not only refused at the door.
fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z0-9.$/-]{0,12}".prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["128Mi", "-1", "1e400", "Always", "Never", "a", "x:latest"])
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "metadata",
            "name",
            "namespace",
            "labels",
            "annotations",
            "finalizers",
            "generateName",
            "resourceVersion",
            "spec",
            "containers",
            "initContainers",
            "image",
            "resources",
            "limits",
            "requests",
            "memory",
            "cpu",
            "hugepages-2Mi",
            "volumes",
            "volumeMounts",
            "mountPath",
            "emptyDir",
            "sizeLimit",
            "hostPath",
            "env",
            "valueFrom",
            "resourceFieldRef",
            "divisor",
            "securityContext",
            "tolerations",
            "restartPolicy",
            "ports",
            "containerPort",
            "overhead",
            "status",
            "conditions",
            "$patch",
            "$setElementOrder/containers",
            "op",
            "path",
            "value",
            "add",
            "/spec",
            "gracePeriodSeconds",
            "preconditions",
            "uid",
            "dryRun",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z$/]{0,6}",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Sends one request to a server that holds one Pod, `p`; gives the code and the body of the answer.
fn answer(method: &str, path: &str, media: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::in_memory();
        let send = async |method: &str, path: &str, media: &str, body: Vec<u8>| {
            let request = Request::builder().method(method).uri(path).header("content-type", media);
            let request = request.body(kube::client::Body::from(body)).unwrap();
            let response = server.service().oneshot(request).await.unwrap();
            let code = response.status().as_u16();
            (code, response.into_body().collect().await.unwrap().to_bytes().to_vec())
        };
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let created = send("POST", PODS, "application/json", pod.to_string().into_bytes()).await;
        assert_eq!(created.0, 201);
        send(method, path, media, body).await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_created_or_refused(body in arbitrary_json(), typed in any::<bool>()) {
        let body = if typed { json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": body}) } else { body };
        let (code, answer) = answer("POST", PODS, "application/json", body.to_string().into_bytes());
        prop_assert!(matches!(code, 201 | 400 | 403 | 409 | 422), "{code} to {body}");
        prop_assert!(serde_json::from_slice::<Value>(&answer).is_ok());
    }

    #[test]
    fn any_bytes_are_refused_politely(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let (code, _) = answer("POST", PODS, "application/json", body);
        prop_assert!(matches!(code, 400 | 422), "{code}");
    }

    #[test]
    fn any_patch_is_applied_or_refused(body in arbitrary_json(), media in prop::sample::select(vec![
        "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json",
    ]), status in any::<bool>()) {
        let path = if status { "/api/v1/namespaces/default/pods/p/status" } else { "/api/v1/namespaces/default/pods/p" };
        let (code, answer) = answer("PATCH", path, media, body.to_string().into_bytes());
        prop_assert!(matches!(code, 200 | 400 | 409 | 422), "{code} to {body}");
        prop_assert!(serde_json::from_slice::<Value>(&answer).is_ok());
    }

    #[test]
    fn any_delete_options_are_read_or_refused(body in arbitrary_json()) {
        let (code, _) = answer("DELETE", "/api/v1/namespaces/default/pods/p", "application/json", body.to_string().into_bytes());
        prop_assert!(matches!(code, 200 | 400 | 409 | 422), "{code} to {body}");
    }

    #[test]
    fn any_query_is_read_or_refused(query in "[a-zA-Z]{0,16}=[ -~&&[^#<>\"`{}|\\\\^]]{0,20}", known in prop::sample::select(vec![
        "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch",
    ])) {
        let query = query.replace('%', "%25").replace(' ', "+");
        let path = format!("/api/v1/pods?{known}={}", query.split_once('=').map_or("", |(_, value)| value));
        let (code, _) = answer("GET", &path, "application/json", Vec::new());
        prop_assert!(matches!(code, 200 | 400 | 410 | 422 | 504), "{code} to {path}");
    }
}
