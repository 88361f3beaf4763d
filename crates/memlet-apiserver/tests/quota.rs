//! Quotas: who is refused, and what their statuses say, whoever else creates, deletes or ends something.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use http::StatusCode;
use kube::Client;
use memlet_apiserver::{ApiServer, Settings};
use serde_json::{Value, json};

use support::{send, until};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn done(client: &Client, method: &str, path: &str, body: &Value) -> Value {
    let (code, _, answer) = send(client, method, path, body.to_string()).await;
    assert!(code.is_success(), "{method} {path}: {answer}");
    answer
}

async fn refused(client: &Client, path: &str, body: &Value) -> String {
    let (code, _, answer) = send(client, "POST", path, body.to_string()).await;
    format!("{} {}", code.as_u16(), answer["message"].as_str().unwrap_or_default())
}

async fn bound(client: &Client, name: &str, spec: &Value) {
    done(client, "POST", QUOTAS, &json!({"metadata": {"name": name}, "spec": spec})).await;
}

fn pod(name: &str, memory: &str) -> Value {
    let resources = if memory.is_empty() { json!({}) } else { json!({"requests": {"memory": memory}}) };
    let container = json!({"name": "main", "image": "eater:1", "resources": resources});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

async fn used(client: &Client, name: &str) -> Value {
    let quota = done(client, "GET", &format!("{QUOTAS}/{name}"), &json!(null)).await;
    quota["status"]["used"].clone()
}

/// Waits for a quota's status to say so.
async fn until_used(client: &Client, name: &str, expected: Value) {
    let mut last = json!(null);
    let reached = tokio::time::timeout(
        std::time::Duration::from_secs(8),
        until(async || {
            last = used(client, name).await;
            last == expected
        }),
    );
    assert!(reached.await.is_ok(), "{name} is at {last}, not {expected}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let client = ApiServer::in_memory().client();
    bound(&client, "q", &json!({"hard": {"memory": "3Gi", "requests.memory": "3Gi", "pods": "10"}})).await;
    done(&client, "POST", PODS, &pod("a", "2Gi")).await;
    // Told together with the creation.
    assert_eq!(used(&client, "q").await, json!({"memory": "2Gi", "requests.memory": "2Gi", "pods": "1"}));
    insta::assert_snapshot!(
        refused(&client, PODS, &pod("b", "1025Mi")).await,
        @r#"403 pods "b" is forbidden: exceeded quota: q, requested: memory=1025Mi,requests.memory=1025Mi, used: memory=2Gi,requests.memory=2Gi, limited: memory=3Gi,requests.memory=3Gi"#
    );
    insta::assert_snapshot!(
        refused(&client, PODS, &pod("b", "")).await,
        @r#"403 pods "b" is forbidden: failed quota: q: must specify memory for: main; requests.memory for: main"#
    );
    done(&client, "POST", PODS, &pod("b", "1Gi")).await;
    assert_eq!(used(&client, "q").await["memory"], "3Gi");
    // What a range gives counts, for the quota is asked last.
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "defaultRequest": {"memory": "64Mi"}},
    ]}});
    done(&client, "POST", "/api/v1/namespaces/default/limitranges", &range).await;
    insta::assert_snapshot!(
        refused(&client, PODS, &pod("c", "")).await,
        @r#"403 pods "c" is forbidden: exceeded quota: q, requested: memory=64Mi,requests.memory=64Mi, used: memory=3Gi,requests.memory=3Gi, limited: memory=3Gi,requests.memory=3Gi"#
    );
    // Another namespace has room.
    done(&client, "POST", "/api/v1/namespaces/kube-public/pods", &pod("c", "9Gi")).await;
}

#[tokio::test]
async fn a_dry_run_is_checked_and_takes_nothing() {
    let client = ApiServer::in_memory().client();
    bound(&client, "q", &json!({"hard": {"pods": "1"}})).await;
    let dry = format!("{PODS}?dryRun=All");
    done(&client, "POST", &dry, &pod("a", "")).await;
    done(&client, "POST", PODS, &pod("a", "")).await;
    assert_eq!(
        refused(&client, &dry, &pod("b", "")).await,
        r#"403 pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#
    );
    assert_eq!(used(&client, "q").await, json!({"pods": "1"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_take_the_last_room() {
    const ROOM: usize = 7;
    let server = ApiServer::in_memory();
    let client = server.client();
    bound(&client, "q", &json!({"hard": {"pods": ROOM.to_string(), "requests.memory": "1Gi"}})).await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let client = server.client();
            tokio::spawn(async move {
                let mut created = Vec::new();
                for round in 0..40 {
                    let name = format!("p-{task}-{round}");
                    let (code, _, answer) = send(&client, "POST", PODS, pod(&name, "1Mi").to_string()).await;
                    match code {
                        StatusCode::CREATED => created.push(name),
                        StatusCode::FORBIDDEN => {}
                        _ => panic!("{answer}"),
                    }
                    // There is never more than fits, also while some go.
                    let list = done(&client, "GET", PODS, &json!(null)).await;
                    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
                    assert!(list["items"].as_array().unwrap().iter().filter(stays).count() <= ROOM);
                    if round % 3 == 0
                        && let Some(name) = created.pop()
                    {
                        done(&client, "DELETE", &format!("{PODS}/{name}"), &json!({})).await;
                    }
                }
                created.len()
            })
        })
        .collect();
    let mut left = 0;
    for task in tasks {
        left += task.await.unwrap();
    }
    assert!(left > 0 && left <= ROOM, "{left}");
    until_used(&client, "q", json!({"pods": left.to_string(), "requests.memory": format!("{left}Mi")})).await;
}

#[tokio::test]
async fn room_comes_back_when_pods_end_or_go() {
    let client = ApiServer::in_memory().client();
    bound(&client, "q", &json!({"hard": {"pods": "2", "count/pods": "3", "memory": "2Gi"}})).await;
    for name in ["a", "b"] {
        done(&client, "POST", PODS, &pod(name, "1Gi")).await;
    }
    let ended = json!({"status": {"phase": "Succeeded"}});
    let mut a = done(&client, "GET", &format!("{PODS}/a"), &json!(null)).await;
    a["status"]["phase"] = ended["status"]["phase"].clone();
    done(&client, "PUT", &format!("{PODS}/a/status"), &a).await;
    // At once, whatever the status says yet.
    done(&client, "POST", PODS, &pod("c", "1Gi")).await;
    until_used(&client, "q", json!({"pods": "2", "count/pods": "3", "memory": "2Gi"})).await;
    insta::assert_snapshot!(
        refused(&client, PODS, &pod("d", "1")).await,
        @r#"403 pods "d" is forbidden: exceeded quota: q, requested: count/pods=1,memory=1,pods=1, used: count/pods=3,memory=2Gi,pods=2, limited: count/pods=3,memory=2Gi,pods=2"#
    );
    done(&client, "DELETE", &format!("{PODS}/a"), &json!({})).await;
    until_used(&client, "q", json!({"pods": "2", "count/pods": "2", "memory": "2Gi"})).await;
    done(&client, "DELETE", PODS, &json!({})).await;
    until_used(&client, "q", json!({"pods": "0", "count/pods": "0", "memory": "0"})).await;
}

#[tokio::test]
async fn a_status_follows_at_once() {
    let client = ApiServer::in_memory().client();
    bound(&client, "q", &json!({"hard": {"pods": "2"}})).await;
    let mut slowest = std::time::Duration::ZERO;
    for round in 0..10 {
        let name = format!("p{round}");
        done(&client, "POST", PODS, &pod(&name, "")).await;
        done(&client, "DELETE", &format!("{PODS}/{name}"), &json!({})).await;
        let gone = std::time::Instant::now();
        while used(&client, "q").await != json!({"pods": "0"}) {
            assert!(gone.elapsed().as_secs() < 8, "{}", used(&client, "q").await);
        }
        slowest = slowest.max(gone.elapsed());
    }
    // Milliseconds, on a machine that has others to serve.
    assert!(slowest.as_millis() < 500, "{slowest:?}");
}

#[tokio::test]
async fn a_status_follows_its_its_quota_and_believes_nobody() {
    let client = ApiServer::in_memory().client();
    done(&client, "POST", PODS, &pod("a", "1Gi")).await;
    let created = done(
        &client,
        "POST",
        QUOTAS,
        &json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}, "status": {"used": {"pods": "4"}}}),
    )
    .await;
    assert_eq!(created["status"], json!({}));
    until_used(&client, "q", json!({"pods": "1"})).await;
    let path = format!("{QUOTAS}/q");
    let new = json!({"metadata": {"name": "q"}, "spec": {"hard": {
        "memory": "1024Mi", "services": "1", "count/widgets.example.com": "1",
    }}});
    done(&client, "PUT", &path, &new).await;
    until_used(&client, "q", json!({"memory": "1Gi", "services": "0"})).await;
    let mut quota = done(&client, "GET", &path, &json!(null)).await;
    assert_eq!(
        quota["status"]["hard"],
        json!({"memory": "1Gi", "services": "1", "count/widgets.example.com": "1"})
    );
    quota["status"]["used"]["memory"] = json!("0");
    done(&client, "PUT", &format!("{path}/status"), &quota).await;
    assert!(refused(&client, PODS, &pod("b", "1Mi")).await.starts_with("403 "));
    until_used(&client, "q", json!({"memory": "1Gi", "services": "0"})).await;
    done(&client, "DELETE", &path, &json!({})).await;
    done(&client, "POST", PODS, &pod("b", "9Gi")).await;
}

#[tokio::test]
async fn scopes_choose_whom_a_quota_counts() {
    let client = ApiServer::in_memory().client();
    let class = json!({"metadata": {"name": "high"}, "value": 10});
    done(&client, "POST", "/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
    bound(&client, "best-effort", &json!({"hard": {"pods": "0"}, "scopes": ["BestEffort"]})).await;
    bound(&client, "ends", &json!({"hard": {"pods": "0"}, "scopes": ["Terminating", "NotBestEffort"]})).await;
    let high = json!([{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]);
    bound(&client, "high", &json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": high}}))
        .await;
    assert!(refused(&client, PODS, &pod("b", "")).await.contains("exceeded quota: best-effort"));
    let mut ending = pod("e", "1Mi");
    ending["spec"]["activeDeadlineSeconds"] = json!(5);
    assert!(refused(&client, PODS, &ending).await.contains("exceeded quota: ends"));
    done(&client, "POST", PODS, &pod("plain", "1Mi")).await;
    let mut first = pod("first", "1Mi");
    first["spec"]["priorityClassName"] = json!("high");
    done(&client, "POST", PODS, &first).await;
    first["metadata"]["name"] = json!("second");
    assert!(refused(&client, PODS, &first).await.contains("exceeded quota: high"));
    until_used(&client, "best-effort", json!({"pods": "0"})).await;
    until_used(&client, "high", json!({"pods": "1"})).await;
}

#[tokio::test]
async fn objects_are_counted_too() {
    let client = ApiServer::in_memory().client();
    let hard = json!({
        "configmaps": "1", "count/configmaps": "2", "count/leases.coordination.k8s.io": "1", "resourcequotas": "5",
    });
    bound(&client, "q", &json!({"hard": hard})).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let named = |name: &str| json!({"metadata": {"name": name}});
    done(&client, "POST", maps, &named("a")).await;
    insta::assert_snapshot!(
        refused(&client, maps, &named("b")).await,
        @r#"403 configmaps "b" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"#
    );
    done(&client, "PUT", &format!("{leases}/l"), &named("l")).await;
    insta::assert_snapshot!(
        refused(&client, leases, &named("m")).await,
        @r#"403 leases.coordination.k8s.io "m" is forbidden: exceeded quota: q, requested: count/leases.coordination.k8s.io=1, used: count/leases.coordination.k8s.io=1, limited: count/leases.coordination.k8s.io=1"#
    );
    until_used(
        &client,
        "q",
        json!({
            "configmaps": "1", "count/configmaps": "1", "count/leases.coordination.k8s.io": "1", "resourcequotas": "1",
        }),
    )
    .await;
    done(&client, "DELETE", &format!("{maps}/a"), &json!({})).await;
    done(&client, "POST", maps, &named("b")).await;
}

#[tokio::test]
async fn after_a_restart_what_is_stored_counts() {
    let folder = tempfile::tempdir().unwrap();
    let open = || ApiServer::open(folder.path(), Settings::default()).unwrap();
    let server = open();
    bound(&server.client(), "q", &json!({"hard": {"pods": "2"}})).await;
    done(&server.client(), "POST", PODS, &pod("a", "")).await;
    server.close();
    drop(server);
    let client = open().client();
    done(&client, "POST", PODS, &pod("b", "")).await;
    assert!(refused(&client, PODS, &pod("c", "")).await.contains("used: pods=2, limited: pods=2"));
    until_used(&client, "q", json!({"pods": "2"})).await;
}

#[tokio::test]
async fn a_name_that_is_generated_is_named_in_the_refusal() {
    let client = ApiServer::in_memory().client();
    bound(&client, "q", &json!({"hard": {"pods": "0"}})).await;
    let mut generated = pod("", "");
    generated["metadata"] = json!({"generateName": "job-"});
    let told = refused(&client, PODS, &generated).await;
    assert!(told.starts_with(r#"403 pods "job-"#), "{told}");
}
