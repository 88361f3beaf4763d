//! The schemas, by upstream's names (`io.k8s.api.core.v1.Pod`), made from the types that are served.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, Status};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::discovery::GroupVersionKind;
use crate::handler::Handler;
use crate::schema::{self, ListPatch, Shape, Type};

/// The key under which a schema or an operation names its kind.
pub(super) const KIND_EXTENSION: &str = "x-kubernetes-group-version-kind";

/// The two notations of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    V2,
    V3,
}

impl Notation {
    fn path(self) -> &'static str {
        match self {
            Self::V2 => "/definitions",
            Self::V3 => "/components/schemas",
        }
    }

    /// A reference to a schema.
    pub(super) fn reference(self, name: &str) -> Value {
        json!({ "$ref": format!("#{}/{name}", self.path()) })
    }
}

/// The extension that names a kind.
pub(super) fn kind_extension(kind: GroupVersionKind) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": kind.kind })
}

/// The name of a kind's schema.
pub(super) fn schema_name(kind: GroupVersionKind) -> String {
    let group = match kind.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{group}.{}.{}", kind.version, kind.kind)
}

/// The schemas of these kinds and of everything that they are made of.
pub(super) fn of(handlers: &[&dyn Handler], notation: Notation) -> Map<String, Value> {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = notation.path().into();
        settings.meta_schema = None;
        settings.transforms.clear();
    });
    let mut generator = SchemaGenerator::new(settings);
    generator.subschema_for::<Status>();
    generator.subschema_for::<DeleteOptions>();
    generator.subschema_for::<ListMeta>();
    if handlers.iter().any(|handler| handler.describe().kind.group.is_empty()) {
        generator.subschema_for::<Binding>();
        generator.subschema_for::<TokenRequest>();
        generator.subschema_for::<Eviction>();
    }
    for handler in handlers {
        handler.add_schemas(&mut generator);
    }
    let mut definitions = generator.take_definitions(false);
    for (name, definition) in &mut definitions {
        let name = name.rsplit('.').next().unwrap_or(name);
        settle_special(name, definition, notation);
        if let Some(Value::Object(properties)) = definition.get_mut("properties") {
            let of = schema::of_definition(name);
            properties.iter_mut().for_each(|(field, property)| tell_how_lists_merge(of, field, property));
        }
        settle(definition, notation);
    }
    for handler in handlers {
        let kind = handler.describe().kind;
        let name = schema_name(kind);
        let list = list_of(kind, &name, notation);
        if let Some(definition) = definitions.get_mut(&name) {
            definition[KIND_EXTENSION] = json!([kind_extension(kind)]);
            // The types need not be told of their metadata to be read, though they always have some.
            if let Some(Value::Array(required)) = definition.get_mut("required") {
                required.retain(|field| field != "metadata");
            }
            definitions.insert(format!("{name}List"), list);
        }
    }
    definitions
}

/// The schema of a list of a kind.
fn list_of(kind: GroupVersionKind, name: &str, notation: Notation) -> Value {
    let list = GroupVersionKind { kind: "", ..kind };
    let mut extension = kind_extension(list);
    extension["kind"] = format!("{}List", kind.kind).into();
    let mut metadata = notation.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
    metadata["description"] = "Standard list metadata.".into();
    let mut list = json!({
        "description": format!("{}List is a list of objects of kind {}.", kind.kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "description": "The version of this form of the list.", "type": "string" },
            "kind": { "description": "The kind of the list.", "type": "string" },
            "metadata": metadata,
            "items": {
                "description": "The objects.", "type": "array", "items": notation.reference(name),
            },
        },
        (KIND_EXTENSION): [extension],
    });
    settle(&mut list, notation);
    list
}

/// The two types that are written as text or as a number.
fn settle_special(name: &str, definition: &mut Value, notation: Notation) {
    let either = |number: &str| match notation {
        Notation::V2 => json!({ "type": "string" }),
        Notation::V3 => json!({ "oneOf": [{ "type": "string" }, { "type": number }] }),
    };
    let (mut form, format) = match name {
        "Quantity" => (either("number"), None),
        "IntOrString" => (either("integer"), Some("int-or-string")),
        _ => return,
    };
    form["description"] = definition["description"].take();
    if let Some(format) = format {
        form["format"] = format.into();
    }
    *definition = form;
}

/// Brings what the generator made into upstream's form, down to the last field.
fn settle(schema: &mut Value, notation: Notation) {
    match schema {
        Value::Object(map) => {
            for value in map.values_mut() {
                settle(value, notation);
            }
            // Version 3 allows nothing beside a reference.
            if notation == Notation::V3
                && map.len() > 1
                && let Some(reference) = map.remove("$ref")
            {
                map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| settle(item, notation)),
        _ => {}
    }
}

/// The extensions by which clients merge; the server merges by the same table.
fn tell_how_lists_merge(of: &Type, field: &str, property: &mut Value) {
    if property["type"] != "array" {
        return;
    }
    let kind = match of.stated_shape(field) {
        Shape::Keyed(keys, _) => {
            property["x-kubernetes-list-map-keys"] = keys.iter().map(|key| key.name).collect();
            "map"
        }
        Shape::Set => "set",
        _ => "atomic",
    };
    property["x-kubernetes-list-type"] = kind.into();
    match of.list_patch(field) {
        ListPatch::ByKey(key) => {
            let strategy = if field == "volumes" { "merge,retainKeys" } else { "merge" };
            property["x-kubernetes-patch-merge-key"] = key.into();
            property["x-kubernetes-patch-strategy"] = strategy.into();
        }
        ListPatch::Set => property["x-kubernetes-patch-strategy"] = "merge".into(),
        ListPatch::Replace => {}
    }
}
