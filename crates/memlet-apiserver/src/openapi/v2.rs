//! The document of version 2: everything in one.

use serde_json::{Map, Value, json};

use super::definitions::{self, KIND_EXTENSION, Notation, kind_extension};
use super::operations::{self, Operation, Path};
use super::v3::tag;
use crate::handler::Handler;
use crate::{resources, version};

pub(super) fn document() -> Value {
    let handlers: Vec<&'static dyn Handler> = resources::served().collect();
    let mut definitions = definitions::of(&handlers, Notation::V2);
    definitions.insert(
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch".to_owned(),
        json!({ "description": "A change, in the format that the media type names.", "type": "object" }),
    );
    let mut paths = Map::new();
    for path in handlers.iter().flat_map(|handler| operations::of(&handler.describe())) {
        let item = path_item(&path, &definitions);
        paths.insert(path.template, item);
    }
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": version::GIT_VERSION },
        "paths": paths,
        "definitions": definitions,
    })
}

fn path_item(path: &Path, definitions: &Map<String, Value>) -> Value {
    let mut item = Map::new();
    for operation in &path.operations {
        item.insert(operation.method.to_owned(), of_operation(operation, definitions));
    }
    let parameters: Vec<Value> = path
        .parameters
        .iter()
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true,
                "description": format!("the object's {name}"),
            })
        })
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(item)
}

fn of_operation(operation: &Operation, definitions: &Map<String, Value>) -> Value {
    let schema = |name: &str| {
        if definitions.contains_key(name) {
            Notation::V2.reference(name)
        } else {
            json!({ "type": "object" })
        }
    };
    let mut parameters: Vec<Value> = operation
        .query
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name, "in": "query", "description": parameter.description,
                "type": parameter.type_, "uniqueItems": true,
            })
        })
        .collect();
    if let Some(body) = &operation.body {
        parameters.push(json!({ "name": "body", "in": "body", "required": true, "schema": schema(body) }));
    }
    let success = if operation.method == "post" { "201" } else { "200" };
    json!({
        "tags": [tag(operation)],
        "description": operation.description,
        "operationId": operation.id,
        "consumes": operation.consumes,
        "produces": ["application/json"],
        "parameters": parameters,
        "responses": {
            (success): { "description": "OK", "schema": schema(&operation.answer) },
            "401": { "description": "Unauthorized" },
        },
        "x-kubernetes-action": operation.action,
        (KIND_EXTENSION): kind_extension(operation.kind),
    })
}
