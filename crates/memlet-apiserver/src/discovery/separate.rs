//! Discovery in many small documents: the groups, the versions of each, the resources of each version.

use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

use super::resource::{Group, ServedResource};

/// `APIVersions` of the core group. The address is the one that the client used: it reached the server by it.
pub(super) fn core_versions(headers: &HeaderMap) -> Value {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": host }],
    })
}

/// `APIGroupList` of the named groups.
pub(super) fn group_list<'a>(groups: impl Iterator<Item = Group<'a>>) -> Value {
    let groups: Vec<Value> = groups.map(|group| Value::Object(of_group(&group))).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `APIGroup`.
pub(super) fn group(group: &Group<'_>) -> Value {
    let mut document = Map::from_iter([
        ("kind".to_owned(), Value::from("APIGroup")),
        ("apiVersion".to_owned(), Value::from("v1")),
    ]);
    document.extend(of_group(group));
    Value::Object(document)
}

fn of_group(group: &Group<'_>) -> Map<String, Value> {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            json!({ "groupVersion": format!("{}/{}", group.name, version.name), "version": version.name })
        })
        .collect();
    Map::from_iter([
        ("name".to_owned(), Value::from(group.name)),
        ("preferredVersion".to_owned(), versions.first().cloned().unwrap_or_default()),
        ("versions".to_owned(), Value::from(versions)),
    ])
}

/// `APIResourceList` of one version, which must not be empty.
pub(super) fn resource_list(group: &str, version: &str, served: &[ServedResource]) -> Value {
    let mut resources: Vec<Value> = served.iter().flat_map(of_resource).collect();
    resources.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    if group.is_empty() {
        return json!({ "kind": "APIResourceList", "groupVersion": version, "resources": resources });
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/{version}"),
        "resources": resources,
    })
}

/// A resource and its subresources, each an entry.
fn of_resource(resource: &ServedResource) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.plural,
        "singularName": resource.singular(),
        "namespaced": resource.namespaced,
        "kind": resource.kind.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if resource.stored {
        entry["storageVersionHash"] = resource.kind.storage_version_hash().into();
    }
    let mut entries = vec![entry];
    for subresource in &resource.subresources {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, subresource.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": subresource.kind.kind,
            "verbs": subresource.verbs,
        });
        // A kind of another group than the resource's is named in full.
        if subresource.kind.group != resource.kind.group {
            entry["group"] = subresource.kind.group.into();
            entry["version"] = subresource.kind.version.into();
        }
        entries.push(entry);
    }
    entries
}
