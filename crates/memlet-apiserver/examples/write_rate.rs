//! How many writes the server takes in a second, from several clients at once, as requests without a socket:
//! `cargo run --release --example write_rate`.
#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::time::Instant;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use memlet_apiserver::ApiServer;
use tower::ServiceExt as _;

const CLIENTS: usize = 8;
const OBJECTS: usize = 2500;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = ApiServer::in_memory();
    measure(&server, "creations", |client, index| {
        let pod = format!(
            r#"{{"metadata":{{"name":"p{client}-{index}","labels":{{"app":"eater"}}}},"spec":{{"containers":[{{"name":"main",
            "image":"eater:1","resources":{{"limits":{{"memory":"128Mi"}}}},"env":[{{"name":"A","value":"1"}}]}}]}}}}"#
        );
        (PODS.to_owned(), "POST", "application/json", pod)
    })
    .await;
    measure(&server, "status patches", |client, index| {
        let status = format!(
            r#"{{"status":{{"phase":"Running","hostIP":"10.0.0.{}","conditions":[{{"type":"Ready","status":"True"}},
            {{"type":"Initialized","status":"True"}}],"containerStatuses":[{{"name":"main","ready":true,"restartCount":0,
            "image":"eater:1","imageID":"","state":{{"running":{{"startedAt":"2026-01-01T00:00:00Z"}}}}}}]}}}}"#,
            index % 250
        );
        (
            format!("{PODS}/p{client}-{index}/status"),
            "PATCH",
            "application/strategic-merge-patch+json",
            status,
        )
    })
    .await;
    Ok(())
}

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Sends every client's requests, one after the other, and all clients' at the same time.
async fn measure(
    server: &ApiServer,
    what: &str,
    request: impl Fn(usize, usize) -> (String, &'static str, &'static str, String) + Copy + Send + 'static,
) {
    let begin = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut failed = 0;
                for index in 0..OBJECTS {
                    let (path, method, media, body) = request(client, index);
                    let request = Request::builder()
                        .method(method)
                        .uri(path)
                        .header("content-type", media)
                        .header("user-agent", "kubelet/v1.37.0");
                    let Ok(request) = request.body(Full::<bytes::Bytes>::from(body)) else { continue };
                    let response = server.service().oneshot(request).await;
                    let Ok(response) = response;
                    failed += usize::from(!response.status().is_success());
                    let _ = response.into_body().collect().await;
                }
                failed
            })
        })
        .collect();
    let mut failed = 0;
    for client in clients {
        failed += client.await.unwrap_or(OBJECTS);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let all = CLIENTS * OBJECTS;
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let rate = all as f64 / seconds;
    println!("{all} {what} from {CLIENTS} clients: {seconds:.2} s, {rate:.0} a second, {failed} refused");
}
