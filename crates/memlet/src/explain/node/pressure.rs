//! What a node that runs tells of its last hour.

use memlet_node::PressureHistory;

/// Asks the node, by way of the API server; `None` where it does not tell.
pub(super) async fn ask(client: &kube::Client, node: &str) -> Option<PressureHistory> {
    let path = format!("/api/v1/nodes/{node}/proxy/memlet/pressure");
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    client.request(request).await.ok()
}
