//! The documents of version 3: one for each group and version.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::definitions::{self, KIND_EXTENSION, Notation, kind_extension};
use super::operations::{self, Operation, Path};
use crate::handler::Handler;
use crate::{resources, version};

/// All documents, by the path of the resources that they describe.
pub(super) fn documents() -> BTreeMap<String, Value> {
    let mut by_path: BTreeMap<String, Vec<&'static dyn Handler>> = BTreeMap::new();
    for handler in resources::served() {
        let kind = handler.describe().kind;
        let path = match kind.group {
            "" => format!("api/{}", kind.version),
            group => format!("apis/{group}/{}", kind.version),
        };
        by_path.entry(path).or_default().push(handler);
    }
    by_path.into_iter().map(|(path, handlers)| (path, document(&handlers))).collect()
}

fn document(handlers: &[&'static dyn Handler]) -> Value {
    let mut schemas = definitions::of(handlers, Notation::V3);
    schemas.insert(
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch".to_owned(),
        json!({ "description": "A change, in the format that the media type names.", "type": "object" }),
    );
    let mut paths = Map::new();
    for path in handlers.iter().flat_map(|handler| operations::of(&handler.describe())) {
        let item = path_item(&path, &schemas);
        paths.insert(path.template, item);
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": version::GIT_VERSION },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn path_item(path: &Path, schemas: &Map<String, Value>) -> Value {
    let mut item = Map::new();
    for operation in &path.operations {
        item.insert(operation.method.to_owned(), of_operation(operation, schemas));
    }
    let parameters: Vec<Value> = path
        .parameters
        .iter()
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true,
                "description": format!("the object's {name}"),
                "schema": { "type": "string", "uniqueItems": true },
            })
        })
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(item)
}

fn of_operation(operation: &Operation, schemas: &Map<String, Value>) -> Value {
    let parameters: Vec<Value> = operation
        .query
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name, "in": "query", "description": parameter.description,
                "schema": { "type": parameter.type_, "uniqueItems": true },
            })
        })
        .collect();
    // What is not described is anything.
    let schema =
        |name: &str| if schemas.contains_key(name) { Notation::V3.reference(name) } else { json!({}) };
    let success = if operation.method == "post" { "201" } else { "200" };
    let mut value = json!({
        "tags": [tag(operation)],
        "description": operation.description,
        "operationId": operation.id,
        "parameters": parameters,
        "responses": {
            (success): {
                "description": "OK",
                "content": { "application/json": { "schema": schema(&operation.answer) } },
            },
            "401": { "description": "Unauthorized" },
        },
        "x-kubernetes-action": operation.action,
        (KIND_EXTENSION): kind_extension(operation.kind),
    });
    if let Some(body) = &operation.body {
        let content: Map<String, Value> = operation
            .consumes
            .iter()
            .map(|media_type| ((*media_type).to_owned(), json!({ "schema": schema(body) })))
            .collect();
        value["requestBody"] = json!({ "content": content });
    }
    value
}

/// The group and version, as upstream tags operations.
pub(super) fn tag(operation: &Operation) -> String {
    let group = match operation.kind.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("{group}_{}", operation.kind.version)
}
