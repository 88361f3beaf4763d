//! Refusals, in the form and the words of upstream's `Status` (apimachinery's `pkg/api/errors`).

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Status, StatusCause, StatusDetails};

use crate::access::Attributes;
use crate::field::FieldErrors;

/// A refusal. Becomes the response's body and code.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    status: Box<Status>,
}

/// The `Status` of a request that has no object to answer with.
pub(crate) fn success(code: StatusCode, details: Option<StatusDetails>) -> Status {
    Status {
        code: Some(i32::from(code.as_u16())),
        details,
        status: Some("Success".to_owned()),
        metadata: ListMeta::default(),
        message: None,
        reason: None,
    }
}

impl ApiError {
    fn new(code: u16, reason: &str, message: String) -> Self {
        Self {
            status: Box::new(Status {
                code: Some(i32::from(code)),
                status: Some("Failure".to_owned()),
                message: Some(message),
                reason: Some(reason.to_owned()),
                metadata: ListMeta::default(),
                details: None,
            }),
        }
    }

    /// `details.kind` is the resource for most refusals and the Kind for 422: upstream's habit.
    fn about(mut self, kind: &str, name: &str) -> Self {
        self.status.details = Some(StatusDetails {
            name: Some(name.to_owned()),
            kind: Some(kind.to_owned()),
            ..StatusDetails::default()
        });
        self
    }

    fn cause(mut self, reason: &str, message: &str, field: Option<String>) -> Self {
        let cause = StatusCause { reason: Some(reason.to_owned()), message: Some(message.to_owned()), field };
        self.status.details.get_or_insert_default().causes.get_or_insert_default().push(cause);
        self
    }

    /// Names the group of the resource and of its kind, as upstream does for all groups but the core one.
    pub(crate) fn in_group(mut self, group: &str, resource: &str, kind: &str) -> Self {
        if group.is_empty() {
            return self;
        }
        let Some(details) = &mut self.status.details else { return self };
        let Some(about) = details.kind.clone().filter(|about| about == resource || about == kind) else {
            return self;
        };
        details.group = Some(group.to_owned());
        if let Some(message) = &mut self.status.message {
            *message = message.replacen(&format!("{about} \""), &format!("{about}.{group} \""), 1);
        }
        self
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.status
            .code
            .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into())
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".to_owned())
    }

    /// The user may not do that (upstream's `ForbiddenStatusError`).
    pub(crate) fn not_permitted(user: &str, asked: &Attributes) -> Self {
        let Attributes { verb, group, namespace, name, .. } = asked;
        if let Some(path) = &asked.path {
            let mut error =
                Self::new(403, "Forbidden", format!("forbidden: User {user:?} cannot {verb} path {path:?}"));
            error.status.details = Some(StatusDetails::default());
            return error;
        }
        let mut resource = asked.resource.clone();
        if !asked.subresource.is_empty() {
            resource = format!("{resource}/{}", asked.subresource);
        }
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        let subject =
            if group.is_empty() { asked.resource.clone() } else { format!("{}.{group}", asked.resource) };
        let subject = if name.is_empty() { subject } else { format!("{subject} {name:?}") };
        let message = format!(
            "{subject} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}"
        );
        let mut error = Self::new(403, "Forbidden", message);
        error.status.details = Some(StatusDetails {
            name: (!name.is_empty()).then(|| name.clone()),
            group: (!group.is_empty()).then(|| group.clone()),
            kind: Some(asked.resource.clone()),
            ..StatusDetails::default()
        });
        error
    }

    pub(crate) fn forbidden(resource: &str, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{resource} {name:?} is forbidden: {why}")).about(resource, name)
    }

    pub(crate) fn namespace_terminating(resource: &str, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        Self::forbidden(resource, name, &why).cause(
            "NamespaceTerminating",
            &format!("namespace {namespace} is being terminated"),
            Some("metadata.namespace".to_owned()),
        )
    }

    pub(crate) fn not_found(resource: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// What a node does not have, in its words.
    pub(crate) fn not_found_by_node(message: String) -> Self {
        Self::new(404, "NotFound", message)
    }

    pub(crate) fn no_such_path() -> Self {
        let mut error =
            Self::new(404, "NotFound", "the server could not find the requested resource".to_owned());
        error.status.details = Some(StatusDetails::default());
        error
    }

    pub(crate) fn method_not_allowed(verb: &str, resource: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind {resource:?}");
        let mut error = Self::new(405, "MethodNotAllowed", message);
        error.status.details = Some(StatusDetails { kind: Some(resource.to_owned()), ..Default::default() });
        error
    }

    pub(crate) fn not_acceptable(accepted: &str) -> Self {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(406, "NotAcceptable", message)
    }

    pub(crate) fn already_exists(resource: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists")).about(resource, name)
    }

    pub(crate) fn is_already_exists(&self) -> bool {
        self.status.reason.as_deref() == Some("AlreadyExists")
    }

    pub(crate) fn conflict(resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    pub(crate) fn modified(resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// An apply that would change what is others': one cause for each field, told as its owner and path.
    pub(crate) fn apply_conflict(message: String, conflicts: Vec<(String, String)>) -> Self {
        let mut error = Self::new(409, "Conflict", message);
        for (owner, path) in conflicts {
            let message = format!("conflict with {owner}");
            error = error.cause("FieldManagerConflict", &message, Some(path));
        }
        error
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message.into())
    }

    /// Pages of a past that has been forgotten; `present` is a token to go on with the present.
    pub(crate) fn expired_pages(present: &str) -> Self {
        let mut error = Self::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
             results. Continuing with the provided token results in an inconsistent list - objects that were created, \
             modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        );
        error.status.metadata.continue_ = Some(present.to_owned());
        error
    }

    pub(crate) fn too_large() -> Self {
        Self::entity_too_large("limit is 3145728")
    }

    pub(crate) fn entity_too_large(why: &str) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
    }

    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422 with one cause per field error, in upstream's `Kind "name" is invalid: [a, b]`.
    pub(crate) fn invalid(kind: &str, name: &str, errors: FieldErrors) -> Self {
        let errors = errors.into_unique();
        let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let listed = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let error = Self::new(422, "Invalid", format!("{kind} {name:?} is invalid: {listed}"));
        errors.iter().fold(error.about(kind, name), |error, field| {
            error.cause(field.fault.reason(), &field.body(), Some(field.path.to_string()))
        })
    }

    /// A patch that cannot be applied to the object as it is.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message.into())
    }

    pub(crate) fn internal(what: &str) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {what}"))
    }

    pub(crate) fn timeout() -> Self {
        let message = "Timeout: request did not complete within the allotted timeout".to_owned();
        Self::new(504, "Timeout", message)
    }

    /// A change that could not be made durable, and therefore was not made.
    pub(crate) fn not_stored(reason: &str) -> Self {
        Self::internal(&format!("nothing was changed, because changes cannot be stored: {reason}"))
    }

    /// A resourceVersion that this server has not reached yet.
    pub(crate) fn revision_in_the_future(asked: u64, present: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {present}");
        let mut error = Self::new(504, "Timeout", message).cause(
            "ResourceVersionTooLarge",
            "Too large resource version",
            None,
        );
        error.status.details.get_or_insert_default().retry_after_seconds = Some(1);
        error
    }
}
