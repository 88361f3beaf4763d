//! The options of the verbs, from the query and, for a deletion, from the body.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::decode::{self, FieldValidation};
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};

/// The parameters after the `?`.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As upstream reads booleans in queries: present is true, unless it says `false` or `0`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| key == name && !matches!(value.as_str(), "false" | "0"))
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax (parameter {name})"
            ))
        })?;
        Ok(Some(number))
    }

    fn dry_run(&self) -> Result<bool, ApiError> {
        dry_run(self.all("dryRun"), "CreateOptions")
    }
}

fn dry_run<'a>(stated: impl Iterator<Item = &'a str>, kind: &str) -> Result<bool, ApiError> {
    let mut dry = false;
    for value in stated {
        if value != "All" {
            let mut errors = FieldErrors::default();
            errors.not_supported(&FieldPath::new("dryRun"), [value], &["All"]);
            return Err(ApiError::invalid(kind, "", errors));
        }
        dry = true;
    }
    Ok(dry)
}

/// How a create, update or patch is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
}

impl WriteOptions {
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let validation = match query.get("fieldValidation") {
            None => FieldValidation::default(),
            Some("Ignore") => FieldValidation::Ignore,
            Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let mut errors = FieldErrors::default();
                let supported = ["Ignore", "Strict", "Warn"];
                errors.not_supported(&FieldPath::new("fieldValidation"), other, &supported);
                return Err(ApiError::invalid("CreateOptions", "", errors));
            }
        };
        Ok(Self { dry_run: query.dry_run()?, validation })
    }
}

/// What a list or a watch is to show.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the query, independent of the others")]
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) labels: Option<String>,
    pub(crate) fields: Option<String>,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) initial_events: bool,
    /// `None` where unset; 0 means any.
    pub(crate) revision: Option<u64>,
    pub(crate) exact: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) resume: Option<String>,
}

impl ListOptions {
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let own = |name: &str| query.get(name).map(str::to_owned);
        let revision = match query.get("resourceVersion") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                ApiError::bad_request(format!("invalid resource version {text:?}: must be a decimal integer"))
            })?),
        };
        Ok(Self {
            labels: own("labelSelector"),
            fields: own("fieldSelector"),
            watch: query.flag("watch"),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query.flag("sendInitialEvents"),
            revision,
            exact: query.get("resourceVersionMatch") == Some("Exact"),
            timeout_seconds: query.number("timeoutSeconds")?,
            limit: query.number("limit")?.filter(|limit| *limit > 0),
            resume: own("continue"),
        })
    }
}

/// How a deletion is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) preconditions: meta::Preconditions,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// The body counts where there is one; the query otherwise.
    pub(crate) fn parse(query: &Query, body: &[u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Ok(Self {
                grace_period_seconds: query.number("gracePeriodSeconds")?,
                preconditions: meta::Preconditions::default(),
                dry_run: query.dry_run()?,
            });
        }
        let value = decode::parse(body, "DeleteOptions")?.object;
        let options: meta::DeleteOptions = decode::plain(&value)
            .map_err(|why| ApiError::bad_request(format!("DeleteOptions cannot be read: {why}")))?
            .object;
        Self::from_stated(options, query)
    }

    /// The options that a body holds.
    pub(crate) fn from_stated(options: meta::DeleteOptions, query: &Query) -> Result<Self, ApiError> {
        let stated = options.dry_run.unwrap_or_default();
        let dry_run = query.dry_run()? || dry_run(stated.iter().map(String::as_str), "DeleteOptions")?;
        Ok(Self {
            grace_period_seconds: options.grace_period_seconds,
            preconditions: options.preconditions.unwrap_or_default(),
            dry_run,
        })
    }
}
