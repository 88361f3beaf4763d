//! The server as an ordinary Kubernetes client finds it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{
    Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
    WatchParams,
};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use memlet_apiserver::ApiServer;
use serde_json::json;
use support::{bind, pod, pods, status_of};

#[tokio::test]
async fn a_pod_is_created_read_listed_and_deleted() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    let created = pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(pods.get("a").await.unwrap(), created);

    let again = pods.create(&PostParams::default(), &pod("a")).await.unwrap_err();
    let again = status_of(again);
    assert_eq!((again.code, again.message.as_str()), (409, r#"pods "a" already exists"#));
    let missing = status_of(pods.get("b").await.unwrap_err());
    assert_eq!((missing.code, missing.message.as_str()), (404, r#"pods "b" not found"#));

    let list = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.metadata.resource_version, created.metadata.resource_version);
    assert_eq!(
        Api::<Pod>::namespaced(client.clone(), "kube-system")
            .list(&ListParams::default())
            .await
            .unwrap()
            .items,
        []
    );

    // Not scheduled, so it goes at once, and the answer is the Pod as it was.
    let deleted = pods.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(deleted.left().unwrap().metadata.uid, created.metadata.uid);
    assert_eq!(status_of(pods.get("a").await.unwrap_err()).code, 404);
}

#[tokio::test]
async fn every_cluster_has_its_namespaces_and_no_pod_lives_outside_of_one() {
    let client = ApiServer::in_memory().client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let names: Vec<_> = namespaces
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .filter_map(|item| item.metadata.name)
        .collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let elsewhere: Api<Pod> = Api::namespaced(client, "nowhere");
    let refused = status_of(elsewhere.create(&PostParams::default(), &pod("a")).await.unwrap_err());
    assert_eq!((refused.code, refused.message.as_str()), (404, r#"namespaces "nowhere" not found"#));
    let kept = status_of(namespaces.delete("default", &DeleteParams::default()).await.unwrap_err());
    assert_eq!(kept.message, r#"namespaces "default" is forbidden: this namespace may not be deleted"#);
}

#[tokio::test]
async fn a_deleted_namespace_waits_for_its_last_pod() {
    let client = ApiServer::in_memory().client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let space: Namespace = serde_json::from_value(json!({"metadata": {"name": "work"}})).unwrap();
    namespaces.create(&PostParams::default(), &space).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "work");
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    bind(&client, "work", "a", "node").await.unwrap();
    let config: Api<ConfigMap> = Api::namespaced(client, "work");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "c"}, "data": {"k": "v"}})).unwrap();
    config.create(&PostParams::default(), &map).await.unwrap();

    namespaces.delete("work", &DeleteParams::default()).await.unwrap();
    assert_eq!(status_of(config.get("c").await.unwrap_err()).code, 404);
    assert!(pods.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    let status = namespaces.get("work").await.unwrap().status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Terminating"));
    let conditions = status.conditions.unwrap();
    let remaining: Vec<_> =
        conditions.iter().filter(|it| it.status == "True").map(|it| it.message.as_deref().unwrap()).collect();
    assert_eq!(remaining, ["Some resources are remaining: pods. has 1 resource instances"]);
    let refused = status_of(pods.create(&PostParams::default(), &pod("b")).await.unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));

    pods.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(status_of(namespaces.get("work").await.unwrap_err()).code, 404);
}

#[tokio::test]
async fn a_scheduled_pod_is_given_its_grace_which_may_only_shrink() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    let created = pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    bind(&client, "default", "a", "node").await.unwrap();
    let going = pods.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(going.metadata.generation, Some(2));
    let start = going.metadata.deletion_timestamp.clone().unwrap().0.as_second() - 30;

    let same = pods.delete("a", &DeleteParams::default().grace_period(60)).await.unwrap().left().unwrap();
    assert_eq!(same, going);
    let sooner = pods.delete("a", &DeleteParams::default().grace_period(5)).await.unwrap().left().unwrap();
    assert_eq!(sooner.metadata.deletion_grace_period_seconds, Some(5));
    assert_eq!(sooner.metadata.deletion_timestamp.unwrap().0.as_second(), start + 5);
    assert_eq!(sooner.metadata.generation, Some(2));

    let other = DeleteParams {
        preconditions: Some(Preconditions { uid: Some("other".into()), resource_version: None }),
        ..DeleteParams::default()
    };
    assert_eq!(status_of(pods.delete("a", &other.grace_period(0)).await.unwrap_err()).code, 409);
    let own = DeleteParams {
        preconditions: Some(Preconditions { uid: created.metadata.uid, resource_version: None }),
        ..DeleteParams::default()
    };
    pods.delete("a", &own.grace_period(0)).await.unwrap();
    assert_eq!(status_of(pods.get("a").await.unwrap_err()).code, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_taken_away() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    let mut held = pod("a");
    held.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    pods.create(&PostParams::default(), &held).await.unwrap();
    let going = pods.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(going.metadata.deletion_timestamp.is_some());
    let add = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let refused = pods.patch("a", &PatchParams::default(), &Patch::Merge(&add)).await.unwrap_err();
    assert_eq!(status_of(refused).code, 422);
    let free = json!({"metadata": {"finalizers": null}});
    pods.patch("a", &PatchParams::default(), &Patch::Merge(&free)).await.unwrap();
    assert_eq!(status_of(pods.get("a").await.unwrap_err()).code, 404);
}

#[tokio::test]
async fn a_stale_update_is_a_conflict() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    let first = pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    let mut changed = first.clone();
    changed.metadata.labels = Some([("x".to_owned(), "1".to_owned())].into());
    let second = pods.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
    let refused = status_of(pods.replace("a", &PostParams::default(), &first).await.unwrap_err());
    assert_eq!(
        refused.message,
        r#"Operation cannot be fulfilled on pods "a": the object has been modified; please apply your changes to the latest version and try again"#
    );
    // Without a version it is meant for whatever is there; and a write that changes nothing makes no version.
    let mut unconditional = second.clone();
    unconditional.metadata.resource_version = None;
    assert_eq!(pods.replace("a", &PostParams::default(), &unconditional).await.unwrap(), second);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    let patch =
        json!({"status": {"phase": "Running", "podIP": "10.0.0.1"}, "spec": {"restartPolicy": "Never"}});
    let running = pods.patch_status("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let status = running.status.as_ref().unwrap();
    assert_eq!((status.phase.as_deref(), status.qos_class.as_deref()), (Some("Running"), Some("BestEffort")));
    assert_eq!(running.spec.as_ref().unwrap().restart_policy.as_deref(), Some("Always"));
    assert_eq!(running.metadata.generation, Some(1));
    let patch = json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"x": "1"}}});
    let labelled = pods.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(labelled.status, running.status);
}

#[tokio::test]
async fn the_patch_formats() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    let params = PatchParams::default();
    let conditions = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    for status in ["False", "True"] {
        pods.patch_status("a", &params, &Patch::Strategic(conditions(status))).await.unwrap();
    }
    let other = json!({"status": {"conditions": [{"type": "Other", "status": "True"}]}});
    let merged = pods.patch_status("a", &params, &Patch::Strategic(other)).await.unwrap();
    let conditions = merged.status.unwrap().conditions.unwrap();
    let conditions: Vec<_> =
        conditions.iter().map(|found| (found.type_.as_str(), found.status.as_str())).collect();
    assert_eq!(conditions, [("Other", "True"), ("Ready", "True")], "what is new comes first");

    let steps = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]);
    let patch: Patch<Pod> = Patch::Json(serde_json::from_value(steps).unwrap());
    let labelled = pods.patch("a", &params, &patch).await.unwrap();
    assert_eq!(labelled.metadata.labels.unwrap()["a"], "b");
    let steps = json!([{"op": "test", "path": "/metadata/name", "value": "z"}]);
    let patch: Patch<Pod> = Patch::Json(serde_json::from_value(steps).unwrap());
    assert_eq!(status_of(pods.patch("a", &params, &patch).await.unwrap_err()).code, 422);
    let apply = pods
        .patch("a", &PatchParams::apply("me"), &Patch::Apply(json!({"apiVersion": "v1", "kind": "Pod"})))
        .await;
    assert_eq!(apply.unwrap().metadata.labels.unwrap()["a"], "b");
}

#[tokio::test]
async fn binding_puts_a_pod_on_a_node_once() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    bind(&client, "default", "a", "first").await.unwrap();
    let bound = pods.get("a").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("first"));
    let condition = bound.status.unwrap().conditions.unwrap().remove(0);
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("PodScheduled", "True"));
    let refused = status_of(bind(&client, "default", "a", "second").await.unwrap_err());
    assert_eq!(
        refused.message,
        r#"Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "first""#
    );
    let on = ListParams::default().fields("spec.nodeName=first");
    assert_eq!(pods.list(&on).await.unwrap().items.len(), 1);
    assert_eq!(pods.list(&ListParams::default().fields("spec.nodeName=")).await.unwrap().items.len(), 0);
    let unknown = status_of(pods.list(&ListParams::default().fields("spec.foo=1")).await.unwrap_err());
    assert_eq!((unknown.code, unknown.message.as_str()), (400, "field label not supported: spec.foo"));
}

#[tokio::test]
async fn a_watch_shows_what_enters_changes_and_leaves_its_selection() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    let unbound = WatchParams::default().fields("spec.nodeName=").disable_bookmarks();
    let mut events = pods.watch(&unbound, "0").await.unwrap().boxed();
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    let patch = json!({"metadata": {"labels": {"x": "1"}}});
    pods.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    bind(&client, "default", "a", "node").await.unwrap();
    pods.patch_status("a", &PatchParams::default(), &Patch::Merge(&json!({"status": {"phase": "Running"}})))
        .await
        .unwrap();
    pods.create(&PostParams::default(), &pod("b")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(pod) => format!("added {}", pod.metadata.name.unwrap()),
            WatchEvent::Modified(pod) => format!("modified {}", pod.metadata.name.unwrap()),
            WatchEvent::Deleted(pod) => format!("deleted {}", pod.metadata.name.unwrap()),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["added a", "modified a", "deleted a", "added b"]);
}

/// As recorded of a Pod's last moments: marked, no time left, gone.
#[tokio::test]
async fn a_watch_sees_a_pods_end_come() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    for (name, bound) in [("placed", true), ("unplaced", false)] {
        let created = pods.create(&PostParams::default(), &pod(name)).await.unwrap();
        if bound {
            bind(&client, "default", name, "node").await.unwrap();
            pods.delete(name, &DeleteParams::default()).await.unwrap();
        }
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
        let from = created.metadata.resource_version.unwrap();
        let params = WatchParams::default().fields(&format!("metadata.name={name}")).disable_bookmarks();
        let mut events = pods.watch(&params, &from).await.unwrap().boxed();
        let mut seen = Vec::new();
        loop {
            let event = events.try_next().await.unwrap().unwrap();
            let is_last = matches!(event, WatchEvent::Deleted(_));
            let (word, pod) = match event {
                WatchEvent::Modified(pod) => ("modified", pod),
                WatchEvent::Deleted(pod) => ("deleted", pod),
                other => panic!("{other:?}"),
            };
            let metadata = &pod.metadata;
            assert_eq!(
                metadata.deletion_timestamp.is_some(),
                metadata.deletion_grace_period_seconds.is_some()
            );
            let grace = metadata.deletion_grace_period_seconds;
            seen.push(format!("{word} grace={grace:?} generation={:?}", metadata.generation.unwrap()));
            if is_last {
                break;
            }
        }
        if bound {
            insta::assert_snapshot!(seen.join("\n"), @r"
            modified grace=None generation=1
            modified grace=Some(30) generation=2
            modified grace=Some(0) generation=2
            deleted grace=Some(0) generation=2
            ");
        } else {
            insta::assert_snapshot!(seen.join("\n"), @r"
            modified grace=Some(0) generation=2
            deleted grace=Some(0) generation=2
            ");
        }
    }
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_is_told_to_list_again() {
    let client = ApiServer::in_memory().client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "c"}})).unwrap();
    let first = maps.create(&PostParams::default(), &map).await.unwrap().metadata.resource_version.unwrap();
    // Six megabytes of changes are more than is remembered.
    for round in 0..12 {
        let patch = json!({"data": {"k": format!("{round}").repeat(500 << 10)}});
        maps.patch("c", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    let mut events = maps.watch(&WatchParams::default(), &first).await.unwrap().boxed();
    let Some(WatchEvent::Error(status)) = events.try_next().await.unwrap() else { panic!("no error came") };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    assert!(
        status.message.starts_with(&format!("too old resource version: {first} (")),
        "{}",
        status.message
    );
    let future = maps.watch(&WatchParams::default(), "999999").await.err().unwrap();
    assert_eq!(status_of(future).code, 504);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_each_minute_and_a_watch_ends_in_time() {
    let client = ApiServer::in_memory().client();
    let mut events = pods(&client).watch(&WatchParams::default().timeout(150), "0").await.unwrap().boxed();
    let start = tokio::time::Instant::now();
    let mut bookmarks = Vec::new();
    while let Some(event) = events.try_next().await.unwrap() {
        assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
        bookmarks.push(start.elapsed().as_secs());
    }
    assert_eq!(bookmarks, [60, 120, 148]);
    assert_eq!(start.elapsed().as_secs(), 150);
}

#[tokio::test]
async fn the_runtime_watcher_works_in_both_of_its_ways() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut applied = watcher(pods.clone(), config).applied_objects().boxed();
        let first = applied.try_next().await.unwrap().unwrap();
        assert_eq!(first.metadata.name.as_deref(), Some("a"));
        pods.create(&PostParams::default(), &pod("b")).await.unwrap();
        let second = applied.try_next().await.unwrap().unwrap();
        assert_eq!(second.metadata.name.as_deref(), Some("b"));
        pods.delete("b", &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn conditions_can_be_waited_for() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    let waiting = tokio::spawn(await_condition(pods.clone(), "a", conditions::is_pod_running()));
    tokio::task::yield_now().await;
    let patch = json!({"status": {"phase": "Running"}});
    pods.patch_status("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert!(waiting.await.unwrap().unwrap().is_some());
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    for name in ["a", "b", "c", "d", "e"] {
        pods.create(&PostParams::default(), &pod(name)).await.unwrap();
    }
    let mut params = ListParams::default().limit(2);
    let mut names = Vec::new();
    let mut remaining = Vec::new();
    loop {
        let page = pods.list(&params).await.unwrap();
        names.extend(page.items.into_iter().filter_map(|pod| pod.metadata.name));
        remaining.push(page.metadata.remaining_item_count);
        match page.metadata.continue_ {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(remaining, [Some(3), Some(1), None]);
}

#[tokio::test]
async fn names_are_generated_and_dry_runs_leave_nothing() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    let mut nameless = pod("");
    nameless.metadata.name = None;
    nameless.metadata.generate_name = Some("eater-".to_owned());
    let named = pods.create(&PostParams::default(), &nameless).await.unwrap().metadata.name.unwrap();
    assert!(named.starts_with("eater-") && named.len() == 11, "{named}");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert!(pods.create(&dry, &pod("dry")).await.unwrap().metadata.uid.is_some());
    assert_eq!(status_of(pods.get("dry").await.unwrap_err()).code, 404);
}

#[tokio::test]
async fn a_node_is_registered_with_its_status() {
    let nodes: Api<Node> = Api::all(ApiServer::in_memory().client());
    let node =
        json!({"metadata": {"name": "n"}, "status": {"capacity": {"memory": "2097152Ki", "cpu": "2000m"}}});
    let node = nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let status = node.status.unwrap();
    assert_eq!(status.capacity.unwrap()["memory"].0, "2Gi");
    assert_eq!(status.allocatable.unwrap()["cpu"].0, "2");
}

#[tokio::test]
async fn many_writers_lose_no_update() {
    let client = ApiServer::in_memory().client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "c"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let writers = (0..50).map(|writer| {
        let maps = maps.clone();
        async move {
            let patch = json!({"data": {format!("k{writer}"): "v"}});
            maps.patch("c", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(maps.get("c").await.unwrap().data.unwrap().len(), 50);
}

#[tokio::test]
async fn a_lease_is_renewed() {
    let leases: Api<Lease> = Api::namespaced(ApiServer::in_memory().client(), "kube-node-lease");
    let lease = json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "n"}});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    let renewal = json!({"spec": {"renewTime": "2026-11-22T01:00:00.000000Z"}});
    let renewed = leases.patch("n", &PatchParams::default(), &Patch::Merge(&renewal)).await.unwrap();
    assert!(renewed.spec.unwrap().renew_time.is_some());
}

#[tokio::test]
async fn an_eviction_is_a_deletion() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    bind(&client, "default", "a", "node").await.unwrap();
    pods.evict("a", &EvictParams::default()).await.unwrap();
    assert_eq!(pods.get("a").await.unwrap().metadata.deletion_grace_period_seconds, Some(30));
}

/// What of a watch's beginning may be asked for: nothing, the present objects, and a sign that they are over. The last
/// bookmark comes because the watch ends.
#[tokio::test(start_paused = true)]
async fn how_a_watch_begins() {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("a")).await.unwrap();
    let present = pods.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let begin = "/api/v1/namespaces/default/pods?watch=1&timeoutSeconds=1";
    let streaming = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let nothing = "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    for (options, expected) in [
        (String::new(), "ADDED"),
        ("&resourceVersion=0".to_owned(), "ADDED"),
        (format!("&resourceVersion={present}"), ""),
        (streaming.to_owned(), "ADDED"),
        (format!("{streaming}&allowWatchBookmarks=true"), "ADDED BOOKMARK(end) BOOKMARK"),
        (
            format!("{streaming}&allowWatchBookmarks=true&resourceVersion={present}"),
            "ADDED BOOKMARK(end) BOOKMARK",
        ),
        (format!("{streaming}&allowWatchBookmarks=true&labelSelector=x"), "BOOKMARK(end) BOOKMARK"),
        (nothing.to_owned(), ""),
    ] {
        let request = http::Request::get(format!("{begin}{options}")).body(Vec::new()).unwrap();
        let text = client.request_text(request).await.unwrap();
        let events = text.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let end = &event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
            let end = if end == "true" { "(end)" } else { "" };
            format!("{}{end}", event["type"].as_str().unwrap())
        });
        assert_eq!(events.collect::<Vec<_>>().join(" "), expected, "{options}");
    }
}
