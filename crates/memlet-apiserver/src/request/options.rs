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

    /// The parameters as they stand after a `?`.
    pub(crate) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
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

    pub(super) fn dry_run(&self) -> Result<bool, ApiError> {
        dry_run(self.all("dryRun"), "DeleteOptions")
    }
}

pub(super) fn dry_run<'a>(stated: impl Iterator<Item = &'a str>, kind: &str) -> Result<bool, ApiError> {
    let mut dry = false;
    for value in stated {
        if value != "All" {
            let mut errors = FieldErrors::default();
            errors.not_supported(&FieldPath::new("dryRun"), [value], &["All"]);
            refuse_unless_empty(errors, kind)?;
        }
        dry = true;
    }
    Ok(dry)
}

/// Longest name of a writer.
const LONGEST_MANAGER: usize = 128;

/// How a create, update or patch is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
    /// The writer's name, where it is stated.
    pub(crate) manager: Option<String>,
    pub(crate) force: Option<bool>,
}

impl WriteOptions {
    /// `kind` is what upstream calls the options of the verb: `CreateOptions`.
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        let mut errors = FieldErrors::default();
        let validation = match query.get("fieldValidation") {
            None => FieldValidation::default(),
            Some("Ignore") => FieldValidation::Ignore,
            Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["Ignore", "Strict", "Warn"];
                errors.not_supported(&FieldPath::new("fieldValidation"), other, &supported);
                FieldValidation::default()
            }
        };
        let manager = query.get("fieldManager").map(str::to_owned);
        check_manager(manager.as_deref().unwrap_or_default(), &mut errors);
        refuse_unless_empty(errors, kind)?;
        let dry_run = dry_run(query.all("dryRun"), kind)?;
        let force = query.get("force").map(|_| query.flag("force"));
        Ok(Self { dry_run, validation, manager, force })
    }

    /// The options of a patch; an apply has rules of its own.
    pub(crate) fn of_patch(query: &Query, applies: bool) -> Result<Self, ApiError> {
        let kind = "PatchOptions";
        let options = Self::parse(query, kind)?;
        let mut errors = FieldErrors::default();
        if applies && options.manager.is_none() {
            errors.required(&FieldPath::new("fieldManager"), "is required for apply patch");
        }
        if !applies && options.force.is_some() {
            errors.forbidden(&FieldPath::new("force"), "may not be specified for non-apply patch");
        }
        refuse_unless_empty(errors, kind)?;
        Ok(options)
    }
}

fn check_manager(manager: &str, errors: &mut FieldErrors) {
    let path = FieldPath::new("fieldManager");
    if manager.len() > LONGEST_MANAGER {
        errors.too_long(&path, LONGEST_MANAGER);
    }
    if let Some(place) = manager.chars().position(char::is_control) {
        let detail = format!("should only contain printable characters; found unprintable at {place}");
        errors.invalid(&path, manager, detail);
    }
}

fn refuse_unless_empty(errors: FieldErrors, kind: &str) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&format!("{kind}.meta.k8s.io"), "", errors))
}
