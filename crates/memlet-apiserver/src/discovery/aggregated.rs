//! Discovery in one document per root (`apidiscovery.k8s.io`), which is what kubectl asks for first.

use http::HeaderMap;
use serde_json::{Value, json};

use super::resource::{Group, GroupVersionKind, ServedResource, Version};
use crate::error::ApiError;
use crate::request::accepted;

/// The versions of the document's form. They differ in name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AggregatedVersion {
    V2,
    V2Beta1,
}

impl AggregatedVersion {
    /// The form that the client likes best; `None` for separate documents.
    pub(super) fn accepted(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        for range in accepted(headers) {
            if !range.is_json() {
                continue;
            }
            let of_discovery = range.parameter("g") == Some("apidiscovery.k8s.io");
            match (range.parameter("as"), range.parameter("v")) {
                (None, _) => return Ok(None),
                (Some("APIGroupDiscoveryList"), Some("v2")) if of_discovery => return Ok(Some(Self::V2)),
                (Some("APIGroupDiscoveryList"), Some("v2beta1")) if of_discovery => {
                    return Ok(Some(Self::V2Beta1));
                }
                _ => {}
            }
        }
        Err(ApiError::not_acceptable("application/json"))
    }

    fn name(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }

    pub(super) fn document<'a>(self, groups: impl Iterator<Item = Group<'a>>) -> Value {
        let items: Vec<Value> = groups.map(|group| of_group(&group)).collect();
        json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": self.name(),
            "metadata": {},
            "items": items,
        })
    }
}

fn of_group(group: &Group<'_>) -> Value {
    let metadata = if group.name.is_empty() { json!({}) } else { json!({ "name": group.name }) };
    let versions: Vec<Value> = group.versions.iter().map(of_version).collect();
    json!({ "metadata": metadata, "versions": versions })
}

fn of_version(version: &Version<'_>) -> Value {
    let resources: Vec<Value> = version.resources.iter().map(|resource| of_resource(resource)).collect();
    json!({ "version": version.name, "resources": resources, "freshness": "Current" })
}

fn of_resource(resource: &ServedResource) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": response_kind(resource.kind, resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular(),
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let subresources: Vec<Value> = resource
        .sorted_subresources()
        .iter()
        .map(|subresource| {
            json!({
                "subresource": subresource.name,
                "responseKind": response_kind(subresource.kind, resource.kind),
                "verbs": subresource.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

/// A kind of the resource's own group and version is named by its last part only.
fn response_kind(kind: GroupVersionKind, of: GroupVersionKind) -> Value {
    if (kind.group, kind.version) == (of.group, of.version) {
        return json!({ "group": "", "version": "", "kind": kind.kind });
    }
    json!({ "group": kind.group, "version": kind.version, "kind": kind.kind })
}
