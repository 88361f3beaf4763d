//! The options of a deletion, from its body or its query.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::options::{Query, dry_run};
use crate::decode;
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};

/// How a deletion is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) preconditions: meta::Preconditions,
    /// What becomes of the object's dependents; where it is not said, the object's finalizers tell.
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it, where they block it.
    Foreground,
    /// They stay.
    Orphan,
}

impl DeleteOptions {
    /// The body counts where there is one; the query otherwise.
    pub(crate) fn parse(query: &Query, body: &[u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            let stated = meta::DeleteOptions {
                grace_period_seconds: query.number("gracePeriodSeconds")?,
                propagation_policy: query.get("propagationPolicy").map(str::to_owned),
                orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
                ..meta::DeleteOptions::default()
            };
            return Self::from_stated(stated, query);
        }
        let value = decode::parse(body, "DeleteOptions")?.object;
        let options: meta::DeleteOptions = decode::plain(&value)
            .map_err(|why| ApiError::bad_request(format!("DeleteOptions cannot be read: {why}")))?
            .object;
        Self::from_stated(options, query)
    }

    /// The options that a body holds.
    pub(crate) fn from_stated(options: meta::DeleteOptions, query: &Query) -> Result<Self, ApiError> {
        let stated = options.dry_run.iter().flatten();
        let dry_run = query.dry_run()? || dry_run(stated.map(String::as_str), "DeleteOptions")?;
        Ok(Self {
            propagation: Propagation::of(&options)?,
            grace_period_seconds: options.grace_period_seconds,
            preconditions: options.preconditions.unwrap_or_default(),
            dry_run,
        })
    }
}

impl Propagation {
    fn of(options: &meta::DeleteOptions) -> Result<Option<Self>, ApiError> {
        let path = FieldPath::new("propagationPolicy");
        let mut errors = FieldErrors::default();
        let stated = options.propagation_policy.as_deref();
        if stated.is_some() && options.orphan_dependents.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.invalid(&path, stated, detail);
        }
        let propagation = match (stated, options.orphan_dependents) {
            (Some("Background"), _) | (None, Some(false)) => Some(Self::Background),
            (Some("Foreground"), _) => Some(Self::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Self::Orphan),
            (Some(other), _) => {
                errors.not_supported(&path, other, &["Foreground", "Background", "Orphan", "nil"]);
                None
            }
            (None, None) => None,
        };
        if errors.is_empty() { Ok(propagation) } else { Err(ApiError::invalid("DeleteOptions", "", errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_dependents() {
        use Propagation::{Background, Foreground, Orphan};
        for (query, body, expected) in [
            ("", "", Ok(None)),
            ("propagationPolicy=Foreground", "", Ok(Some(Foreground))),
            ("orphanDependents=true", "", Ok(Some(Orphan))),
            ("orphanDependents=false", "", Ok(Some(Background))),
            ("", r#"{"propagationPolicy":"Background"}"#, Ok(Some(Background))),
            ("propagationPolicy=Foreground", r#"{"orphanDependents":true}"#, Ok(Some(Orphan))),
            (
                "propagationPolicy=Sideways",
                "",
                Err(
                    r#"DeleteOptions "" is invalid: propagationPolicy: Unsupported value: "Sideways": supported values: "Foreground", "Background", "Orphan", "nil""#,
                ),
            ),
            (
                "propagationPolicy=Orphan&orphanDependents=true",
                "",
                Err(
                    r#"DeleteOptions "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set"#,
                ),
            ),
        ] {
            let parsed = DeleteOptions::parse(&Query::parse(query), body.as_bytes());
            let parsed = parsed
                .map(|options| options.propagation)
                .map_err(|error| error.status().message.clone().unwrap_or_default());
            assert_eq!(parsed, expected.map_err(str::to_owned), "{query} {body}");
        }
    }
}
