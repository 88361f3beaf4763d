//! What is wrong with which field, in upstream's words (apimachinery's `util/validation/field`).

use std::fmt;

use serde::Serialize;

/// Where a field is, as upstream writes it: `spec.containers[0].resources.limits[memory]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldPath(String);

impl FieldPath {
    pub(crate) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kind of a field error. Values are held as they are printed: strings quoted, numbers plain, the rest as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Invalid(String),
    Required,
    Forbidden,
    NotSupported(String),
    Duplicate(String),
    NotFound(String),
    TooLong,
}

impl Fault {
    /// The cause's `reason` in a Status.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "FieldValueInvalid",
            Self::Required => "FieldValueRequired",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotSupported(_) => "FieldValueNotSupported",
            Self::Duplicate(_) => "FieldValueDuplicate",
            Self::NotFound(_) => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(value) => write!(f, "Invalid value: {value}"),
            Self::Required => f.write_str("Required value"),
            Self::Forbidden => f.write_str("Forbidden"),
            Self::NotSupported(value) => write!(f, "Unsupported value: {value}"),
            Self::Duplicate(value) => write!(f, "Duplicate value: {value}"),
            Self::NotFound(value) => write!(f, "Not found: {value}"),
            Self::TooLong => f.write_str("Too long"),
        }
    }
}

/// One field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub(crate) path: FieldPath,
    pub(crate) fault: Fault,
    pub(crate) detail: String,
}

impl FieldError {
    /// The text after the path.
    pub(crate) fn body(&self) -> String {
        if self.detail.is_empty() {
            self.fault.to_string()
        } else {
            format!("{}: {}", self.fault, self.detail)
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// The errors found so far, in the order in which the object was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    fn push(&mut self, path: &FieldPath, fault: Fault, detail: impl Into<String>) {
        self.0.push(FieldError { path: path.clone(), fault, detail: detail.into() });
    }

    pub(crate) fn invalid(&mut self, path: &FieldPath, value: impl Serialize, detail: impl Into<String>) {
        self.push(path, Fault::Invalid(printed(value)), detail);
    }

    /// One [`Fault::Invalid`] per message, as upstream's name checks give them.
    pub(crate) fn each_invalid(&mut self, path: &FieldPath, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, value, message);
        }
    }

    pub(crate) fn required(&mut self, path: &FieldPath, detail: impl Into<String>) {
        self.push(path, Fault::Required, detail);
    }

    pub(crate) fn forbidden(&mut self, path: &FieldPath, detail: impl Into<String>) {
        self.push(path, Fault::Forbidden, detail);
    }

    pub(crate) fn not_supported(&mut self, path: &FieldPath, value: impl Serialize, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.push(path, Fault::NotSupported(printed(value)), detail);
    }

    pub(crate) fn duplicate(&mut self, path: &FieldPath, value: impl Serialize) {
        self.push(path, Fault::Duplicate(printed(value)), "");
    }

    pub(crate) fn not_found(&mut self, path: &FieldPath, value: impl Serialize) {
        self.push(path, Fault::NotFound(printed(value)), "");
    }

    pub(crate) fn too_long(&mut self, path: &FieldPath, most: usize) {
        self.push(path, Fault::TooLong, format!("may not be more than {most} bytes"));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Without repetitions, as upstream's aggregate prints them.
    pub(crate) fn into_unique(self) -> Vec<FieldError> {
        let mut unique: Vec<FieldError> = Vec::with_capacity(self.0.len());
        for error in self.0 {
            if !unique.contains(&error) {
                unique.push(error);
            }
        }
        unique
    }
}

/// A value that cannot be JSON has no text; none of the values given here is such a one.
fn printed(value: impl Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}
