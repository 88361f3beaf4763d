//! Questions about who somebody is and what they may, asked as objects: `kubectl auth can-i`, `auth whoami`, and what
//! other servers ask for their own clients. Nothing of it is stored.

use http::{Method, StatusCode};
use k8s_openapi::Resource;
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewStatus, UserInfo,
};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::authentication::identify_for;
use super::authorization::is_permitted;
use super::rules::{On, rules_of};
use super::{Attributes, ISSUER, Identity};
use crate::decode;
use crate::discovery::{GroupVersionKind, ServedResource};
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};
use crate::reply::Reply;
use crate::request::{ResourcePath, ResourceRequest};
use crate::verbs::Core;

type Answer = fn(&Core, &ResourceRequest) -> Result<Reply, ApiError>;

/// A question that is created to be answered.
pub(crate) struct Review {
    kind: GroupVersionKind,
    plural: &'static str,
    namespaced: bool,
    answer: Answer,
}

/// Every question that can be asked.
static REVIEWS: [Review; 6] = [
    Review::of::<TokenReview>(false, review_token),
    Review::of::<SelfSubjectReview>(false, review_self),
    Review::of::<SubjectAccessReview>(false, review_access),
    Review::of::<LocalSubjectAccessReview>(true, review_local_access),
    Review::of::<SelfSubjectAccessReview>(false, review_self_access),
    Review::of::<SelfSubjectRulesReview>(false, review_self_rules),
];

impl Review {
    const fn of<K: Resource>(namespaced: bool, answer: Answer) -> Self {
        let kind = GroupVersionKind { group: K::GROUP, version: K::VERSION, kind: K::KIND };
        Self { kind, plural: K::URL_PATH_SEGMENT, namespaced, answer }
    }

    /// The question that a path is about.
    pub(crate) fn find(path: &ResourcePath) -> Option<&'static Self> {
        REVIEWS.iter().find(|review| {
            path.group == review.kind.group
                && path.version == review.kind.version
                && path.resource == review.plural
        })
    }

    /// What discovery tells.
    pub(crate) fn described() -> impl Iterator<Item = ServedResource> {
        REVIEWS.iter().map(|review| ServedResource {
            kind: review.kind,
            plural: review.plural,
            namespaced: review.namespaced,
            verbs: &["create"],
            short_names: &[],
            categories: &[],
            subresources: Vec::new(),
            stored: false,
        })
    }

    pub(crate) fn answer(&self, core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
        if request.path.name.is_some() || request.path.namespace.is_some() != self.namespaced {
            return Err(ApiError::no_such_path());
        }
        if request.method != Method::POST {
            return Err(ApiError::method_not_allowed("this method", self.plural));
        }
        (self.answer)(core, request)
    }
}

pub(crate) fn read<T: DeserializeOwned + Resource>(request: &ResourceRequest) -> Result<T, ApiError> {
    request.expect_json()?;
    let value = decode::parse(&request.body, T::KIND)?.object;
    let decoded = decode::plain(&value).map_err(|why| {
        ApiError::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: {why}",
            T::KIND,
            T::VERSION
        ))
    })?;
    Ok(decoded.object)
}

pub(crate) fn created(answer: &impl Serialize) -> Result<Reply, ApiError> {
    let json = serde_json::to_vec(answer).map_err(|_| ApiError::internal("an answer cannot be encoded"))?;
    Ok(Reply::document(StatusCode::CREATED, json.into()))
}

fn user_info(identity: &Identity) -> UserInfo {
    UserInfo {
        username: Some(identity.user.clone()),
        groups: Some(identity.groups.clone()),
        uid: Some(identity.uid.clone()).filter(|uid| !uid.is_empty()),
        extra: Some(identity.extra.clone()).filter(|extra| !extra.is_empty()),
    }
}

fn review_self(_: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let mut review: SelfSubjectReview = read(request)?;
    review.status = Some(SelfSubjectReviewStatus { user_info: Some(user_info(&request.identity)) });
    created(&review)
}

fn review_token(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let mut review: TokenReview = read(request)?;
    if review.spec.token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = review.spec.audiences.clone().filter(|audiences| !audiences.is_empty());
    let audiences = asked.unwrap_or_else(|| vec![ISSUER.to_owned()]);
    review.status = Some(match identify_for(core, &review.spec.token, &audiences) {
        Some((identity, meant)) => TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(meant),
            user: Some(user_info(&identity)),
            error: None,
        },
        None => TokenReviewStatus {
            authenticated: Some(false),
            error: Some("invalid bearer token".to_owned()),
            ..TokenReviewStatus::default()
        },
    });
    created(&review)
}

fn review_self_access(_: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let mut review: SelfSubjectAccessReview = read(request)?;
    let (on_resource, on_path) = (&review.spec.resource_attributes, &review.spec.non_resource_attributes);
    let asked = attributes(SelfSubjectAccessReview::KIND, on_resource.as_ref(), on_path.as_ref())?;
    review.status = Some(status(&request.identity, &asked));
    created(&review)
}

fn review_access(_: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let mut review: SubjectAccessReview = read(request)?;
    review.status = Some(judge(SubjectAccessReview::KIND, &review.spec)?);
    created(&review)
}

fn review_local_access(_: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let mut review: LocalSubjectAccessReview = read(request)?;
    let stated = review.spec.resource_attributes.as_ref().and_then(|stated| stated.namespace.as_ref());
    if stated != request.path.namespace.as_ref() {
        let mut errors = FieldErrors::default();
        let path = FieldPath::new("spec.resourceAttributes.namespace");
        errors.invalid(&path, stated.cloned().unwrap_or_default(), "must match metadata.namespace");
        return Err(ApiError::invalid(LocalSubjectAccessReview::KIND, "", errors));
    }
    review.status = Some(judge(LocalSubjectAccessReview::KIND, &review.spec)?);
    created(&review)
}

fn judge(kind: &str, spec: &SubjectAccessReviewSpec) -> Result<SubjectAccessReviewStatus, ApiError> {
    let (on_resource, on_path) = (&spec.resource_attributes, &spec.non_resource_attributes);
    let asked = attributes(kind, on_resource.as_ref(), on_path.as_ref())?;
    let (user, groups) = (spec.user.clone().unwrap_or_default(), spec.groups.clone().unwrap_or_default());
    if user.is_empty() && groups.is_empty() {
        let mut errors = FieldErrors::default();
        errors.required(&FieldPath::new("spec.user"), "at least one of user or group must be specified");
        return Err(ApiError::invalid(kind, "", errors));
    }
    // Whoever asks names all groups, those that everybody is in too.
    Ok(status(&Identity { user, groups, ..Identity::default() }, &asked))
}

fn status(identity: &Identity, asked: &Attributes) -> SubjectAccessReviewStatus {
    SubjectAccessReviewStatus { allowed: is_permitted(identity, asked), ..Default::default() }
}

fn attributes(
    kind: &str,
    on_resource: Option<&ResourceAttributes>,
    on_path: Option<&NonResourceAttributes>,
) -> Result<Attributes, ApiError> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match (on_resource, on_path) {
        (Some(asked), None) => Ok(Attributes {
            verb: text(&asked.verb),
            path: None,
            group: text(&asked.group),
            version: text(&asked.version),
            namespace: text(&asked.namespace),
            resource: text(&asked.resource),
            subresource: text(&asked.subresource),
            name: text(&asked.name),
        }),
        (None, Some(asked)) => {
            Ok(Attributes { verb: text(&asked.verb), path: Some(text(&asked.path)), ..Attributes::default() })
        }
        _ => {
            let mut errors = FieldErrors::default();
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&FieldPath::new("spec.resourceAttributes"), on_resource, detail);
            Err(ApiError::invalid(kind, "", errors))
        }
    }
}

fn review_self_rules(_: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let mut review: SelfSubjectRulesReview = read(request)?;
    let within = review.spec.namespace.clone().unwrap_or_default();
    if within.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let mut status = SubjectRulesReviewStatus::default();
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for rule in rules_of(&request.identity) {
        let verbs = owned(rule.verbs);
        match rule.on {
            On::Paths(paths) => status
                .non_resource_rules
                .push(NonResourceRule { verbs, non_resource_urls: Some(owned(paths)) }),
            On::Resources { namespace: Some(namespace), .. } if namespace != within => {}
            On::Resources { group, resources, name, .. } => status.resource_rules.push(ResourceRule {
                verbs,
                api_groups: Some(owned(&[group])),
                resources: Some(owned(resources)),
                resource_names: name.map(|name| vec![name]),
            }),
        }
    }
    review.status = Some(status);
    created(&review)
}
