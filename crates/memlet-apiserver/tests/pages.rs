//! Lists of one moment: pages, exact revisions, and what happens when that moment is forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use memlet_apiserver::ApiServer;
use serde_json::{Value, json};
use support::send;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn create(client: &Client, name: &str) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = json!({"metadata": {"name": name, "labels": {"set": "a"}}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
}

async fn get(client: &Client, query: &str) -> (u16, Value) {
    let (code, _, body) = send(client, "GET", &format!("{MAPS}?{query}"), "").await;
    (code.as_u16(), body)
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

/// Adds, changes and removes objects on both sides of where the first page ends.
async fn disturb(client: &Client) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for name in ["a2", "c2"] {
        create(client, name).await;
    }
    for name in ["a", "d"] {
        maps.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let patch = json!({"metadata": {"labels": {"set": "b"}}, "data": {"k": "v"}});
    maps.patch("e", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    // Gone and there again is another object.
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    create(client, "c").await;
}

/// Changes so much that the past is no longer kept.
async fn forget(client: &Client) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for round in 0..12 {
        let patch = json!({"data": {"k": format!("{round}").repeat(500 << 10)}});
        maps.patch("b", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

#[tokio::test]
async fn all_pages_show_the_moment_of_the_first() {
    let client = ApiServer::in_memory().client();
    for name in ["a", "b", "c", "d", "e"] {
        create(&client, name).await;
    }
    let (_, whole) = get(&client, "").await;
    let (_, mut page) = get(&client, "limit=2&labelSelector=set=a").await;
    assert_eq!(page["metadata"]["remainingItemCount"], Value::Null, "not counted where there is a selector");
    let mut items = page["items"].as_array().unwrap().clone();
    disturb(&client).await;
    while let Some(token) = page["metadata"]["continue"].as_str() {
        page = get(&client, &format!("limit=2&labelSelector=set=a&continue={token}")).await.1;
        assert_eq!(page["metadata"]["resourceVersion"], whole["metadata"]["resourceVersion"]);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
    }
    assert_eq!(Value::from(items), whole["items"]);

    let (_, present) = get(&client, "").await;
    assert_eq!(names(&present), ["a2", "b", "c", "c2", "e"]);
    let revision = whole["metadata"]["resourceVersion"].as_str().unwrap();
    let (_, exact) = get(&client, &format!("resourceVersion={revision}&resourceVersionMatch=Exact")).await;
    assert_eq!(exact, whole);
    let (_, newer) =
        get(&client, &format!("resourceVersion={revision}&resourceVersionMatch=NotOlderThan")).await;
    assert_eq!(newer, present);
}

#[tokio::test]
async fn when_that_moment_is_forgotten_a_client_may_go_on_with_the_present() {
    let client = ApiServer::in_memory().client();
    for name in ["a", "b", "c", "d", "e"] {
        create(&client, name).await;
    }
    let (_, first) = get(&client, "limit=2").await;
    let (token, revision) = (&first["metadata"]["continue"], &first["metadata"]["resourceVersion"]);
    disturb(&client).await;
    forget(&client).await;
    let (code, refused) = get(&client, &format!("limit=2&continue={}", token.as_str().unwrap())).await;
    assert_eq!((code, refused["reason"].as_str()), (410, Some("Expired")));
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with("The provided continue parameter is too old to display a consistent list"));
    let go_on = refused["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = get(&client, &format!("continue={go_on}")).await;
    assert_eq!((code, names(&rest)), (200, vec!["c", "c2", "e"]));
    assert!(rest["metadata"]["resourceVersion"].as_str() > revision.as_str());

    let past = format!("resourceVersion={}&resourceVersionMatch=Exact", revision.as_str().unwrap());
    assert_eq!(get(&client, &past).await.0, 410);
}

#[tokio::test]
async fn tokens_that_make_no_sense_are_refused() {
    let client = ApiServer::in_memory().client();
    for (query, code) in [
        ("continue=nonsense", 400),
        ("continue=x:default/a", 400),
        ("continue=1:default/a&resourceVersion=1", 400),
        ("continue=999999:default/a", 504),
        ("continue=present:default/a", 200),
    ] {
        assert_eq!(get(&client, query).await.0, code, "{query}");
    }
}
