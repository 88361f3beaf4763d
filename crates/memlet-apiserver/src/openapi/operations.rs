//! The paths and what may be done at each, without regard to a notation.

use crate::discovery::{GroupVersionKind, ServedResource};

use super::definitions::schema_name;

/// One method at one path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// Upstream's word for what is done, for clients that look for it.
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) description: String,
    /// The kind that it is about.
    pub(super) kind: GroupVersionKind,
    pub(super) query: Vec<QueryParameter>,
    /// The schema of the body.
    pub(super) body: Option<String>,
    /// The media types of the body.
    pub(super) consumes: &'static [&'static str],
    /// The schema of the answer.
    pub(super) answer: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct QueryParameter {
    pub(super) name: &'static str,
    pub(super) type_: &'static str,
    pub(super) description: &'static str,
}

/// The operations at a path.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) template: String,
    /// The names in braces.
    pub(super) parameters: Vec<&'static str>,
    pub(super) operations: Vec<Operation>,
}

const ANYTHING: &[&str] = &["*/*"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

const fn text(name: &'static str, description: &'static str) -> QueryParameter {
    QueryParameter { name, type_: "string", description }
}

const PRETTY: QueryParameter = text("pretty", "If 'true', the output is indented.");
const DRY_RUN: QueryParameter = text("dryRun", "With 'All', everything is done but for storing the result.");
const WRITING: &[QueryParameter] = &[
    PRETTY,
    DRY_RUN,
    text("fieldManager", "The name of the actor that makes this change."),
    text("fieldValidation", "What is done about unknown and repeated fields: 'Ignore', 'Warn' or 'Strict'."),
];
const FORCE: QueryParameter = QueryParameter {
    name: "force",
    type_: "boolean",
    description: "Take over fields that others own. For apply patches only.",
};
const DELETING: &[QueryParameter] = &[
    PRETTY,
    DRY_RUN,
    QueryParameter {
        name: "gracePeriodSeconds",
        type_: "integer",
        description: "The seconds before the object goes; 0 is at once.",
    },
    text("propagationPolicy", "What becomes of dependents: 'Orphan', 'Background' or 'Foreground'."),
];
const LISTING: &[QueryParameter] = &[
    PRETTY,
    QueryParameter {
        name: "allowWatchBookmarks",
        type_: "boolean",
        description: "Whether a watch is sent bookmarks.",
    },
    text("continue", "Where the next page starts, as the last page told."),
    text("fieldSelector", "Only objects whose fields are so."),
    text("labelSelector", "Only objects whose labels are so."),
    QueryParameter { name: "limit", type_: "integer", description: "The most objects in one answer." },
    text("resourceVersion", "How old the answer may be."),
    text("resourceVersionMatch", "How resourceVersion is meant: 'Exact' or 'NotOlderThan'."),
    QueryParameter {
        name: "sendInitialEvents",
        type_: "boolean",
        description: "Whether a watch starts with the present objects.",
    },
    QueryParameter { name: "timeoutSeconds", type_: "integer", description: "How long a watch lasts." },
    QueryParameter {
        name: "watch",
        type_: "boolean",
        description: "Changes as they happen, instead of a list.",
    },
];

/// All paths of a resource.
pub(super) fn of(resource: &ServedResource) -> Vec<Path> {
    let builder = Builder { resource, schema: schema_name(resource.kind) };
    let root = match resource.kind.group {
        "" => format!("/api/{}", resource.kind.version),
        group => format!("/apis/{group}/{}", resource.kind.version),
    };
    let plural = resource.plural;
    let (collection, names): (String, Vec<&'static str>) = if resource.namespaced {
        (format!("{root}/namespaces/{{namespace}}/{plural}"), vec!["namespace"])
    } else {
        (format!("{root}/{plural}"), Vec::new())
    };
    let with_name = || names.iter().copied().chain(["name"]).collect::<Vec<_>>();
    let mut paths = vec![
        Path { template: collection.clone(), parameters: names.clone(), operations: builder.of_collection() },
        Path {
            template: format!("{collection}/{{name}}"),
            parameters: with_name(),
            operations: builder.of_object(),
        },
    ];
    if resource.namespaced {
        let operations = vec![builder.list("ForAllNamespaces")];
        paths.push(Path { template: format!("{root}/{plural}"), parameters: Vec::new(), operations });
    }
    for subresource in &resource.subresources {
        let name = subresource.name;
        let operations =
            subresource.verbs.iter().filter_map(|verb| builder.of_subresource(verb, subresource.kind, name));
        paths.push(Path {
            template: format!("{collection}/{{name}}/{name}"),
            parameters: with_name(),
            operations: operations.collect(),
        });
    }
    paths
}

struct Builder<'a> {
    resource: &'a ServedResource,
    schema: String,
}

impl Builder<'_> {
    fn operation(&self, method: &'static str, action: &'static str) -> Operation {
        let kind = self.resource.kind;
        let scope = if self.resource.namespaced { "Namespaced" } else { "" };
        let group = match kind.group {
            "" => "Core".to_owned(),
            group => capitalized(group.split('.').next().unwrap_or(group)),
        };
        let version = capitalized(kind.version);
        let word = match action {
            "get" => "read",
            "post" => "create",
            "put" => "replace",
            "deletecollection" => "delete",
            _ => action,
        };
        let many = if action == "deletecollection" { "Collection" } else { "" };
        Operation {
            method,
            action,
            id: format!("{word}{group}{version}{many}{scope}{}", kind.kind),
            description: format!("{word} the specified {}", kind.kind),
            kind,
            query: vec![PRETTY],
            body: None,
            consumes: ANYTHING,
            answer: self.schema.clone(),
        }
    }

    fn list(&self, suffix: &str) -> Operation {
        let mut operation = self.operation("get", "list");
        if !suffix.is_empty() {
            operation.id = format!("{}{suffix}", operation.id.replacen("Namespaced", "", 1));
        }
        operation.description = format!("list or watch objects of kind {}", self.resource.kind.kind);
        operation.query = LISTING.to_vec();
        operation.answer = format!("{}List", self.schema);
        operation
    }

    fn of_collection(&self) -> Vec<Operation> {
        let mut operations = vec![self.list("")];
        if self.resource.verbs.contains(&"create") {
            let mut create = self.operation("post", "post");
            create.description = format!("create a {}", self.resource.kind.kind);
            create.query = WRITING.to_vec();
            create.body = Some(self.schema.clone());
            operations.push(create);
        }
        if self.resource.verbs.contains(&"deletecollection") {
            let mut delete = self.operation("delete", "deletecollection");
            delete.description = format!("delete a collection of {}", self.resource.kind.kind);
            delete.query = [DELETING, &LISTING[1..]].concat();
            delete.body = Some(format!("{META}.DeleteOptions"));
            delete.answer = format!("{META}.Status");
            operations.push(delete);
        }
        operations
    }

    fn of_object(&self) -> Vec<Operation> {
        let mut operations = vec![self.operation("get", "get")];
        operations.extend(self.replace());
        if self.resource.verbs.contains(&"delete") {
            let mut delete = self.operation("delete", "delete");
            delete.query = DELETING.to_vec();
            delete.body = Some(format!("{META}.DeleteOptions"));
            delete.answer = format!("{META}.Status");
            operations.push(delete);
        }
        operations.extend(self.patch());
        operations
    }

    fn replace(&self) -> Option<Operation> {
        self.resource.verbs.contains(&"update").then(|| Operation {
            query: WRITING.to_vec(),
            body: Some(self.schema.clone()),
            ..self.operation("put", "put")
        })
    }

    fn patch(&self) -> Option<Operation> {
        self.resource.verbs.contains(&"patch").then(|| Operation {
            query: [WRITING, &[FORCE]].concat(),
            body: Some(format!("{META}.Patch")),
            consumes: PATCHES,
            ..self.operation("patch", "patch")
        })
    }

    fn of_subresource(&self, verb: &str, kind: GroupVersionKind, name: &str) -> Option<Operation> {
        let operation = match verb {
            "get" => self.operation("get", "get"),
            "update" => self.replace()?,
            "patch" => self.patch()?,
            "create" => Operation {
                query: WRITING.to_vec(),
                body: Some(schema_name(kind)),
                answer: schema_name(kind),
                ..self.operation("post", "post")
            },
            _ => return None,
        };
        Some(Operation {
            id: format!("{}{}", operation.id, capitalized(name)),
            description: format!("{verb} {name} of the specified {}", self.resource.kind.kind),
            kind,
            ..operation
        })
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
