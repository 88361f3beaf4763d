//! What is told of the served kinds, against what a real cluster told of the same kinds.

use http::HeaderMap;
use serde_json::{Value, json};

use super::*;

const CORE: &str = include_str!("../../tests/recorded/raw_api_v1.json");
const AGGREGATED_CORE: &str = include_str!("../../tests/recorded/aggregated-api.json");

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2_BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

fn by<'a>(list: &'a Value, field: &str, name: &str) -> Option<&'a Value> {
    list.as_array().unwrap().iter().find(|entry| entry[field] == name)
}

#[test]
fn the_resources_are_described_as_a_real_cluster_describes_them() {
    let real: Value = serde_json::from_str(CORE).unwrap();
    let served = resources::described();
    let core: Vec<_> = served.into_iter().filter(|resource| resource.kind.group.is_empty()).collect();
    let own = separate::resource_list("", "v1", &core);
    assert_eq!((&own["kind"], &own["groupVersion"]), (&real["kind"], &real["groupVersion"]));
    let entries = own["resources"].as_array().unwrap();
    assert!(entries.len() > 10, "{entries:?}");
    for entry in entries {
        let name = entry["name"].as_str().unwrap();
        assert_eq!(Some(entry), by(&real["resources"], "name", name), "{name}");
    }
}

#[test]
fn the_aggregated_document_tells_the_same() {
    let real: Value = serde_json::from_str(AGGREGATED_CORE).unwrap();
    let served = resources::described();
    let core = groups(&served).into_iter().filter(|group| group.name.is_empty());
    let own = AggregatedVersion::V2.document(core);
    assert_eq!(own["apiVersion"], real["apiVersion"]);
    assert_eq!(own["items"][0]["metadata"], real["items"][0]["metadata"]);
    let (version, real) = (&own["items"][0]["versions"][0], &real["items"][0]["versions"][0]);
    assert_eq!((&version["version"], &version["freshness"]), (&real["version"], &real["freshness"]));
    for entry in version["resources"].as_array().unwrap() {
        let real = by(&real["resources"], "resource", entry["resource"].as_str().unwrap()).unwrap();
        let (mut entry, mut real) = (entry.clone(), real.clone());
        let own: Value = entry.as_object_mut().unwrap().remove("subresources").unwrap_or(json!([]));
        let all = real.as_object_mut().unwrap().remove("subresources").unwrap_or(json!([]));
        assert_eq!(entry, real);
        for subresource in own.as_array().unwrap() {
            let name = subresource["subresource"].as_str().unwrap();
            assert_eq!(Some(subresource), by(&all, "subresource", name), "{name}");
        }
    }
}

#[test]
fn the_client_chooses_the_form() {
    let accepting = |text: &'static str| {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(text))]);
        AggregatedVersion::accepted(&headers)
    };
    assert_eq!(accepting(V2), Ok(Some(AggregatedVersion::V2)));
    assert_eq!(accepting(V2_BETA), Ok(Some(AggregatedVersion::V2Beta1)));
    assert_eq!(accepting("application/json, */*"), Ok(None));
    assert_eq!(
        accepting("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList,*/*"),
        Ok(None)
    );
    assert!(accepting("application/json;as=Table;g=meta.k8s.io;v=v1").is_err());
    assert_eq!(AggregatedVersion::V2.media_type(), V2);
    assert_eq!(AggregatedVersion::V2Beta1.media_type(), V2_BETA);
}

#[test]
fn an_unchanged_document_is_not_sent_again() {
    let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(V2))]);
    let first = named_groups(&headers).unwrap().into_response();
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()[header::CONTENT_TYPE], V2);
    headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
    let unchanged = named_groups(&headers).unwrap().into_response();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(
        unchanged.headers().get(header::CONTENT_TYPE),
        None,
        "it would replace the type of what is kept"
    );
    headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
    assert_eq!(named_groups(&headers).unwrap().into_response().status(), StatusCode::OK);
}
