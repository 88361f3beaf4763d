//! `nodes/{name}/proxy/…`: the node's own server, for whoever may reach all of it.
//!
//! The node's answer is the client's, its refusals too. A name may be written as upstream takes it, with a scheme and
//! the port: `https:memlet:10250`.

use http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::error::ApiError;
use crate::nodes::{self, NodeRequest, Refusals};
use crate::reply::Reply;
use crate::request::ResourceRequest;
use crate::storage::Key;
use crate::verbs::Core;

/// kubelet's, and so that of the node's server, which has none.
const PORT: &str = "10250";
/// What may not stand in a path as it is.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'%');

/// Hands the request on.
pub(super) fn ask(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let stated = request.path.name.as_deref().unwrap_or_default();
    let name = node_name(stated)?;
    core.storage.get("nodes", &Key::new("", name)).ok_or_else(|| ApiError::not_found("nodes", name))?;
    let node = core.nodes.find(name).ok_or_else(|| nodes::not_connected(name))?;
    let uri = uri(request.path.proxied.as_deref().unwrap_or_default(), &request.query.encoded())?;
    Ok(Reply::of_node(NodeRequest { node, uri, refusals: Refusals::AsTheyAre }))
}

/// The node's name, without scheme and port.
fn node_name(stated: &str) -> Result<&str, ApiError> {
    let parts: Vec<&str> = stated.split(':').collect();
    match parts[..] {
        [name] | [name, "" | PORT] | ["https", name, "" | PORT] => Ok(name),
        _ => Err(ApiError::bad_request(format!(
            "invalid node request {stated:?}: NAME, NAME:{PORT} and https:NAME:{PORT} are served"
        ))),
    }
}

fn uri(path: &str, query: &str) -> Result<Uri, ApiError> {
    let path = utf8_percent_encode(path, NOT_IN_PATHS);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/{path}{mark}{query}").parse().map_err(|_| ApiError::bad_request("the request is too long"))
}

#[cfg(test)]
mod tests {
    use http::{Request, Response, StatusCode};
    use http_body_util::{BodyExt as _, Full};
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::nodes::NodeService;
    use crate::{ApiServer, ResponseBody};

    #[test]
    fn names_with_scheme_and_port() {
        for stated in ["n", "n:10250", "n:", "https:n:10250", "https:n:"] {
            assert_eq!(node_name(stated).ok(), Some("n"), "{stated}");
        }
        for stated in ["n:22", "http:n:10255", "https:n:443", "a:b:c:d"] {
            assert!(node_name(stated).is_err(), "{stated}");
        }
    }

    #[test]
    fn a_path_is_handed_on_as_it_was_meant() {
        assert_eq!(uri("stats/summary", "").unwrap(), "/stats/summary");
        assert_eq!(uri("", "a=b").unwrap(), "/?a=b");
        assert_eq!(uri("exec/a b?c/ü%", "").unwrap(), "/exec/a%20b%3Fc/%C3%BC%25");
    }

    /// Answers with what it was asked, and refuses what it was asked by POST.
    fn echo() -> NodeService {
        NodeService::new(service_fn(async |request: Request<ResponseBody>| {
            let text = format!("{} {}", request.method(), request.uri());
            let mut response = Response::new(Full::from(text).boxed_unsync());
            if request.method() == http::Method::POST {
                *response.status_mut() = StatusCode::IM_A_TEAPOT;
            }
            Ok(response)
        }))
    }

    async fn told(server: &ApiServer, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(format!("/api/v1/nodes/{path}"));
        let Ok(response) =
            server.service().oneshot(request.body(Full::<bytes::Bytes>::default()).unwrap()).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_the_node_answers_is_the_answer() {
        let server = ApiServer::in_memory();
        let node = r#"{"metadata": {"name": "n"}}"#;
        let request = Request::post("/api/v1/nodes").body(Full::<bytes::Bytes>::from(node)).unwrap();
        let Ok(created) = server.service().oneshot(request).await;
        assert_eq!(created.status(), 201);
        let (code, refusal) = told(&server, "GET", "n/proxy/healthz").await;
        assert!(code == 500 && refusal.contains("is not connected"), "{refusal}");
        server.connect_node("n", echo());
        for (path, expected) in [
            ("n/proxy", "GET /"),
            ("n/proxy/stats/summary?only_cpu_and_memory=true", "GET /stats/summary?only_cpu_and_memory=true"),
            ("https:n:10250/proxy/a", "GET /a"),
        ] {
            assert_eq!(told(&server, "GET", path).await, (200, expected.to_owned()));
        }
        assert_eq!(told(&server, "POST", "n/proxy/a").await, (418, "POST /a".to_owned()));
        let (code, refusal) = told(&server, "GET", "m/proxy/a").await;
        assert!(code == 404 && refusal.contains(r#"nodes \"m\" not found"#), "{refusal}");
        assert_eq!(told(&server, "GET", "n:22/proxy/a").await.0, 400);
    }
}
