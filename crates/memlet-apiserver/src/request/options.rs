//! The parameters of a request, and the options of writes.

use crate::decode::FieldValidation;
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};

/// The parameters after the `?`.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
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

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax (parameter {name})"
            ))
        })?;
        Ok(Some(number))
    }

    pub(super) fn dry_run(&self) -> Result<bool, ApiError> {
        dry_run(self.all("dryRun"), "CreateOptions")
    }
}

pub(super) fn dry_run<'a>(stated: impl Iterator<Item = &'a str>, kind: &str) -> Result<bool, ApiError> {
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
