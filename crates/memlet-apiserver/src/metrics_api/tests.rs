//! The answers for a node whose statistics are known.

use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};

use crate::ApiServer;
use crate::nodes::NodeService;
use crate::reply::ResponseBody;

fn node_service(uid: &str) -> NodeService {
    let time = "2026-03-01T10:00:12Z";
    let usage = |nano_cores: u64, bytes: u64| {
        json!({
            "cpu": {"time": time, "usageNanoCores": nano_cores, "windowNanoSeconds": 15_020_000_000_u64},
            "memory": {"time": time, "workingSetBytes": bytes},
        })
    };
    let mut node = usage(251_093_442, 3_194_929_152);
    node["nodeName"] = "n1".into();
    let container = |name: &str, nano_cores, bytes| {
        let mut container = usage(nano_cores, bytes);
        container["name"] = name.into();
        container
    };
    let pods = json!([{
        "podRef": {"name": "hog", "namespace": "default", "uid": uid},
        "containers": [container("side", 1000, 1 << 20), container("hog", 4_113_207, 93_429_760)],
    }]);
    let summary = json!({"node": node, "pods": pods}).to_string();
    BoxCloneSyncService::new(service_fn(move |request: Request<ResponseBody>| {
        let summary = summary.clone();
        async move {
            assert_eq!(request.uri(), "/stats/summary?only_cpu_and_memory=true");
            Ok(Response::new(Full::from(summary).boxed_unsync()))
        }
    }))
}

async fn ask(
    server: &ApiServer,
    method: &str,
    path: &str,
    accept: &'static str,
    body: Value,
) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    *request.headers_mut().unwrap() =
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
    let request = request.body(Full::<bytes::Bytes>::from(body.to_string())).unwrap();
    let Ok(response) = server.service().oneshot(request).await;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap())
}

/// A server with a node and a Pod that runs on it.
async fn server() -> ApiServer {
    let server = ApiServer::in_memory();
    let json = "application/json";
    ask(&server, "POST", "/api/v1/nodes", json, json!({"metadata": {"name": "n1"}})).await;
    let pod = json!({
        "metadata": {"name": "hog", "labels": {"run": "hog"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "hog", "image": "a:1"}, {"name": "side", "image": "a:1"}]},
    });
    let (_, pod) = ask(&server, "POST", "/api/v1/namespaces/default/pods", json, pod).await;
    server.connect_node("n1", node_service(pod["metadata"]["uid"].as_str().unwrap()));
    let running = json!({
        "metadata": {"name": "hog", "labels": {"run": "hog"}}, "status": {"phase": "Running"},
    });
    let (code, _) = ask(&server, "PUT", "/api/v1/namespaces/default/pods/hog/status", json, running).await;
    assert_eq!(code, 200);
    server
}

#[tokio::test]
async fn figures_of_pods_and_nodes() {
    let server = server().await;
    let (code, mut pods) =
        ask(&server, "GET", "/apis/metrics.k8s.io/v1beta1/pods?labelSelector=run%3Dhog", "", json!(null))
            .await;
    assert_eq!(code, 200, "{pods}");
    let created = pods["items"][0]["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    assert!(created.is_some());
    assert_eq!(
        pods,
        json!({
            "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {},
            "items": [{
                "metadata": {"name": "hog", "namespace": "default", "labels": {"run": "hog"}},
                "timestamp": "2026-03-01T10:00:12Z", "window": "15.02s",
                "containers": [
                    {"name": "hog", "usage": {"cpu": "4113207n", "memory": "91240Ki"}},
                    {"name": "side", "usage": {"cpu": "1u", "memory": "1Mi"}},
                ],
            }],
        })
    );
    let (code, node) = ask(&server, "GET", "/apis/metrics.k8s.io/v1beta1/nodes/n1", "", json!(null)).await;
    assert_eq!((code, &node["kind"]), (200, &json!("NodeMetrics")));
    assert_eq!(node["usage"], json!({"cpu": "251093442n", "memory": "3120048Ki"}));
}

#[tokio::test]
async fn tables_and_what_is_not_there() {
    let server = server().await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (_, pods) = ask(&server, "GET", "/apis/metrics.k8s.io/v1beta1/pods", table, json!(null)).await;
    assert_eq!(pods["rows"][0]["cells"], json!(["hog", "4114207n", "92264Ki", "15.02s"]));
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/other";
    let (code, missing) = ask(&server, "GET", path, "", json!(null)).await;
    assert_eq!(
        (code, &missing["message"]),
        (404, &json!(r#"podmetrics.metrics.k8s.io "default/other" not found"#))
    );
    let (code, _) = ask(&server, "POST", "/apis/metrics.k8s.io/v1beta1/nodes", "", json!({})).await;
    assert_eq!(code, 405);
    // A node that cannot be reached is left out.
    let other = json!({"metadata": {"name": "n2"}});
    ask(&server, "POST", "/api/v1/nodes", "", other).await;
    let (_, nodes) = ask(&server, "GET", "/apis/metrics.k8s.io/v1beta1/nodes", "", json!(null)).await;
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);
}
