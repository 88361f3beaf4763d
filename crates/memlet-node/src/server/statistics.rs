//! `/stats/summary` and `/metrics/resource`.

use http::{HeaderValue, Response, header};

use super::answer::{self, Refusal, ServerBody};
use crate::node::Node;
use crate::statistics::{Figures, Statistics, exposition, summary as told};

/// `/stats/summary`. Everything is read anew, whatever the parameters say.
pub(super) async fn summary(node: &Node, statistics: &Statistics) -> Result<Response<ServerBody>, Refusal> {
    let document = told(&read(node, statistics).await?);
    answer::json(&document)
}

/// `/metrics/resource`.
pub(super) async fn resource_metrics(
    node: &Node,
    statistics: &Statistics,
) -> Result<Response<ServerBody>, Refusal> {
    let mut response = answer::text(exposition(&read(node, statistics).await?));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

async fn read(node: &Node, statistics: &Statistics) -> Result<Figures, Refusal> {
    statistics.read(node).await.map_err(|error| Refusal::internal(error.to_string()))
}
