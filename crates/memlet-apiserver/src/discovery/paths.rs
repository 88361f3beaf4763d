//! `/`: the paths that there are.

use http::StatusCode;
use serde_json::json;

use super::resource::groups;
use crate::health;
use crate::reply::Reply;
use crate::resources;

/// `/`: a list of paths, sorted.
pub(crate) fn index() -> Reply {
    let mut paths: Vec<String> =
        ["/api", "/apis", "/metrics", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/version"]
            .map(str::to_owned)
            .into();
    let served = resources::described();
    for group in groups(&served) {
        for version in &group.versions {
            paths.push(match group.name {
                "" => format!("/api/{}", version.name),
                name => format!("/apis/{name}/{}", version.name),
            });
        }
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
    }
    paths.extend(health::paths());
    paths.sort();
    Reply::document(StatusCode::OK, json!({ "paths": paths }).to_string().into())
}
