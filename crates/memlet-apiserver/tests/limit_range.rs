//! Limit ranges: what they give Pods, and what they refuse.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use http::StatusCode;
use kube::Client;
use memlet_apiserver::ApiServer;
use serde_json::{Value, json};

use support::send;

const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn limit(client: &Client, name: &str, items: &Value) -> Value {
    let range = json!({"metadata": {"name": name}, "spec": {"limits": items}});
    let (code, _, range) = send(client, "POST", RANGES, range.to_string()).await;
    assert_eq!(code, StatusCode::CREATED, "{range}");
    range
}

/// What a Pod of these resources becomes; nothing is stored.
async fn tried(client: &Client, resources: &Value) -> (StatusCode, Value) {
    let spec = json!({
        "containers": [{"name": "main", "image": "eater:1", "resources": resources}],
        "overhead": {"memory": "1Gi"},
    });
    let pod = json!({"metadata": {"name": "eater"}, "spec": spec});
    let (code, _, answer) = send(client, "POST", &format!("{PODS}?dryRun=All"), pod.to_string()).await;
    (code, answer)
}

async fn refused(client: &Client, resources: &Value) -> String {
    let (code, answer) = tried(client, resources).await;
    format!("{} {}", code.as_u16(), answer["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_range_fills_itself_in() {
    let client = ApiServer::in_memory().client();
    let range = limit(
        &client,
        "r",
        &json!([{"type": "Container", "max": {"memory": "1024Mi", "cpu": 2}, "min": {"ephemeral-storage": "1Gi"}}]),
    )
    .await;
    assert_eq!(
        range["spec"]["limits"],
        json!([{
            "type": "Container",
            "default": {"memory": "1Gi", "cpu": "2"},
            "defaultRequest": {"memory": "1Gi", "cpu": "2", "ephemeral-storage": "1Gi"},
            "max": {"memory": "1Gi", "cpu": "2"},
            "min": {"ephemeral-storage": "1Gi"},
        }])
    );
    let body = json!({"spec": {"limits": [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}});
    let (code, _, answer) = send(&client, "PUT", &format!("{RANGES}/r"), body.to_string()).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        answer["message"],
        r#"LimitRange "r" is invalid: spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#
    );
}

#[tokio::test]
async fn what_is_left_out_is_given_and_counts_for_the_class() {
    let client = ApiServer::in_memory().client();
    limit(&client, "r", &json!([{"type": "Container", "default": {"memory": "64Mi", "cpu": "1"}}])).await;
    let (code, pod) = tried(&client, &json!({})).await;
    assert_eq!(code, StatusCode::CREATED, "{pod}");
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({
            "limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1", "memory": "64Mi"},
        })
    );
    assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    assert_eq!(
        pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container main; cpu, memory limit for container main"
    );
    // A limit that is stated is the request, before any range is looked at.
    let (_, pod) = tried(&client, &json!({"limits": {"memory": "32Mi", "cpu": "2"}})).await;
    assert_eq!(pod["metadata"]["annotations"], Value::Null);
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"], json!({"memory": "32Mi", "cpu": "2"}));
    // A limit that is given may be less than the request that is stated.
    insta::assert_snapshot!(
        refused(&client, &json!({"requests": {"memory": "1Gi"}})).await,
        @r#"422 Pod "eater" is invalid: spec.containers[0].resources.requests: Invalid value: "1Gi": must be less than or equal to memory limit of 64Mi"#
    );
}

#[tokio::test]
async fn what_is_not_permitted_is_refused_and_all_of_it_told() {
    let client = ApiServer::in_memory().client();
    let items = json!([
        {
            "type": "Container", "min": {"memory": "64Mi"}, "max": {"memory": "1Gi"},
            "maxLimitRequestRatio": {"memory": "2"},
        },
        {"type": "Pod", "max": {"memory": "512Mi"}},
    ]);
    limit(&client, "r", &items).await;
    let memory =
        |request: &str, limit: &str| json!({"requests": {"memory": request}, "limits": {"memory": limit}});
    assert_eq!(
        tried(&client, &memory("64Mi", "128Mi")).await.0,
        StatusCode::CREATED,
        "overhead does not count"
    );
    insta::assert_snapshot!(
        refused(&client, &memory("32Mi", "64Mi")).await,
        @r#"403 pods "eater" is forbidden: minimum memory usage per Container is 64Mi, but request is 32Mi"#
    );
    insta::assert_snapshot!(
        refused(&client, &memory("256Mi", "2Gi")).await,
        @r#"403 pods "eater" is forbidden: [maximum memory usage per Container is 1Gi, but limit is 2Gi, memory max limit to request ratio per Container is 2, but provided ratio is 8.000000, maximum memory usage per Pod is 512Mi, but limit is 2Gi]"#
    );
    // What is invalid is told as such, whatever the range says.
    assert!(refused(&client, &memory("4Gi", "2Gi")).await.starts_with("422 "));
    let deleted = send(&client, "DELETE", &format!("{RANGES}/r"), "").await;
    assert_eq!(deleted.0, StatusCode::OK);
    assert_eq!(tried(&client, &memory("256Mi", "2Gi")).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_pod_that_is_there_is_left_alone() {
    let client = ApiServer::in_memory().client();
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "eater:1"}]}});
    assert_eq!(send(&client, "POST", PODS, pod.to_string()).await.0, StatusCode::CREATED);
    limit(&client, "r", &json!([{"type": "Container", "min": {"memory": "64Mi"}}])).await;
    let (_, _, mut changed) = send(&client, "GET", &format!("{PODS}/p"), "").await;
    changed["spec"]["containers"][0]["image"] = json!("eater:2");
    let (code, _, answer) = send(&client, "PUT", &format!("{PODS}/p"), changed.to_string()).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(answer["metadata"]["annotations"], Value::Null);
}
