//! From a request about a resource to the verb of its kind.

use std::marker::PhantomData;

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::SchemaGenerator;

use crate::accounts;
use crate::discovery::{GroupVersionKind, ServedResource, ServedSubresource};
use crate::error::ApiError;
use crate::kind::{ServedKind, kind_of};
use crate::reply::Reply;
use crate::request::{DeleteOptions, ListOptions, ResourcePath, ResourceRequest};
use crate::resources::{self, Remains};
use crate::storage::{Key, StoredObject};
use crate::verbs::{Core, Part, restored};

/// A subresource that is not simply a part of the object.
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    /// What is sent or answered; discovery tells it.
    pub(crate) kind: GroupVersionKind,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) handle: fn(&Core, &ResourceRequest) -> Result<Reply, ApiError>,
}

/// One served resource, its kind forgotten.
pub(crate) trait Handler: Sync {
    /// Whether the path is about this resource.
    fn serves(&self, path: &ResourcePath) -> bool;
    fn resource(&self) -> &'static str;
    /// What discovery tells of it.
    fn describe(&self) -> ServedResource;
    /// Adds the schema of its kind, and of what that is made of.
    fn add_schemas(&self, generator: &mut SchemaGenerator);
    fn is_kind(&self, api_version: &str, kind: &str) -> bool;
    fn is_namespaced(&self) -> bool;
    /// Whether its objects expire.
    fn expires(&self) -> bool;
    fn handle(&self, core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError>;
    /// An object of this kind, from the bytes that were stored of it.
    fn restore(&self, encoded: &[u8]) -> Result<StoredObject, String>;
    /// Deletes one object by the rules of its kind.
    fn delete(&self, core: &Core, key: &Key, options: &DeleteOptions) -> Result<(), ApiError>;
    /// Changes the metadata of one object; `make` may run more than once.
    fn change_metadata(&self, core: &Core, key: &Key, make: &dyn Fn(&mut ObjectMeta))
    -> Result<(), ApiError>;
    /// Deletes everything of this kind in a namespace; counts what is still there.
    fn empty(&self, core: &Core, namespace: &str, remains: &mut Remains) -> Result<(), ApiError>;
}

/// The verbs of a kind, in the order in which discovery tells them.
const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const VERBS_OF_SINGLES: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// The handler of a kind, with its own subresources by name.
pub(crate) struct Serve<K> {
    subresources: &'static [Subresource],
    kind: PhantomData<fn() -> K>,
}

impl<K: ServedKind> Serve<K> {
    pub(crate) const fn new() -> Self {
        Self { subresources: &[], kind: PhantomData }
    }

    pub(crate) const fn with(subresources: &'static [Subresource]) -> Self {
        Self { subresources, kind: PhantomData }
    }

    fn collection(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
        if !K::NAMESPACED && request.path.namespace.is_some() {
            return Err(ApiError::no_such_path());
        }
        let placed = !K::NAMESPACED || request.path.namespace.is_some();
        match request.method {
            Method::GET => Self::look(core, request),
            Method::POST if placed => core.create::<K>(request),
            Method::DELETE if placed && K::DELETES_COLLECTIONS => core.delete_collection::<K>(request),
            _ => Err(Self::not_allowed(&request.method)),
        }
    }

    fn look(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
        let options = ListOptions::parse(&request.query)?;
        match (options.watch, &request.path.name) {
            (true, _) => core.watch::<K>(request, &options),
            (false, Some(_)) => core.get::<K>(request),
            (false, None) => core.list::<K>(request, &options),
        }
    }

    fn object(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
        match request.method {
            Method::GET => Self::look(core, request),
            Method::PUT => core.update::<K>(request, Part::Main),
            Method::PATCH => core.patch::<K>(request, Part::Main),
            Method::DELETE => core.delete::<K>(request),
            _ => Err(Self::not_allowed(&request.method)),
        }
    }

    fn status(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
        match request.method {
            Method::GET => core.get::<K>(request),
            Method::PUT => core.update::<K>(request, Part::Status),
            Method::PATCH => core.patch::<K>(request, Part::Status),
            _ => Err(Self::not_allowed(&request.method)),
        }
    }

    fn dispatch(&self, core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
        match (&request.path.name, request.path.subresource.as_deref()) {
            (None, _) => Self::collection(core, request),
            (Some(_), None) => Self::object(core, request),
            (Some(_), Some("status")) if K::HAS_STATUS => Self::status(core, request),
            (Some(_), Some(other)) => {
                let found = self.subresources.iter().find(|subresource| subresource.name == other);
                (found.ok_or_else(ApiError::no_such_path)?.handle)(core, request)
            }
        }
    }

    fn not_allowed(method: &Method) -> ApiError {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "this method",
        };
        ApiError::method_not_allowed(verb, K::URL_PATH_SEGMENT)
    }
}

impl<K: ServedKind> Handler for Serve<K> {
    fn serves(&self, path: &ResourcePath) -> bool {
        path.group == K::GROUP && path.version == K::VERSION && path.resource == K::URL_PATH_SEGMENT
    }

    fn resource(&self) -> &'static str {
        K::URL_PATH_SEGMENT
    }

    fn describe(&self) -> ServedResource {
        let status = K::HAS_STATUS.then(|| ServedSubresource {
            name: "status",
            kind: kind_of::<K>(),
            verbs: &["get", "patch", "update"],
        });
        let own = self.subresources.iter().map(|subresource| ServedSubresource {
            name: subresource.name,
            kind: subresource.kind,
            verbs: subresource.verbs,
        });
        ServedResource {
            kind: kind_of::<K>(),
            plural: K::URL_PATH_SEGMENT,
            namespaced: K::NAMESPACED,
            verbs: if K::DELETES_COLLECTIONS { ALL_VERBS } else { VERBS_OF_SINGLES },
            short_names: K::SHORT_NAMES,
            categories: K::CATEGORIES,
            subresources: own.chain(status).collect(),
            stored: true,
        }
    }

    fn add_schemas(&self, generator: &mut SchemaGenerator) {
        generator.subschema_for::<K>();
    }

    fn is_kind(&self, api_version: &str, kind: &str) -> bool {
        (api_version, kind) == (K::API_VERSION, K::KIND)
    }

    fn is_namespaced(&self) -> bool {
        K::NAMESPACED
    }

    fn expires(&self) -> bool {
        K::EXPIRES
    }

    fn restore(&self, encoded: &[u8]) -> Result<StoredObject, String> {
        restored::<K>(encoded)
    }

    fn delete(&self, core: &Core, key: &Key, options: &DeleteOptions) -> Result<(), ApiError> {
        core.delete_object::<K>(key, options).map(drop)
    }

    fn change_metadata(
        &self,
        core: &Core,
        key: &Key,
        make: &dyn Fn(&mut ObjectMeta),
    ) -> Result<(), ApiError> {
        let changed = core.change::<K>(key, false, |_, old| {
            let mut new = old.clone();
            make(new.metadata_mut());
            Ok(new)
        });
        changed.map(drop)
    }

    fn empty(&self, core: &Core, namespace: &str, remains: &mut Remains) -> Result<(), ApiError> {
        resources::empty::<K>(core, namespace, remains)
    }

    fn handle(&self, core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
        let form = request.form()?;
        let named = |error: ApiError| error.in_group(K::GROUP, K::URL_PATH_SEGMENT, K::KIND);
        let reply = self.dispatch(core, request).map_err(named)?;
        // Lists and watches are made in their form; what else is answered with an object is brought into it here.
        let reply = reply.map_object(|encoded| form.object::<K>(&K::from_stored(&encoded)?))?;
        // A deletion, or an update that takes the last finalizer away, may be the last that a going namespace waits for;
        // a creation may have come while the namespace went.
        if request.method != Method::GET {
            let namespace = if K::NAMESPACED { &request.path.namespace } else { &request.path.name };
            if let Some(namespace) = namespace {
                resources::settle_namespace(core, namespace)?;
            }
            accounts::furnish_after::<K>(core, request);
        }
        Ok(reply)
    }
}
