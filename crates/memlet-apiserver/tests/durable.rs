//! The server with its file: what it told is there after it was killed, and what is wrong with a file is said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use memlet_apiserver::{ApiServer, OpenError, Settings};
use serde_json::json;
use support::{bind, pod, pods, status_of};

fn open(folder: &Path) -> ApiServer {
    ApiServer::open(folder, Settings::default()).unwrap()
}

fn revision(text: Option<&String>) -> u64 {
    text.unwrap().parse().unwrap()
}

#[tokio::test]
async fn everything_is_there_again_and_revisions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("api/server");
    let server = open(&folder);
    let client = server.client();
    let created = pods(&client).create(&PostParams::default(), &pod("kept")).await.unwrap();
    pods(&client).create(&PostParams::default(), &pod("deleted")).await.unwrap();
    pods(&client).delete("deleted", &DeleteParams::default()).await.unwrap();
    let before = pods(&client).list(&ListParams::default()).await.unwrap();
    let last = before.metadata.resource_version;
    server.close();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("objects.redb"))), (0o700, 0o600));

    let again = open(&folder);
    let pods = pods(&again.client());
    let after = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(after.items, std::slice::from_ref(&created));
    assert_eq!(after.metadata.resource_version, last);
    // From where it ended a watch may go on; before that it must list again.
    let next = pods.create(&PostParams::default(), &pod("new")).await.unwrap();
    assert!(revision(next.metadata.resource_version.as_ref()) > revision(last.as_ref()));
    let watch = WatchParams::default();
    let mut events = pods.watch(&watch, last.as_deref().unwrap()).await.unwrap().boxed();
    let Some(WatchEvent::Added(seen)) = events.try_next().await.unwrap() else { panic!("no event came") };
    assert_eq!(seen, next);
    let old = created.metadata.resource_version.unwrap();
    let mut events = pods.watch(&watch, &old).await.unwrap().boxed();
    let Some(WatchEvent::Error(status)) = events.try_next().await.unwrap() else { panic!("no error came") };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn an_ended_server_can_be_read_but_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let server = open(folder.path());
    let client = server.client();
    pods(&client).create(&PostParams::default(), &pod("a")).await.unwrap();
    server.close();
    assert!(pods(&client).get("a").await.is_ok());
    let refused = status_of(pods(&client).create(&PostParams::default(), &pod("b")).await.unwrap_err());
    assert_eq!(
        refused.message,
        "Internal error occurred: nothing was changed, because changes cannot be stored: the server is ending"
    );
}

#[tokio::test]
async fn a_namespace_that_was_going_goes_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let server = open(folder.path());
    let client = server.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let space: Namespace = serde_json::from_value(json!({"metadata": {"name": "work"}})).unwrap();
    namespaces.create(&PostParams::default(), &space).await.unwrap();
    let inside: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), "work");
    inside.create(&PostParams::default(), &pod("a")).await.unwrap();
    bind(&client, "work", "a", "node").await.unwrap();
    namespaces.delete("work", &DeleteParams::default()).await.unwrap();
    server.close();

    let client = open(folder.path()).client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert_eq!(namespaces.get("work").await.unwrap().status.unwrap().phase.as_deref(), Some("Terminating"));
    let inside: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, "work");
    inside.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(status_of(namespaces.get("work").await.unwrap_err()).code, 404);
}

/// An event's life is counted from its last write, and goes on while the server does not run.
#[tokio::test]
async fn events_expire_also_over_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let server = open(folder.path());
    let events: Api<Event> = Api::default_namespaced(server.client());
    let event = |name: &str| -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "involvedObject": {"namespace": "default"},
        }))
        .unwrap()
    };
    events.create(&PostParams::default(), &event("old")).await.unwrap();
    server.close();

    tokio::time::sleep(Duration::from_millis(2500)).await;
    let settings = Settings { event_lifetime: Duration::from_secs(2) };
    let again = ApiServer::open(folder.path(), settings).unwrap();
    let events: Api<Event> = Api::default_namespaced(again.client());
    let young = events.create(&PostParams::default(), &event("young")).await.unwrap();
    support::until(async || events.get_opt("old").await.unwrap().is_none()).await;
    let from = young.metadata.resource_version.unwrap();
    let mut seen =
        events.watch(&WatchParams::default().fields("metadata.name=young"), &from).await.unwrap().boxed();
    assert!(events.get("young").await.is_ok(), "it was deleted before its time");
    let Some(WatchEvent::Deleted(gone)) = seen.try_next().await.unwrap() else {
        panic!("no deletion was seen")
    };
    assert_eq!(gone.metadata.uid, young.metadata.uid);
}

#[test]
fn a_file_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let error = ApiServer::open(folder.path(), Settings::default()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "{}/objects.redb is in use by another process: end that one, or choose another folder",
            folder.path().display()
        )
    );
}

#[test]
fn a_dropped_server_leaves_its_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    support::until_blocking(|| ApiServer::open(folder.path(), Settings::default()).is_ok());
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.redb");
    let refused = || ApiServer::open(folder.path(), Settings::default()).err().unwrap();
    fs::write(&file, "this is not a database, it is a text").unwrap();
    insta::with_settings!({filters => vec![(folder.path().to_str().unwrap(), "FOLDER")]}, {
        insta::assert_snapshot!(refused(), @"FOLDER/objects.redb is damaged (I/O error: Not a redb database: magic number mismatch): restore it from a backup, or move it away to start with no objects");
        fs::remove_file(&file).unwrap();
        {
            let database = redb::Database::create(&file).unwrap();
            let writing = database.begin_write().unwrap();
            let facts = redb::TableDefinition::<&str, u64>::new("facts");
            writing.open_table(facts).unwrap().insert("format", 9).unwrap();
            writing.commit().unwrap();
        }
        insta::assert_snapshot!(refused(), @"FOLDER/objects.redb was written by a newer version (format 9, this version knows 1): use that version, or move the file away to start with no objects");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        insta::assert_snapshot!(refused(), @"FOLDER/objects.redb cannot be used: Is a directory (os error 21)");
    });
}

/// Whatever byte is wrong, the server opens with what it knew, or says that the file is damaged; it does not panic.
#[tokio::test]
async fn a_damaged_file_is_told_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let server = open(folder.path());
    let pods = pods(&server.client());
    for index in 0..20 {
        pods.create(&PostParams::default(), &pod(&format!("p{index}"))).await.unwrap();
    }
    let before = pods.list(&ListParams::default()).await.unwrap().items;
    server.close();
    let file = folder.path().join("objects.redb");
    let whole = fs::read(&file).unwrap();
    let (mut damaged, mut harmless) = (0, 0);
    for place in (0..whole.len()).step_by(whole.len() / 150) {
        let mut bytes = whole.clone();
        for byte in &mut bytes[place..(place + 16).min(whole.len())] {
            *byte ^= 0x5a;
        }
        fs::write(&file, bytes).unwrap();
        match ApiServer::open(folder.path(), Settings::default()) {
            Err(OpenError::Damaged { .. }) => damaged += 1,
            Err(other) => panic!("at {place}: {other}"),
            Ok(server) => {
                let pods = support::pods(&server.client());
                let after = pods.list(&ListParams::default()).await.unwrap().items;
                assert_eq!(after, before, "damage at {place} went unseen");
                harmless += 1;
                server.close();
            }
        }
    }
    assert!(damaged > 0 && harmless > 0, "{damaged} damaged, {harmless} harmless");
}
