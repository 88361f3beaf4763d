//! What the tests of this crate share.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::time::Duration;

use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::core::Status;
use kube::{Client, Error};
use serde_json::{Value, json};

/// The Pods of the default namespace.
pub(crate) fn pods(client: &Client) -> Api<Pod> {
    Api::default_namespaced(client.clone())
}

/// A small Pod.
pub(crate) fn pod(name: &str) -> Pod {
    let pod =
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "eater:1"}]}});
    serde_json::from_value(pod).unwrap()
}

/// Binds a Pod to a node, as the scheduler does.
pub(crate) async fn bind(client: &Client, namespace: &str, name: &str, node: &str) -> Result<Value, Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    pods.create_subresource("binding", name, &PostParams::default(), &binding).await
}

/// The Status of a refusal.
pub(crate) fn status_of(error: Error) -> Status {
    match error {
        Error::Api(status) => *status,
        other => panic!("not a refusal of the API: {other}"),
    }
}

/// Sends a request as it is; gives the code, the warnings and the body.
pub(crate) async fn send(
    client: &Client,
    method: &str,
    path: &str,
    body: impl Into<Vec<u8>>,
) -> (StatusCode, Vec<String>, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let response = client.send(request.body(body.into().into()).unwrap()).await.unwrap();
    let (code, warnings) = (response.status(), memlet_apiserver::warnings(response.headers()));
    let body = response.into_body().collect_bytes().await.unwrap();
    (code, warnings, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Waits until something is so, for a while.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what was waited for did not come");
}

/// As [`until`], without a runtime.
pub(crate) fn until_blocking(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("what was waited for did not come");
}
