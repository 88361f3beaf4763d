//! A server that holds a Pod and a config map, and is asked only for what it would do.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use memlet_apiserver::ApiServer;
use tower::ServiceExt as _;

/// No answer takes longer, sanitizers included.
const LONGEST: Duration = Duration::from_secs(5);
/// No body is answered with more than it and the object can account for.
const LARGEST: usize = 8 << 20;

pub const POD: &str = "/api/v1/namespaces/default/pods/p";
const PODS: &str = "/api/v1/namespaces/default/pods";
const STORED: &str = r#"{"metadata":{"name":"p","labels":{"a":"b"},"finalizers":["x/y"]},"spec":{"volumes":[{"name":"v","emptyDir":{}}],
"tolerations":[{"operator":"Exists"}],"containers":[{"name":"a","image":"i:1","env":[{"name":"A","value":"1"},{"name":"B",
"valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],"ports":[{"containerPort":80}],"volumeMounts":[{"name":"v",
"mountPath":"/v"}],"resources":{"limits":{"memory":"64Mi"}}},{"name":"b","image":"i:2"}]}}"#;

struct Server {
    runtime: tokio::runtime::Runtime,
    server: ApiServer,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let server = Server {
            runtime: runtime.expect("a runtime without a thread of its own can always be made"),
            server: ApiServer::in_memory(),
        };
        assert_eq!(server.answer("POST", PODS, "application/json", STORED.as_bytes()), 201);
        server
    })
}

impl Server {
    fn answer(&self, method: &str, path: &str, media: &str, body: &[u8]) -> u16 {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        // A query that no request can hold reaches no server.
        let Ok(request) = request.body(Full::new(Bytes::copy_from_slice(body))) else { return 400 };
        self.runtime.block_on(async {
            let response = match self.server.service().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let code = response.status().as_u16();
            let answer = match response.into_body().collect().await {
                Ok(answer) => answer.to_bytes(),
                Err(never) => match never {},
            };
            assert!(answer.len() < LARGEST, "{} bytes", answer.len());
            assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok(), "an answer is JSON");
            code
        })
    }
}

/// Sends a request; whatever it is, the answer is an object or a refusal, soon.
pub fn send(method: &str, path: &str, media: &str, body: &[u8]) {
    let begin = Instant::now();
    let code = server().answer(method, path, media, body);
    assert!((200..500).contains(&code) || code == 504, "{code}");
    assert!(begin.elapsed() < LONGEST, "{:?}", begin.elapsed());
}
