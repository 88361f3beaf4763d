//! Watchers that do not read: they cost next to nothing, and find out when they read again.
//!
//! A file of its own, with one test: it looks at the memory of its process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use memlet_apiserver::{ApiServer, ResponseBody};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Each is 40 KiB.
const OBJECTS: usize = 100;
const WATCHERS: usize = 500;

async fn ask(server: &ApiServer, method: Method, path: &str, body: Value) -> ResponseBody {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request =
        Request::builder().method(method).uri(path).header("content-type", "application/merge-patch+json");
    let response = server.service().oneshot(request.body(Full::new(body)).unwrap()).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    response.into_body()
}

fn private_kib() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

async fn frame(body: &mut ResponseBody) -> Option<Bytes> {
    body.frame().await.map(|frame| frame.unwrap().into_data().unwrap())
}

#[tokio::test]
async fn a_watcher_that_does_not_read_costs_next_to_nothing() {
    let server = ApiServer::in_memory();
    let filling = "x".repeat(40 << 10);
    for index in 0..OBJECTS {
        let map = json!({"metadata": {"name": format!("m{index:03}")}, "data": {"k": filling}});
        let client = server.service();
        let request = Request::builder().method(Method::POST).uri(MAPS);
        let request = request.body(Full::<Bytes>::from(map.to_string())).unwrap();
        client.oneshot(request).await.unwrap();
    }
    let before = private_kib();
    // Half are never read, half have read a little and then stalled.
    let watch = format!("{MAPS}?watch=true&allowWatchBookmarks=true");
    let mut stalled = Vec::new();
    for index in 0..WATCHERS {
        let mut body = ask(&server, Method::GET, &watch, Value::Null).await;
        if index % 2 == 0 {
            let chunk = frame(&mut body).await.unwrap();
            assert!(chunk.len() < 200 << 10, "one chunk is {} bytes", chunk.len());
        }
        stalled.push(body);
    }
    // Everything is changed twice, which is more than is remembered.
    for round in 0..2 {
        for index in 0..OBJECTS {
            let patch = json!({"data": {"k": format!("{round}{filling}")}});
            let object = format!("{MAPS}/m{index:03}");
            ask(&server, Method::PATCH, &object, patch).await.collect().await.unwrap();
        }
    }
    // The objects that the watchers began with (4 MiB), the present ones and the history, whoever watches.
    let grown = private_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{WATCHERS} stalled watchers and 8 MiB of changes took {grown} KiB");

    // Reading again, one is given the state that it began with, and then told to list again.
    let mut body = stalled.pop().unwrap();
    let mut lines = Vec::new();
    while let Some(chunk) = frame(&mut body).await {
        lines.extend(chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
    }
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(events.len(), OBJECTS + 1);
    assert!(events[..OBJECTS].iter().all(|event| event["type"] == "ADDED"));
    assert_eq!(
        (&events[OBJECTS]["type"], &events[OBJECTS]["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
}
