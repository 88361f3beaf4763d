//! What the documents tell, where clients depend on it.

use serde_json::Value;

use super::*;

fn core() -> Value {
    v3::documents().remove("api/v1").unwrap()
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.push(reference.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let mut documents: Vec<(String, Value)> = v3::documents().into_iter().collect();
    documents.push(("v2".to_owned(), v2::document()));
    for (name, document) in documents {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{name}");
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{name}: {reference}");
        }
    }
}

#[test]
fn a_pod_is_described_as_upstream_describes_it() {
    let core = core();
    let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod[definitions::KIND_EXTENSION], json!([{ "group": "", "version": "v1", "kind": "Pod" }]));
    assert_eq!(
        pod["properties"]["spec"]["allOf"],
        json!([{ "$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec" }])
    );
    let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let ports = &core["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    let quantity = &core["components"]["schemas"]["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["oneOf"], json!([{ "type": "string" }, { "type": "number" }]));
    let command = &core["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]["command"];
    assert_eq!(command["x-kubernetes-list-type"], "atomic");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let ports = &core["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
}

/// kubectl sends `fieldValidation` only where it finds the parameter.
#[test]
fn writes_know_the_parameters_that_kubectl_looks_for() {
    let core = core();
    for (path, method) in [
        ("/api/v1/namespaces/{namespace}/pods", "post"),
        ("/api/v1/namespaces/{namespace}/pods/{name}", "put"),
        ("/api/v1/namespaces/{namespace}/pods/{name}", "patch"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/status", "patch"),
        ("/api/v1/nodes", "post"),
    ] {
        let operation = &core["paths"][path][method];
        let named = |name: &str| {
            operation["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == name)
        };
        for name in ["fieldValidation", "fieldManager", "dryRun"] {
            assert!(named(name), "{method} {path}: {name}");
        }
    }
    let ids: Vec<&str> = core["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), different.len());
    for id in [
        "createCoreV1NamespacedPod",
        "listCoreV1PodForAllNamespaces",
        "readCoreV1NamespacedPod",
        "replaceCoreV1Node",
    ] {
        assert!(ids.contains(&id), "{id} is not in {ids:?}");
    }
}

#[test]
fn the_index_names_the_content() {
    let reply = index().into_response();
    assert_eq!(reply.status(), StatusCode::OK);
    let hash = documents()["api/v1"].hash.clone();
    assert_eq!(hash.len(), 128);
    let query = Query::parse(&format!("hash={hash}"));
    let named = document("api/v1", &query, &HeaderMap::new()).unwrap().into_response();
    assert!(named.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    let unnamed = document("api/v1", &Query::default(), &HeaderMap::new()).unwrap().into_response();
    assert_eq!(unnamed.headers()[header::CACHE_CONTROL], "public");
    assert!(document("apis/nothing/v1", &Query::default(), &HeaderMap::new()).is_err());
}

#[test]
fn compressed_documents_are_small() {
    let kept: usize = documents().values().map(|document| document.compressed.len()).sum();
    assert!(kept < 200 << 10, "{kept} bytes");
}
